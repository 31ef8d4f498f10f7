"""The augmentation pipe, in the paper's order: blit, geometry, colour, filter, noise, cutout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config.families import AdaConfig
from pipeline.contracts import Augmentation, Randomness
from pipeline.models.augment import bands, blit, color, corruption, geometry
from pipeline.models.augment.draws import Draws
from pipeline.models.augment.warp import Warp

# How many uniform and normal numbers each group draws per sample, apart from the noise image.
_NUMBERS = {
    "blit": (blit.UNIFORMS, blit.NORMALS),
    "geometry": (geometry.UNIFORMS, geometry.NORMALS),
    "color": (color.UNIFORMS, color.NORMALS),
    "filter": (bands.UNIFORMS, bands.NORMALS),
    "noise": (corruption.NOISE_UNIFORMS, corruption.NOISE_NORMALS),
    "cutout": (corruption.CUTOUT_UNIFORMS, corruption.CUTOUT_NORMALS),
}


class Augment(nn.Module):
    """Applies the groups of `config.kinds` to images, each operation with probability p (Karras et al. 2020b,
    appendix B).

    It holds only constants, which are neither trained nor saved. The numbers that a sample draws do not
    depend on p, on other samples or on which operations fire.
    """

    def __init__(self, config: AdaConfig, size: tuple[int, int], channels: int) -> None:
        """size: (height, width) of the images."""
        super().__init__()
        self.kinds = frozenset(config.kinds)
        self.size, self.channels = size, channels
        self.uniforms, self.normals = (sum(_NUMBERS[kind][i] for kind in self.kinds) for i in (0, 1))
        self.warp = Warp() if "geometry" in self.kinds else None
        self.band_filter = bands.BandFilter() if "filter" in self.kinds else None

    def forward(self, images: Tensor, randomness: Randomness, p: Tensor) -> Tensor:
        """Augments images, as `draw(randomness, p)` does."""
        return self.draw(randomness, p)(images)

    def draw(self, randomness: Randomness, p: Tensor) -> Drawn:
        """Draws the augmentation of a batch of as many images as `randomness` has samples.

        p: 0-d on the images' device, in [0, 1]; the host never reads it.
        """
        # In the order of the paper's operations, which take the numbers of a sample's stream in turn.
        draws, kinds = Draws(randomness, p, self.uniforms, self.normals), self.kinds
        return Drawn(
            self,
            moves=blit.draw_moves(draws, self.size) if "blit" in kinds else None,
            affine=geometry.draw_affine(draws, self.size) if "geometry" in kinds else None,
            colors=color.draw_colors(draws) if "color" in kinds else None,
            gains=bands.draw_gains(draws) if "filter" in kinds else None,
            noise=self._noise(randomness, draws) if "noise" in kinds else None,
            hole=corruption.draw_hole(draws) if "cutout" in kinds else None,
        )

    def _noise(self, randomness: Randomness, draws: Draws) -> tuple[Tensor, Tensor]:
        image = randomness.normal(self.channels, *self.size)
        return corruption.draw_noise_level(draws), image


@dataclass(frozen=True, slots=True)
class Drawn:
    """Implements contracts.Augmentation: the parameters that a batch has drawn for each group of the pipe,
    None for groups that the pipe lacks.

    gains: those of the frequency bands, [N, 4]. noise: its level [N] and the noise itself. hole: the centre
    of the cutout, [N, 2].
    """

    pipe: Augment
    moves: blit.Moves | None
    affine: geometry.Affine | None
    colors: color.Colors | None
    gains: Tensor | None
    noise: tuple[Tensor, Tensor] | None
    hole: Tensor | None

    def __call__(self, images: Tensor) -> Tensor:
        """Augments images [N, C, H, W] in about [-1, 1] of any float type; the result is not clamped.

        It is differentiable any number of times with respect to the images. A sample for which nothing fires
        comes back bit for bit, so that p = 0 is the identity. Images in half precision are converted to
        float32, which the result has too.
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
        """Applies blit and geometry. Moves by whole pixels are exact if there is no warp. Before a warp, only
        flips and turns are applied to the pixels, because a shift would push some out of the image that the
        warp may bring back."""
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
    """Implements contracts.Augmentation: applies its parts one after another, if there are any."""

    parts: tuple[Augmentation, ...] = ()

    def __call__(self, images: Tensor) -> Tensor:
        for part in self.parts:
            images = part(images)
        return images

    def moved(self, images: Tensor) -> Tensor:
        for part in self.parts:
            images = part.moved(images)
        return images
