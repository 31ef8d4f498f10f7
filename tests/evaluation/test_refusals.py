"""What a model has no figure of is refused before others are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import Settings
from tests.evaluation.worlds import SmoothSampler, write_shards, write_toy_snapshot


class TwoValued(SmoothSampler):
    values = 2

    def evidence(self, *_: Any, **__: Any) -> Any:
        pytest.fail("asked")


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ("convergence", "this family measures no convergence of its own"),
        ("bits_per_dim", "images of 2 values, not 256; allowed: elbo"),
        ("eqt", "this family's generators have no input that can be moved"),
    ],
)
def test_what_a_model_has_no_figure_of_is_refused_before_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str, words: str
) -> None:
    data, snapshot = write_shards(tmp_path / "data", 24), write_toy_snapshot(tmp_path / "run", 8)
    settings = Settings(("msssim", "elbo", refused), count=20)
    measuring = EvaluationJob(data.root, settings, lambda opened: TwoValued(opened.spec), print)
    monkeypatch.setattr(measuring, "_measure_set", lambda *_: pytest.fail("measured before"))
    with pytest.raises(UserError, match=f"--metrics {refused}: .*{words}"):
        measuring.evaluate(snapshot)
