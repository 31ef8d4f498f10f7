"""What a tool explores: a snapshot's latent space and the images it gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.contracts import Sampler
from pipeline.errors import UserError
from pipeline.float32 import full_float32
from pipeline.images.pictures import to_uint8
from pipeline.latents import Latents, LatentSpace, LinearSpace, MovableSpace, OrbitedSpace, StyledSpace
from pipeline.storage.snapshots import Snapshot

NEEDS: dict[str, tuple[type, str]] = {
    "truncation": (LatentSpace, "truncation"),
    "interpolate": (LatentSpace, "latents to start from"),
    "mix": (LatentSpace, "styles of each layer, to mix"),
    "direction": (LatentSpace, "latents to start from"),
    "sefa": (LinearSpace, "linear layers that see latents"),
    "walk": (LatentSpace, "latents to start from"),
    "project": (StyledSpace, "styles of each layer, to project into"),
    "translate": (MovableSpace, "input that can be moved"),
    "rotate": (MovableSpace, "input that can be moved"),
    "orbit": (OrbitedSpace, "camera that can stand elsewhere"),
    "slit": (LatentSpace, "latents to start from"),
}
"""What each tool needs from a generator: a type, and how to say that the generator lacks it."""


@dataclass(frozen=True)
class Subject:
    """A snapshot and its latent space, as the tools use them.

    batch: how many images are made at once; on a CPU they are made one by one, as by `generate`. progress:
    whether to show a progress bar. Making a Subject turns TF32 off in this process.
    """

    snapshot: Snapshot
    space: LatentSpace
    batch: int = 16
    progress: bool = False

    def __post_init__(self) -> None:
        full_float32()

    def start(self, seeds: Sequence[int], classes: Sequence[int] = (), psi: float = 1.0) -> Latents:
        """z and labels of `seeds`. `classes` are given to the seeds in turn; if there are none, each seed
        draws its own class."""
        chosen = [classes[i % len(classes)] for i in range(len(seeds))] if classes else None
        return self.space.latents(seeds, classes=chosen, truncation=psi)

    @torch.no_grad()
    def map(self, start: Latents, psi: float = 1.0) -> Tensor:
        """The codes [N, layers, dim] of z and labels, equal to those that `generate` uses."""
        parts = [
            self.space.map(
                start.z[part], None if start.labels is None else start.labels[part], truncation=psi
            )
            for part in self._parts(len(start.z))
        ]
        return torch.cat(parts)

    def codes(self, seeds: Sequence[int], classes: Sequence[int] = (), psi: float = 1.0) -> Tensor:
        """The codes [N, layers, dim] of `seeds`."""
        return self.map(self.start(seeds, classes, psi), psi)

    @torch.no_grad()
    def images(
        self, codes: Tensor, what: str = "images", *, moves: Tensor | None = None, rows: slice = slice(None)
    ) -> Tensor:
        """The images [N, C, H, W] uint8, on the CPU, of codes [N, layers, dim].

        moves: [N, 3, 3], for generators whose input can be moved, see `latents.MovableSpace`. rows: which
        rows of pixels to keep.
        """
        made, space = [], self.space
        with tqdm(total=len(codes), unit="img", desc=what, disable=not self.progress) as bar:
            for part in self._parts(len(codes)):
                if moves is None:
                    images = space.synthesise(codes[part])
                else:
                    assert isinstance(space, MovableSpace), "checked by `space_for`"
                    images = space.synthesise_moved(codes[part], moves[part].to(codes))
                made.append(to_uint8(images[:, :, rows]).cpu())
                bar.update(len(made[-1]))
        return torch.cat(made)

    def names(self, seeds: Sequence[int], start: Latents) -> list[str]:
        """Names of points for people: their seeds, and their classes if there are any."""
        if start.labels is None:
            return [f"seed {seed}" for seed in seeds]
        labels = map(self.name_of, start.labels.tolist())
        return [f"seed {seed}: {label}" for seed, label in zip(seeds, labels, strict=True)]

    def name_of(self, label: int) -> str:
        """The name of a class."""
        known = self.snapshot.classes
        return known[label] if known else str(label)

    def _parts(self, count: int) -> Iterator[slice]:
        size = 1 if self.space.device.type == "cpu" else self.batch
        return (slice(i, i + size) for i in range(0, count, size))


def space_for(tool: str, sampler: Sampler, family: str) -> LatentSpace:
    """The sampler as the type that `tool` needs. The UserError names the tools that this generator allows."""
    if not isinstance(sampler, LatentSpace) or not _has(sampler, tool):
        able = [name for name in NEEDS if isinstance(sampler, LatentSpace) and _has(sampler, name)]
        raise UserError(
            f"{tool}: a {family} generator has no {NEEDS[tool][1]}; allowed: {', '.join(able) or 'no tool'}"
        )
    return sampler


def _has(space: LatentSpace, tool: str) -> bool:
    able = {"truncation": space.truncates, "mix": space.layers > 1}
    return isinstance(space, NEEDS[tool][0]) and able.get(tool, True)
