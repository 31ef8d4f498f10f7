"""The lab for losses: each trains a small GAN on a mixture of Gaussians in the plane, in seconds on a CPU.

    python -m tools.research.loss_lab                                       # every recipe, on a ring of eight
    python -m tools.research.loss_lab --loss wgan_gp hinge --mixture grid --images 1M --picture lab.png

Points are images [N, 2, 1, 1], networks the smallest family's, the loop the one that trains on photographs.
Of 2,500 samples, one is of high quality within three deviations of its nearest mode; a mode is covered that
has one such sample (Srivastava et al. 2017; Lin et al. 2018). Points spread evenly would cover modes too, so
the share of high quality says more, and untrained generators are the control.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from launch.assembly.trainer import assemble
from pipeline.config.families import MLPConfig
from pipeline.config.units import PositiveCount
from pipeline.contracts import Batch, ImageSpec
from pipeline.errors import UserError
from pipeline.images.codec import format_of
from pipeline.images.pictures import write_picture
from pipeline.models.registry import build_family
from pipeline.randomness import derive_seed, seeded
from tools.bench.machine import write_rows

POINTS = ImageSpec(1, 1, 2)
BATCH, SAMPLES = 64, 2500

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "minimax": {"loss": "minimax"},
    "non_saturating": {"loss": "non_saturating"},
    "non_saturating_r1": {"loss": "non_saturating", "r1_gamma": 0.1},
    "non_saturating_lecam": {"loss": "non_saturating", "lecam_weight": 0.1},
    "least_squares": {"loss": "least_squares"},
    "wasserstein_clip": {
        "loss": "wasserstein",
        "weight_clip": 0.3,
        "discriminator_repeats": 2,
        "adam_beta1": 0.0,
    },
    "wgan_gp": {"loss": "wasserstein", "gp_weight": 0.1, "discriminator_repeats": 2, "adam_beta1": 0.0},
    "hinge": {"loss": "hinge", "gp_weight": 0.1},
    "relativistic": {"loss": "relativistic", "r1_gamma": 0.1, "r2_gamma": 0.1},
}
"""Each loss with the regularisers that it is used with; their weights fit points in [-1, 1]."""

NETWORKS: Mapping[str, Any] = {
    "z_dim": 16,
    "width": 128,
    "layers": 2,
    "output": "linear",
    "generator_rate": 0.001,
    "discriminator_rate": 0.001,
    "ema_half_life_images": 10_000,
}
"""What all recipes share."""


@dataclass(frozen=True)
class Mixture:
    """Equally likely Gaussians at `modes` [K, 2], of one deviation in both directions."""

    modes: Tensor
    deviation: float

    def draw(self, count: int, seed: int) -> Tensor:
        """[count, 2]"""
        generator = seeded(seed)
        chosen = torch.randint(len(self.modes), (count,), generator=generator)
        return self.modes[chosen] + self.deviation * torch.randn(count, 2, generator=generator)

    def score(self, points: Tensor) -> tuple[int, float]:
        """(modes covered, share of high-quality points) of points [N, 2]."""
        distances, nearest = torch.cdist(points, self.modes).min(dim=1)
        good = distances < 3 * self.deviation
        return int((torch.bincount(nearest[good]) > 0).sum()), float(good.float().mean())


def ring(modes: int = 8) -> Mixture:
    """Modes on a circle, neighbours 15 deviations apart."""
    angles = torch.arange(modes) * (2 * math.pi / modes)
    return Mixture(0.8 * torch.stack([angles.cos(), angles.sin()], dim=1), 0.04)


def grid(side: int = 5) -> Mixture:
    """Modes on a square grid, neighbours 20 deviations apart."""
    line = torch.linspace(-0.8, 0.8, side)
    return Mixture(torch.cartesian_prod(line, line), 0.02)


MIXTURES = {"ring": ring, "grid": grid}


class PointStream:
    """Points as a function of their position."""

    damaged = retries = 0

    def __init__(self, mixture: Mixture, seed: int) -> None:
        self.mixture, self.seed, self.position = mixture, seed, 0

    @cached_property
    def others(self) -> PointStream:
        return PointStream(self.mixture, derive_seed(self.seed, "others"))

    def draw(self, batch_size: int, times: int = 1, *, resolution: int | None = None) -> list[Batch]:
        return [self._next(batch_size) for _ in range(times)]

    def _next(self, count: int) -> Batch:
        points = self.mixture.draw(count, derive_seed(self.seed, "points", self.position))
        self.position += count
        return Batch(points[:, :, None, None])


@dataclass(frozen=True)
class LabResult:
    """One recipe's samples [2500, 2] and figures; `control`: of the untrained generator."""

    name: str
    points: Tensor
    modes: int
    quality: float
    control: tuple[int, float]
    seconds: float


def train(name: str, mixture: Mixture, *, images: int, seed: int = 0) -> LabResult:
    """Trains recipe `name` until `images` real points were shown."""
    config = MLPConfig(**{**NETWORKS, **RECIPES[name]})
    family = build_family(config, POINTS, batch_size=BATCH)
    trainer = assemble(family, seed=seed, stream=PointStream(mixture, seed))
    sampler = family.sampler(trainer.averager.average)

    def samples() -> Tensor:
        return sampler.draw(range(SAMPLES)).images.flatten(1)

    control, start = mixture.score(samples()), time.perf_counter()
    while trainer.progress.images_seen < images:
        trainer.step()
    seconds = time.perf_counter() - start
    points = samples()
    return LabResult(name, points, *mixture.score(points), control, seconds)


def picture(results: Sequence[LabResult], mixture: Mixture, side: int = 260) -> np.ndarray[Any, Any]:
    """One panel a recipe, [H, W, 3] uint8: the modes' circles of three deviations, samples over them, and
    the figures above."""
    columns = min(len(results), 3)
    rows, head = -(-len(results) // columns), 34
    sheet = Image.new("RGB", (columns * side, rows * (side + head)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, result in enumerate(results):
        x, y = place % columns * side, place // columns * (side + head)
        draw.text((x + 6, y + 4), result.name, fill="black")
        figures = f"{result.modes} of {len(mixture.modes)} modes, {result.quality:.0%} of high quality"
        draw.text((x + 6, y + 18), figures, fill="black")
        _panel(draw, result.points, mixture, (x, y + head), side)
    return np.asarray(sheet)


def _panel(
    draw: ImageDraw.ImageDraw, points: Tensor, mixture: Mixture, corner: tuple[int, int], side: int
) -> None:
    def place(values: Tensor) -> list[list[float]]:
        pixels = (values * torch.tensor([1.0, -1.0]) / 1.2 + 1) / 2 * side + torch.tensor(corner)
        return pixels.tolist()

    x, y = corner
    draw.rectangle((x + 2, y + 2, x + side - 3, y + side - 3), outline="#cccccc")
    radius = 3 * mixture.deviation / 1.2 / 2 * side
    for cx, cy in place(mixture.modes):
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), outline="#d62728")
    inside = points[(points.abs() < 1.18).all(dim=1)]
    for px, py in place(inside):
        draw.rectangle((px - 0.5, py - 0.5, px + 0.5, py + 0.5), fill="#1f4e9c")


def row(result: LabResult, mixture_name: str, modes: int) -> dict[str, Any]:
    """What the JSON file says of a recipe."""
    return {
        "op": result.name,
        "size": f"{mixture_name} of {modes}",
        "mode": "fwd+bwd",
        "ms": 1e3 * result.seconds,
        "modes": result.modes,
        "quality": result.quality,
        "untrained_modes": result.control[0],
        "untrained_quality": result.control[1],
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument(
        "--loss", nargs="+", default=["all"], metavar="NAME", help=f"all, or {', '.join(RECIPES)}"
    )
    arguments.add_argument("--mixture", choices=sorted(MIXTURES), default="ring")
    arguments.add_argument("--images", default="400k", help="real points shown to each; default 400k")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--picture", type=Path, default=Path("out/loss_lab.png"), help="where to draw")
    arguments.add_argument("--json", type=Path, help="write the figures here")
    return arguments


def chosen(names: Sequence[str]) -> list[str]:
    """Recipes by name. UserError for an unknown one."""
    if list(names) == ["all"]:
        return list(RECIPES)
    for name in names:
        if name not in RECIPES:
            raise UserError(f"--loss: {name!r} is unknown; allowed: all, or {', '.join(RECIPES)}")
    return list(names)


def count(text: str) -> int:
    """A number of images such as 400k. UserError if it is none."""
    try:
        return int(TypeAdapter(PositiveCount).validate_python(text))
    except ValidationError:
        raise UserError(f"--images: {text!r} is no count; allowed: a number above 0, such as 400k") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line a recipe, draws the picture."""
    options = parser().parse_args(arguments)
    names, images = chosen(options.loss), count(options.images)
    torch.set_num_threads(1)  # networks so small gain nothing from more
    mixture = MIXTURES[options.mixture]()
    format_of(options.picture)  # before the work, not after it
    results = []
    for name in names:
        results.append(train(name, mixture, images=images, seed=options.seed))
        last = results[-1]
        print(
            f"{name:22} {last.modes:2} of {len(mixture.modes)} modes  {last.quality:6.1%} of high quality  "
            f"(untrained {last.control[0]}, {last.control[1]:.1%})  {last.seconds:.0f} s",
            flush=True,
        )
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    write_picture(options.picture, picture(results, mixture))
    print(f"picture: {options.picture}")
    write_rows(options.json, [row(result, options.mixture, len(mixture.modes)) for result in results])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
