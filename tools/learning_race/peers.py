"""Another project's loop as an entrant: its networks, losses and optimizers, as they stand in a checkout, on
our shards in our order. A process of its own trains one of them with one seed on a CPU.

Its loops cannot go on from where they were cut off; such a one begins anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from launch.assembly.dataset import Sets, open_data, stream_of, trained_spec
from launch.assembly.trainer import family_of
from pipeline.config.load import load_config
from pipeline.config.run import RunConfig
from pipeline.contracts import ImageSpec, Process
from pipeline.data.shards.reader import read_labels
from pipeline.errors import Damaged, UserError
from pipeline.evaluation.fakes import classes_of
from pipeline.images.pictures import to_uint8
from pipeline.randomness import derive_seed, seeded
from pipeline.reading import read_json
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.log import LOG
from pipeline.storage.positions import numbered
from tools.learning_race.sets import BLOCK, Labelled, write_set
from tools.research import parity
from tools.research.parity import lockstep, offering
from tools.research.parity.lockstep.nvidia import Course, Reals
from tools.research.parity.lockstep.ours import LoopSetting, TurnInputs

SETS, DONE = "sets", "finished.json"
"""Inside a peer's run: data sets of its samples by images seen; and the arguments with which it came to its
end."""


def kinds() -> dict[str, Any]:
    """The peers that can race, by name."""
    return dict(offering(lockstep, "alone"))


def checkout_of(kind: str, folder: str, where: str) -> Path:
    """The folder of a checkout. UserError for an unknown kind, or a folder that is none of it."""
    known = kinds()
    if kind not in known:
        raise UserError(f"{where}: unknown peer {kind!r}; allowed: {', '.join(sorted(known))}")
    checkout = Path(folder).expanduser().absolute()
    landmark = offering(parity, "compare")[kind].LANDMARK
    if not folder or not (checkout / landmark).is_file():
        raise UserError(
            f"{where}: no checkout of {kind} at {folder or '(nothing)'} (it has no file {landmark})"
        )
    return checkout


def check(kind: str, settings: RunConfig, name: str) -> None:
    """UserError if the peer's loop cannot follow a configuration of ours."""
    peer, family = kinds()[kind], settings.family
    plain = peer.CONFIG()
    if not isinstance(family, peer.CONFIG):
        raise UserError(
            f"{name}: family.name={family.name}: {kind} trains another family; allowed: {plain.name}"
        )
    if settings.engine.precision != "float32":
        raise UserError(f"{name}: engine.precision={settings.engine.precision}: allowed for a peer: float32")
    for key, value in family:
        if key not in peer.FOLLOWED and value != getattr(plain, key):
            raise UserError(
                f"{name}: family.{key}={value}: {kind} is not told of it; allowed: {getattr(plain, key)}"
            )
    for one, other in peer.EQUAL:
        if getattr(family, one) != getattr(family, other):
            raise UserError(f"{name}: family.{one} and family.{other} differ: {kind} has one value for both")


class PeerRun:
    """One training: its log, and samples of its averaged generator.

    images, seconds: it ends when it has had both. every: images between two sets of samples. count: images in
    each.
    """

    def __init__(
        self, run: Path, peer: Any, sets: Sets, spec: ImageSpec, *,
        images: int, seconds: float, every: int, count: int,
    ) -> None:  # fmt: skip
        self._run, self._peer, self._index, self._spec = run, peer, sets.first, spec
        self._images, self._seconds, self._every, self._count = images, seconds, every, count
        self._labels = read_labels(sets.first) if spec.classes else None
        self._at, self._spent, self._since = 0, 0.0, time.perf_counter()

    def begin(self, generator: Any) -> None:
        """Keeps samples of the untrained generator."""
        self._write(0, generator)
        self._since = time.perf_counter()

    def after(self, images: int, average: Any) -> bool:
        """Notes how long the steps took, and keeps samples; True at the end."""
        took = time.perf_counter() - self._since
        self._spent += took
        if images >= self._every:
            self._write(images, average)
        speed = {"speed/seconds_per_kimg": 1000 * took / (images - self._at)}
        with (self._run / LOG).open("a") as log:
            log.write(json.dumps({"images_seen": images, "time": time.time(), **speed}) + "\n")
        self._at = images
        print(f"{images} images, {self._spent:.1f} s", file=sys.stderr, flush=True)
        self._since = time.perf_counter()
        return images >= self._images and self._spent >= self._seconds

    def _write(self, images: int, generator: Any) -> None:
        folder = numbered(self._run / SETS, images)
        write_set(folder, self._index, f"a peer after {images} images", self._samples(generator))

    @torch.no_grad()
    def _samples(self, generator: Any) -> Iterator[Labelled]:
        for at in range(0, self._count, BLOCK):
            places = range(at, min(at + BLOCK, self._count))
            z = torch.cat([self._latent(place, generator.z_dim) for place in places])
            labels = classes_of(places, self._labels)
            classes = torch.zeros(len(places), 0)
            if labels is not None:
                classes = F.one_hot(torch.tensor(labels), self._spec.classes).float()
            yield to_uint8(self._peer.samples(generator, z, classes)), labels

    @staticmethod
    def _latent(place: int, size: int) -> torch.Tensor:
        return torch.randn(1, size, generator=seeded(derive_seed("peer-sample", place)))


def train(
    kind: str, checkout: Path, config: RunConfig, run: Path, *,
    images: int, seconds: float, every: int, count: int,
) -> None:  # fmt: skip
    """Trains one peer in the folder `run`, from the beginning, whatever is there."""
    peer, sets = kinds()[kind], open_data(config)
    spec = trained_spec(config, sets)
    family = family_of(config, spec)
    about = {"height": spec.height, "width": spec.width, "channels": spec.channels, "classes": spec.classes}
    setting = LoopSetting(config.family.model_dump(), about, config.batch.size, (), ())
    for name in (DONE, LOG):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / SETS, ignore_errors=True)
    (run / SETS).mkdir(parents=True)
    noted = PeerRun(run, peer, sets, spec, images=images, seconds=seconds, every=every, count=count)
    stream: Any = stream_of(config, sets, family, Process())
    with _closing(stream):

        def batches() -> list[TurnInputs]:
            return [TurnInputs("", batch) for batch in stream.draw(config.batch.size, peer.STEP_BATCHES)]

        course = Course(Reals(about, batches), config.seed, every, noted.begin, noted.after)
        peer.alone(checkout, setting, course)


def is_done(run: Path, arguments: Sequence[str]) -> bool:
    """Whether a training with these arguments has come to its end."""
    try:
        return bool(read_json(run / DONE) == list(arguments))
    except (FileNotFoundError, Damaged):
        return False


def _closing(stream: Any) -> AbstractContextManager[object]:
    entered: AbstractContextManager[object] = stream
    return entered


def main(arguments: Sequence[str]) -> int:
    """What the race starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("changes", nargs="*")
    for name, kind in (("images", int), ("seconds", float), ("every", int), ("count", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    options = parser.parse_args(arguments)
    config = load_config(options.config, options.changes)
    train(
        options.kind, options.checkout, config, options.run,
        images=options.images, seconds=options.seconds, every=options.every, count=options.count,
    )  # fmt: skip
    publish_bytes(options.run / DONE, (json.dumps(list(arguments)) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
