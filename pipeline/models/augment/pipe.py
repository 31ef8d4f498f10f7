"""The whole pipe, in the paper's order: blit, geometry, colour, filter, noise, cutout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.config.families import AdaConfig
from pipeline.contracts import Randomness
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
        """images: [N, C, S, S] in about [-1, 1], any float type; the result is not clamped.

        p: 0-d on the images' device, in [0, 1], never read by the host. Differentiable any number of
        times in the images. A sample that nothing happens to comes back bit for bit, so that p = 0 is
        the identity; half precision is computed in, and returned as, float32.
        """
        images = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
        draws = Draws(randomness, p, self.uniforms, self.normals)
        images = self._moved(images, draws)
        if "color" in self.kinds:
            images = color.recolor(images, color.draw_colors(draws))
        if self.band_filter is not None:
            images = self.band_filter(images, bands.draw_gains(draws))
        if "noise" in self.kinds:
            noise = randomness.normal(*images.shape[1:])
            images = corruption.add_noise(images, corruption.draw_noise_level(draws), noise)
        if "cutout" in self.kinds:
            images = corruption.cut_out(images, corruption.draw_hole(draws))
        return images

    def _moved(self, images: Tensor, draws: Draws) -> Tensor:
        """Blit and geometry. Moves of whole pixels alone are exact. Before a warp only flips and turns
        are done on the pixels: a shift pushes some out of sight that a shrinking would show again."""
        moves = blit.draw_moves(draws, self.resolution) if "blit" in self.kinds else None
        moved = images if moves is None else blit.move(images, moves)
        if self.warp is None:
            return moved
        affine = geometry.draw_affine(draws, self.resolution)
        still = affine.still[:, None, None, None]
        if moves is not None:
            images = blit.move(images, blit.Moves(moves.flip, moves.turns, torch.zeros_like(moves.shift)))
            affine = affine.after(moves.shift)
        return torch.where(still, moved, self.warp(images, affine))
