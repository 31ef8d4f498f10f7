"""The whole pipe, in the paper's order: blit, geometry, colour, filter, noise, cutout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config.families import AdaConfig
from pipeline.contracts import Augmentation, Randomness
from pipeline.models.augment import bands, blit, color, corruption, geometry
from pipeline.models.augment.draws import Draws
from pipeline.models.augment.warp import Warp

# Uniform and normal numbers that a group draws for one sample, besides the noise image.
_NUMBERS = {
    "blit": (blit.UNIFORMS, blit.NORMALS),
    "geometry": (geometry.UNIFORMS, geometry.NORMALS),
    "color": (color.UNIFORMS, color.NORMALS),
    "filter": (bands.UNIFORMS, bands.NORMALS),
    "noise": (corruption.NOISE_UNIFORMS, corruption.NOISE_NORMALS),
    "cutout": (corruption.CUTOUT_UNIFORMS, corruption.CUTOUT_NORMALS),
}


class Augment(nn.Module):
    """Karras et al. 2020b, appendix B: the groups in `config.kinds`, each operation with probability p.

    Holds constants only, nothing that is trained or saved. Square images. What a sample draws does not
    depend on p, on its neighbours or on what fires.
    """

    def __init__(self, config: AdaConfig, resolution: int, channels: int) -> None:
        super().__init__()
        self.kinds = frozenset(config.kinds)
        self.resolution, self.channels = resolution, channels
        self.uniforms, self.normals = (sum(_NUMBERS[kind][i] for kind in self.kinds) for i in (0, 1))
        self.warp = Warp() if "geometry" in self.kinds else None
        self.band_filter = bands.BandFilter() if "filter" in self.kinds else None

    def forward(self, images: Tensor, randomness: Randomness, p: Tensor) -> Tensor:
        """images, as `draw` from these numbers shows them."""
        return self.draw(randomness, p)(images)

    def draw(self, randomness: Randomness, p: Tensor) -> Drawn:
        """For a batch of as many images as `randomness` has samples.

        p: 0-d on the images' device, in [0, 1], never read by the host.
        """
        # In the order of the paper's operations: the numbers of a sample's stream are theirs in turn.
        draws, kinds = Draws(randomness, p, self.uniforms, self.normals), self.kinds
        return Drawn(
            self,
            moves=blit.draw_moves(draws, self.resolution) if "blit" in kinds else None,
            affine=geometry.draw_affine(draws, self.resolution) if "geometry" in kinds else None,
            colors=color.draw_colors(draws) if "color" in kinds else None,
            gains=bands.draw_gains(draws) if "filter" in kinds else None,
            noise=self._noise(randomness, draws) if "noise" in kinds else None,
            hole=corruption.draw_hole(draws) if "cutout" in kinds else None,
        )

    def _noise(self, randomness: Randomness, draws: Draws) -> tuple[Tensor, Tensor]:
        image = randomness.normal(self.channels, self.resolution, self.resolution)
        return corruption.draw_noise_level(draws), image


@dataclass(frozen=True, slots=True)
class Drawn:
    """Implements contracts.Augmentation: what one batch has drawn of each of the pipe's groups, None of those
    that it has not. noise: its level [N] and the noise itself."""

    pipe: Augment
    moves: blit.Moves | None
    affine: geometry.Affine | None
    colors: color.Colors | None
    gains: Tensor | None
    noise: tuple[Tensor, Tensor] | None
    hole: Tensor | None

    def __call__(self, images: Tensor) -> Tensor:
        """images: [N, C, S, S] in about [-1, 1], any float type; the result is not clamped.

        Differentiable any number of times in the images. A sample that nothing happens to comes back bit
        for bit, so that p = 0 is the identity; half precision is computed in, and returned as, float32.
        """
        images = self.moved(images)
        if self.colors is not None:
            images = color.recolor(images, self.colors)
        if self.gains is not None:
            assert self.pipe.band_filter is not None
            images = self.pipe.band_filter(images, self.gains)
        if self.noise is not None:
            images = corruption.add_noise(images, *self.noise)
        return images if self.hole is None else corruption.cut_out(images, self.hole)

    def moved(self, images: Tensor) -> Tensor:
        """Blit and geometry. Moves of whole pixels alone are exact. Before a warp only flips and turns
        are done on the pixels: a shift pushes some out of sight that a shrinking would show again."""
        images = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        moves, affine = self.moves, self.affine
        moved = images if moves is None else blit.move(images, moves)
        if affine is None:
            return moved
        assert self.pipe.warp is not None
        still = affine.still[:, None, None, None]
        if moves is not None:
            images = blit.move(images, blit.Moves(moves.flip, moves.turns, torch.zeros_like(moves.shift)))
            affine = affine.after(moves.shift)
        return torch.where(still, moved, self.pipe.warp(images, affine))


@dataclass(frozen=True, slots=True)
class Chain:
    """Implements contracts.Augmentation: one after another; none changes nothing."""

    parts: tuple[Augmentation, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        for part in self.parts:
            images = part(images)
        return images

    def moved(self, images: Tensor) -> Tensor:
        for part in self.parts:
            images = part.moved(images)
        return images
