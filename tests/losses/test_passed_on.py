"""What objectives hand on: labels to the generator, fakes to whatever is added to a turn or observes it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pipeline.contracts import Fakes, Terms
from pipeline.losses import ADVERSARIAL, Play
from pipeline.losses.penalties import PathLength
from pipeline.losses.turns import DiscriminatorTurn, GeneratorTurn
from tests.losses.test_penalties import Game, networks, reals, remembered  # noqa: F401  (fixtures)

LOSS = next(iter(ADVERSARIAL.values()))


class Noting(Game):
    """Notes the labels that it is asked for, and the fakes that it gave."""

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        fakes = super().generate(count, labels, exact=exact)
        self.labels, self.fakes = labels, fakes
        return fakes


def test_path_length_is_of_the_first_reals_classes(networks, reals) -> None:  # noqa: F811
    game = Noting(networks)
    PathLength(remembered(0.0), weight=1.0, shrink=2)(game, reals)
    assert game.labels is not None
    assert game.labels.tolist() == reals.labels[:2].tolist()
    PathLength(remembered(0.0), weight=1.0, shrink=2)(game, replace(reals, labels=None))
    assert game.labels is None


def test_what_is_added_to_the_generators_turn_sees_its_fakes(networks, reals) -> None:  # noqa: F811
    seen: list[Play] = []

    def extra(play: Play) -> Terms:
        seen.append(play)
        return Terms(torch.ones(len(reals)).double(), {"stat": torch.tensor(1.0)})

    game = Noting(networks)
    terms = GeneratorTurn(LOSS, [extra])(game, reals)
    (play,) = seen
    assert play.fakes is game.fakes
    assert play.reals is reals
    torch.testing.assert_close(terms.loss, GeneratorTurn(LOSS)(Noting(networks), reals).loss + 1)
    assert terms.stats["stat"] == 1


def test_what_observes_the_discriminators_turn_sees_its_fakes(networks, reals) -> None:  # noqa: F811
    game = Noting(networks)

    def observed(fakes: Fakes) -> dict[str, Tensor]:
        assert torch.equal(fakes.latents, game.fakes.latents)
        return {"mean_w": fakes.latents.mean()}

    terms = DiscriminatorTurn(LOSS, observed=observed)(game, reals)
    assert terms.stats["mean_w"] == game.fakes.latents.mean()
