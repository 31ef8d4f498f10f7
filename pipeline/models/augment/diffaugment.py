"""DiffAugment: always the same few mild changes of colour and place (Zhao et al. 2020)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.contracts import Randomness

_BRIGHTNESS, _SATURATION, _CONTRAST = (-0.5, 0.5), (0.0, 2.0), (0.5, 1.5)
_SHIFT = 8  # the side divided by the largest translation
_HOLE = 2  # the side divided by that of the cutout
_UNIFORMS = 9


@dataclass(frozen=True, slots=True)
class Tint:
    """The changes to the colours of each image, applied in this order; all [N].

    brightness: is added. saturation: a factor on the distance of each value from the mean of its pixel.
    contrast: a factor on the distance of each value from the mean of its image.
    """

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor


@dataclass(frozen=True, slots=True)
class Means:
    """What saturation and contrast leave as it is. pixel: [N, 1, H, W]. image: [N, 1, 1, 1]."""

    pixel: Tensor
    image: Tensor


@dataclass(frozen=True)
class DiffAugment:
    """Changes colours, moves images and cuts holes, each image by numbers of its own.

    kinds: which of these are done. color: brightness U(-0.5, 0.5), saturation U(0, 2), contrast U(0.5, 1.5).
    translation: up to 1/8 of each side, by whole pixels; what comes into view is 0. cutout: a rectangle of
    half of each side, around a pixel of the image, becomes 0. p_color: the probability that an image's
    colours are changed. p_flip: the probability that an image is mirrored left to right. colors: how many of
    the first channels are colours; None for all (opacity is none, a codec's latents count as colours).
    """

    kinds: Collection[str] = ("color", "translation", "cutout")
    p_color: float = 1.0
    p_flip: float = 0.0
    colors: int | None = None

    def draw(self, randomness: Randomness, size: tuple[int, int]) -> Retouched:
        """Draws the augmentation of a batch of as many images as `randomness` has samples.

        size: (height, width) of the images. The numbers that a sample draws do not depend on the kinds, the
        probabilities or the size.
        """
        tint_on, *tint, flip_on, right, down, x, y = randomness.uniform(_UNIFORMS).unbind(1)
        height, width = size
        return Retouched(
            size,
            self.colors,
            tint=_tint(tint_on < self.p_color, *tint) if "color" in self.kinds else None,
            flip=flip_on < self.p_flip if self.p_flip > 0 else None,
            shift=torch.stack([_shift(right, width), _shift(down, height)], dim=1)
            if "translation" in self.kinds
            else None,
            hole=torch.stack([_first(x, width), _first(y, height)], dim=1)
            if "cutout" in self.kinds
            else None,
        )


@dataclass(frozen=True, slots=True)
class Retouched:
    """Implements contracts.Augmentation: what a batch has drawn, None for what is not done.

    size: (height, width) of the images. colors: see `DiffAugment`. flip: whether each image is mirrored, [N]
    bool. shift: pixels to the right and down, [N, 2] int64. hole: the first column and row of the cutout,
    which may lie outside the image, [N, 2] int64. means: None for those of the image that is shown, each
    after the changes before it, as in the authors' code.
    """

    size: tuple[int, int]
    colors: int | None
    tint: Tint | None
    flip: Tensor | None
    shift: Tensor | None
    hole: Tensor | None
    means: Means | None = None

    def about(self, images: Tensor) -> Retouched:
        """Returns the same augmentation with both means fixed to those of `images` [N, C, H, W] as they are
        before any change, whatever it is applied to."""
        colors = _wide(images[:, : self.colors])
        return replace(self, means=Means(colors.mean(1, keepdim=True), colors.mean((1, 2, 3), keepdim=True)))

    def __call__(self, images: Tensor) -> Tensor:
        """Augments images [N, C, H, W] in about [-1, 1] of any float type; the result is not clamped.

        It is differentiable any number of times with respect to the images. Images in half precision are
        converted to float32, which the result has too.
        """
        images = _wide(images)
        if self.tint is not None:
            colors = self._recolored(images[:, : self.colors], self.tint)
            others = images[:, colors.shape[1] :]
            images = torch.cat([colors, others], dim=1) if others.shape[1] else colors
        images = self.moved(images)
        return images if self.hole is None else self._cut_out(images, self.hole)

    def moved(self, images: Tensor) -> Tensor:
        """Applies flip and translation. Images of another size than the drawn one are moved by the same part
        of their sides, to the nearest pixel."""
        n, c, height, width = images.shape
        if self.flip is None and self.shift is None:
            return images
        x = torch.arange(width, device=images.device).expand(n, -1)  # [N, W]
        y = torch.arange(height, device=images.device).expand(n, -1)  # [N, H]
        shown: Tensor | None = None
        if self.shift is not None:
            right, down = _scaled(self.shift, self.size, (height, width)).unbind(1)
            x, y = x - right[:, None], y - down[:, None]
            shown = _within(y, height)[:, None, :, None] & _within(x, width)[:, None, None, :]
            # Around the border, so that each pixel is taken once and derivatives are sums of one term.
            x, y = x % width, y % height
        if self.flip is not None:
            x = torch.where(self.flip[:, None], width - 1 - x, x)
        index = (y[:, :, None] * width + x[:, None, :]).flatten(1)[:, None].expand(-1, c, -1)
        moved = images.flatten(2).gather(2, index).view_as(images)
        return moved if shown is None else moved.masked_fill(~shown, 0)

    def _recolored(self, x: Tensor, tint: Tint) -> Tensor:
        brightness, saturation, contrast = (
            factor.to(x.dtype)[:, None, None, None]
            for factor in (tint.brightness, tint.saturation, tint.contrast)
        )
        means = self.means
        x = x + brightness
        pixel = x.mean(1, keepdim=True) if means is None else means.pixel.to(x.dtype)
        x = saturation * x + (1 - saturation) * pixel
        image = x.mean((1, 2, 3), keepdim=True) if means is None else means.image.to(x.dtype)
        return contrast * x + (1 - contrast) * image

    @staticmethod
    def _cut_out(images: Tensor, first: Tensor) -> Tensor:
        across, along = (
            _within(torch.arange(side, device=images.device) - first[:, i, None], _hole(side))
            for i, side in ((0, images.shape[3]), (1, images.shape[2]))
        )
        return images.masked_fill(along[:, None, :, None] & across[:, None, None, :], 0)


def _wide(images: Tensor) -> Tensor:
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def _tint(fires: Tensor, *uniforms: Tensor) -> Tint:
    changes = []
    ranges, still = (_BRIGHTNESS, _SATURATION, _CONTRAST), (0.0, 1.0, 1.0)
    for uniform, (low, high), none in zip(uniforms, ranges, still, strict=True):
        changes.append(torch.where(fires, low + (high - low) * uniform, none))
    return Tint(*changes)


def _shift(uniform: Tensor, side: int) -> Tensor:
    """Returns whole numbers of pixels from -r to r, where r is 1/8 of the side, rounded."""
    reach = int(side / _SHIFT + 0.5)
    return _whole(uniform, 2 * reach + 1) - reach


def _first(uniform: Tensor, side: int) -> Tensor:
    """Returns the first pixels of cutouts along one axis, so placed as the authors' code places them."""
    hole = _hole(side)
    return _whole(uniform, side + 1 - hole % 2) - hole // 2


def _hole(side: int) -> int:
    return int(side / _HOLE + 0.5)


def _whole(uniform: Tensor, high: int) -> Tensor:
    """Returns whole numbers in [0, high), int64."""
    return (uniform.double() * high).long()  # in float32 the product may round up to `high`


def _within(places: Tensor, side: int) -> Tensor:
    return (places >= 0) & (places < side)


def _scaled(shift: Tensor, drawn: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Returns shifts [N, 2] of images of the size `drawn` in the pixels of images of another size."""
    if drawn == size:
        return shift
    ratios = [size[1] / drawn[1], size[0] / drawn[0]]
    right, down = ((shift[:, i] * ratio).round().long() for i, ratio in enumerate(ratios))
    return torch.stack([right, down], dim=1)
