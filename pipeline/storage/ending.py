"""A run's end before its length, asked for by evaluation in a file that training looks at: neither waits for
the other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config.run import StopConfig
from pipeline.errors import Damaged
from pipeline.reading import checked, read_json
from pipeline.storage.atomic import publish_bytes

ENDING = "stop.json"


@dataclass(frozen=True)
class Ending:
    """The wish to end a run, since a metric has got no better for `patience_images`. best_images: where its
    best value was. newest_images: the newest snapshot that was measured. least_improvement: as in
    `StopConfig`."""

    metric: str
    patience_images: int
    least_improvement: float
    best_value: float
    best_images: int
    newest_images: int

    @property
    def reason(self) -> str:
        """The reason, for people."""
        return (
            f"{self.metric} has not improved on {self.best_value:.4g}, of {self.best_images} images, up to "
            f"{self.newest_images} (stop.patience_images={self.patience_images})"
        )


def ask_to_end(run: Path, ending: Ending) -> None:
    """Publishes RUN/stop.json."""
    body = {**asdict(ending), "reason": ending.reason}
    publish_bytes(run / ENDING, (json.dumps(body, indent=1) + "\n").encode())


def asked_to_end(run: Path, config: StopConfig) -> str | None:
    """The reason why the run shall end, if that was asked for under these settings; None if not, so that a
    run that goes on with other settings, or whose file was removed, is free to."""
    try:
        body = read_json(run / ENDING)
        if isinstance(body, dict):
            body.pop("reason", None)
        ending = checked(Ending, body, ENDING)
    except (FileNotFoundError, Damaged):
        return None  # none, or nothing that evaluation has written
    asked = (ending.metric, ending.patience_images, ending.least_improvement)
    wanted = (config.metric, config.patience_images, config.least_improvement)
    return ending.reason if asked == wanted else None
