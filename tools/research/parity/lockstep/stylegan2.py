"""What a turn of our StyleGAN2 drew, in the order in which its public versions ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tools.research.parity.lockstep.ours import Draw, TurnInputs
from tools.research.parity.lockstep.supply import Supply

Numbers = Iterator[Tensor]
_VALUES: dict[str, tuple[str, ...]] = {
    "blit": ("u", "u", "uu"),
    "geometry": ("n", "-", "n", "-", "nn"),
    "color": ("n", "n", "u", "u", "n"),
    "filter": ("n", "n", "n", "n"),
    "noise": ("n",),
}
"""The numbers that each operation of the augmentation draws for its value: uniform, uniform for an angle,
which theirs turns the other way, or normal. Ours draws whether it fires before them, theirs after them."""


class Drawn:
    """The draws of one turn, taken in order."""

    def __init__(self, turn: TurnInputs) -> None:
        self._draws: Iterator[Draw] = iter(turn.draws)

    def next(self, kind: str) -> Tensor:
        """The next numbers. Errors: RuntimeError if they are of another kind, or there are none."""
        draw = next(self._draws, Draw("no", torch.zeros(0)))
        if draw.kind != kind:
            raise RuntimeError(f"our turn drew {draw.kind} numbers where {kind} ones were expected")
        return draw.values

    def noise(self, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The noise of each layer, [N, 1, H, W]."""
        parts = torch.split(self.next("normal"), [h * w for h, w in shapes], dim=1)
        return [part.view(-1, 1, h, w) for part, (h, w) in zip(parts, shapes, strict=True)]

    def augmented(self, supply: Supply, kinds: Sequence[str]) -> None:
        """What one pass through a pipe of these kinds, in the paper's order, draws."""
        uniforms, normals = (iter(self.next(kind).unbind(1)) for kind in ("uniform", "normal"))
        for kind in kinds:
            if kind == "cutout":
                supply.put("uniform", next(uniforms))
                supply.put("uniform", torch.stack([next(uniforms), next(uniforms)], dim=1))
                continue
            for values in _VALUES[kind]:
                fires = next(uniforms)
                supply.put(*_value(values, uniforms, normals))
                supply.put("uniform", fires)
            if kind == "noise":
                supply.put("normal", self.next("normal"))


def _value(values: str, uniforms: Numbers, normals: Numbers) -> tuple[str, Tensor]:
    if values == "-":
        return "uniform", 1 - next(uniforms)
    source, kind = (normals, "normal") if values[0] == "n" else (uniforms, "uniform")
    return kind, torch.stack([next(source) for _ in values], dim=1)


def noise_shapes(side: int) -> list[tuple[int, int]]:
    """Returns the shapes of the noise of the layers that have it: one at 4 pixels, then two per
    resolution."""
    levels = range(3, side.bit_length())
    return [(4, 4), *((1 << level, 1 << level) for level in levels for _ in range(2))]
