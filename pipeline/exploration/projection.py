"""Projection of a photograph into a generator's latent space (Karras et al. 2020a, appendix D)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.exploration.distance import PIXELS, Distance
from pipeline.exploration.sheet import Sheet, check_sheet
from pipeline.exploration.subject import Subject
from pipeline.exploration.vectors import save_vectors
from pipeline.images.normalised import Target, Unreadable, fit, load
from pipeline.images.pictures import to_uint8
from pipeline.latents import StyledSpace
from pipeline.randomness import derive_seed, seeded

Into = Literal["w", "w+"]
_SAMPLES = 10_000
_LEAST_NOISE = 8  # side in pixels of the coarsest level at which noise is regularised


@dataclass(frozen=True)
class Plan:
    """The settings of a projection; the defaults are the paper's.

    into: whether one w serves all layers (`w`) or each layer has its own (`w+`). steps: the number of Adam's
    steps. rate: the highest learning rate. jitter: the noise added to w at the start, in units of w's spread.
    noise_weight: the weight of the noise regularisation; with 0, the stored noise is not optimised. seed:
    determines all random numbers. distance: what is minimised.
    """

    into: Into = "w"
    steps: int = 1000
    rate: float = 0.1
    jitter: float = 0.05
    noise_weight: float = 1e5
    seed: int = 0
    distance: Distance = field(default=PIXELS)

    def rate_at(self, step: int) -> float:
        """The learning rate at a step: it rises linearly over the first 1/20 of the steps and falls along a
        cosine in the last quarter."""
        t = step / self.steps
        down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25))
        return self.rate * down * min(1.0, t / 0.05)

    def jitter_at(self, step: int) -> float:
        """The jitter at a step: it falls to 0 at three quarters of the steps."""
        return self.jitter * max(0.0, 1 - step / self.steps / 0.75) ** 2


@dataclass(frozen=True)
class Projection:
    """The result of a projection. codes: [1, layers, dim]. noise: the noise maps optimised with the codes.
    mean: the code that the search began from; in a model with classes, the mean of class `label`. distance:
    from the projected image to the photograph. distance_of_mean: from the mean's image to the photograph."""

    codes: Tensor
    noise: list[Tensor]
    mean: Tensor
    distance: float
    distance_of_mean: float
    label: int | None = None


def read_photo(path: Path, height: int, width: int, channels: int) -> Tensor:
    """A photograph, cropped and resized as by `prepare`: [1, C, height, width] in [-1, 1]. UserError for a
    file that `prepare` would refuse."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is not a file; allowed: a photograph")
    try:
        picture = fit(load(path.read_bytes()), Target(height, width, channels))
    except Unreadable as reason:
        raise UserError(f"{path}: {reason}") from reason
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels.view(1, height, width, channels).permute(0, 3, 1, 2).float() / 127.5 - 1


def project(
    space: StyledSpace, photo: Tensor, plan: Plan, *, classes: Sequence[int] = (), progress: bool
) -> Projection:
    """The code, and the noise, whose image is nearest to `photo` [1, C, H, W] in [-1, 1].

    The search begins at the mean w. In a model with classes, it begins at the mean w of one of `classes` (or
    of all, if none are given): the one whose image is nearest.
    """
    measure = plan.distance.to(photo.to(space.device))
    label = nearest_class(space, measure, plan.seed, classes)
    mean, spread = statistics(space, plan.seed, label)
    width = space.layers if plan.into == "w+" else 1
    start = mean.expand(1, width, -1)
    w = start.clone().requires_grad_()
    learns = plan.noise_weight > 0
    noise = [level.requires_grad_(learns) for level in space.noise_maps()]
    optimizer = torch.optim.Adam([w, *noise] if learns else [w], betas=(0.9, 0.999))
    numbers = seeded(derive_seed("project", plan.seed))
    with tqdm(total=plan.steps, unit="step", desc="project", disable=not progress) as bar:
        for step in range(plan.steps):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate_at(step)
            shake = torch.randn(w.shape, generator=numbers).to(w.device) * spread * plan.jitter_at(step)
            codes = (w + shake).expand(-1, space.layers, -1)
            distance = measure(space.synthesise_with(codes, noise)).sum()
            loss = distance + plan.noise_weight * noise_regularisation(noise) if learns else distance
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if learns:
                normalise(noise)
            bar.update()
            bar.set_postfix(distance=f"{distance.item():.4f}", refresh=False)
    with torch.no_grad():
        codes = w.detach().expand(-1, space.layers, -1)
        noise = [level.detach() for level in noise]
        middle = mean.expand(1, space.layers, -1)
        near = float(measure(space.synthesise_with(codes, noise)))
        return Projection(codes, noise, middle, near, float(measure(space.synthesise(middle))), label)


@torch.no_grad()
def nearest_class(
    space: StyledSpace, measure: Callable[[Tensor], Tensor], seed: int, classes: Sequence[int]
) -> int | None:
    """The class among `classes`, or among all if none are given, whose mean w has the image nearest by
    `measure`; None in a model without classes."""
    candidates = classes or range(space.classes)
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    means = (statistics(space, seed, label)[0].expand(1, space.layers, -1) for label in candidates)
    distances = [float(measure(space.synthesise(mean))) for mean in means]
    return candidates[distances.index(min(distances))]


@torch.no_grad()
def statistics(space: StyledSpace, seed: int, label: int | None) -> tuple[Tensor, Tensor]:
    """The mean of w [1, 1, dim], and its spread, the square root of E|w - mean|^2, as a scalar tensor; over
    10,000 z, for the first layer's w. `label` is their class, in a model with classes."""
    numbers = seeded(derive_seed("project statistics", seed))
    z_dim = space.latents([0], classes=None if label is None else [label]).z.shape[1]
    z = torch.randn(_SAMPLES, z_dim, generator=numbers).to(space.device)
    labels = None if label is None else torch.full((_SAMPLES,), label, device=space.device)
    w = space.map(z, labels)[:, 0].double()
    mean = w.mean(0)
    spread = (w - mean).square().sum(1).mean().sqrt()
    return mean.float()[None, None], spread.float()


def noise_regularisation(noise: Sequence[Tensor]) -> Tensor:
    """The squared correlation of each noise map with itself shifted by a pixel, down and across, summed over
    a pyramid that preserves the variance. It keeps the noise from encoding the photograph."""
    total = torch.zeros([], device=noise[0].device if noise else None)
    for noise_map in noise:
        level = noise_map[None, None]
        while True:
            for dim in (2, 3):
                total = total + (level * level.roll(1, dim)).mean().square()
            if min(level.shape[2:]) <= _LEAST_NOISE:
                break
            level = F.avg_pool2d(level, 2) * 2  # the mean of four has a quarter of the variance
    return total


@torch.no_grad()
def normalise(noise: Sequence[Tensor]) -> None:
    """Scales each map to mean 0 and variance 1, in place."""
    for noise_map in noise:
        noise_map.sub_(noise_map.mean())
        noise_map.mul_(noise_map.square().mean().rsqrt())


def prepared_photo(subject: Subject, out: Path, photo: Path) -> Tensor:
    """`read_photo` at the size of the generator's images. UserError, before any work, also if `out` cannot be
    written."""
    spec = subject.snapshot.spec
    check_sheet(out, 1, 4, spec.height, spec.width)
    return read_photo(photo, spec.height, spec.width, spec.channels)


def show_projection(
    subject: Subject, out: Path, pixels: Tensor, name: str, plan: Plan, classes: Sequence[int]
) -> tuple[Path, Projection]:
    """Shows the photograph, its projection, the projection with the stored noise, and the mean, side by side.
    Saves as vectors the codes [1, layers, dim], the noise maps noise.0, noise.1, ..., and the mean."""
    space = subject.space
    assert isinstance(space, StyledSpace)
    projection = project(space, pixels, plan, classes=classes, progress=subject.progress)
    with torch.no_grad():
        near = space.synthesise_with(projection.codes, projection.noise)
        images = [pixels, near, space.synthesise(projection.codes), space.synthesise(projection.mean)]
    mean = "mean" if projection.label is None else f"mean of {subject.name_of(projection.label)}"
    columns = [
        "photograph",
        f"projected: {projection.distance:.3g}",
        "without its noise",
        f"{mean}: {projection.distance_of_mean:.3g}",
    ]
    title = f"{name} in {plan.into}, {plan.steps} steps; distance by {plan.distance.name}"
    Sheet(torch.cat([to_uint8(image).cpu() for image in images]), [""], columns, title).write(out)
    tensors = {"codes": projection.codes, "mean": projection.mean}
    tensors |= {f"noise.{i}": noise for i, noise in enumerate(projection.noise)}
    about = {"photo": name, "into": plan.into, "steps": plan.steps, "distance": projection.distance}
    about |= {
        "measured_by": plan.distance.name,
        "distance_of_mean": projection.distance_of_mean,
        "class": projection.label,
        "seed": plan.seed,
    }
    return save_vectors(out, tensors, subject.snapshot, tool="project", **about), projection
