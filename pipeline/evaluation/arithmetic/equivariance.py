"""Equivariance: whether images whose input was moved are the images, moved (Karras et al. 2021, section 2 and
appendix E).

Each sample is synthesised as it is, and once more with its input moved. The first image is moved as an image,
and compared with the second where the motion brings nothing in from outside. The figure is one ratio of sums
over all samples, in decibels, with a peak of 2 because images are in [-1, 1]:

    20 log10(2) - 10 log10(sum of squared differences / number of values compared)

Each sample draws a motion of its own, where the authors' code draws one for a batch of four: both have the
same expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.latents import MovableSpace, moves_of
from pipeline.randomness import SampleRandomness, derive_seed

FARTHEST = 1 / 8
"""The longest shift along each axis, as a fraction of the image's side."""
LANCZOS = 3
"""Half the width of Lanczos windows, in pixels."""
_UP = 4  # samples per pixel of an image that is turned
_REACH = 2 * LANCZOS  # of the filter of a turn, in pixels
_FIELD = 64  # how far that filter's ideal parts are followed, in pixels
_EXACT = 2.0**-46  # the square of float32's rounding near 1

Motion = Literal["whole", "fraction", "turn"]
"""Shifts by whole pixels; shifts by any length; rotations about the middle."""
Pair = tuple[Tensor, Tensor, Tensor]
"""Two images [1, C, H, W] that should be equal, and where to compare them, [H, W] bool."""


@dataclass(frozen=True)
class Law:
    """How a motion is drawn and judged.

    amounts: uniform numbers [n, 2] in [-1, 1), and (width, height) -> amounts [n, 2]: pixels to the right and
    downwards, or an angle in radians. moves: amounts, and the width -> moves [n, 3, 3]. pair: an image [1, C,
    H, W], the image whose input was moved, and the amount [2] -> what to compare.
    """

    amounts: Callable[[Tensor, Tensor], Tensor]
    moves: Callable[[Tensor, int], Tensor]
    pair: Callable[[Tensor, Tensor, Tensor], Pair]


@dataclass(frozen=True)
class Moved:
    """Samples of `space` moved in each of the ways `motions`."""

    space: MovableSpace
    motions: tuple[Motion, ...]

    @torch.inference_mode()
    def errors(self, seeds: Sequence[int], classes: Sequence[int] | None) -> Tensor:
        """For each seed and motion, the sum of squared differences and the number of values compared: [n,
        motions, 2] float64 on the CPU. Images are made one by one on a CPU, and give the same bits in any
        batch."""
        size = 1 if self.space.device.type == "cpu" else max(len(seeds), 1)
        parts = [slice(i, i + size) for i in range(0, len(seeds), size)]
        return torch.cat([self._errors(seeds[p], None if classes is None else classes[p]) for p in parts])

    def _errors(self, seeds: Sequence[int], classes: Sequence[int] | None) -> Tensor:
        codes = self.space.map(*self.space.latents(seeds, classes=classes))
        images = self.space.synthesise(codes)
        return torch.stack([self._of(motion, seeds, codes, images) for motion in self.motions], dim=1).cpu()

    def _of(self, motion: Motion, seeds: Sequence[int], codes: Tensor, images: Tensor) -> Tensor:
        law, (height, width) = LAWS[motion], images.shape[2:]
        streams = SampleRandomness([derive_seed("motion", motion, seed) for seed in seeds])
        amounts = law.amounts(streams.uniform(2).double() * 2 - 1, torch.tensor([width, height]))
        moved = self.space.synthesise_moved(codes, law.moves(amounts, width).to(codes))
        pairs = (law.pair(images[[i]], moved[[i]], amount) for i, amount in enumerate(amounts))
        return torch.stack([_error(*pair) for pair in pairs])


def decibels(errors: Tensor) -> float:
    """The figure from the sums [n, 2] of all samples. No difference counts as one of float32's rounding,
    which is 144.5 dB."""
    squared, values = errors.sum(0).tolist()
    return 20 * math.log10(2) - 10 * math.log10(max(squared / values, _EXACT))


def shifted_whole(images: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Images [N, C, H, W] shifted by whole pixels [2], to the right and downwards, and where they are known,
    [H, W] bool (appendix E.1). Values elsewhere mean nothing."""
    x, y = (int(pixels) for pixels in shift.tolist())
    across, down = _known(images.shape[3], x, x), _known(images.shape[2], y, y)
    return images.roll((y, x), (2, 3)), (down[:, None] & across).to(images.device)


def shifted_between(images: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The same for any shift: values between pixels are sums under a Lanczos window, whose weights are
    divided by their sum (appendix E.2)."""
    taps = torch.arange(1 - LANCZOS, LANCZOS + 1)
    lines = {}
    for dim, pixels in ((3, float(shift[0])), (2, float(shift[1]))):
        whole = math.floor(pixels)
        places = (taps - (pixels - whole)).double()
        weights = torch.sinc(places) * _window(places)
        shares = (weights / weights.sum()).tolist()
        shifts = (taps + whole).tolist()
        lines[dim] = _known(images.shape[dim], shifts[0], shifts[-1])
        rolled = [images.roll(by, dim) * share for by, share in zip(shifts, shares, strict=True)]
        images = torch.stack(rolled).sum(0)
    return images, (lines[2][:, None] & lines[3]).to(images.device)


def turned(images: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Images [N, C, H, W] turned counter-clockwise about the middle by `angle` in radians, and where they are
    known, [H, W] bool (appendix E.3). The filter removes what the turned lattice of pixels cannot hold, at
    four samples a pixel; between those the result is linear."""
    taps = turning_filter(angle, _UP, images.device).to(images.dtype)
    reach = len(taps) // 2
    fine = _finer(images, taps)
    places = reach + _UP * _sources(images.shape[2], images.shape[3], angle).to(images.device)
    ends = torch.tensor([fine.shape[3] - 1, fine.shape[2] - 1], device=images.device)
    grid = (2 * places / ends - 1).to(images.dtype).expand(len(images), -1, -1, -1)
    found = F.grid_sample(fine, grid, "bilinear", "zeros", align_corners=True)
    # Where the filter's reach ends in the image; the nearest sample decides, as in the authors' code.
    known = (places.round() >= 2 * reach - 1) & (places.round() < ends - 2 * reach)
    return found, known.all(dim=2)


def turned_in_place(images: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Images [N, C, H, W] that were made turned by `angle`, without what `turned` removes from the images
    that it turns, and where they are known, [H, W] bool (the pseudo-rotation of appendix E.3)."""
    taps = turning_filter(-angle, 1, images.device).to(images.dtype)
    reach = len(taps) // 2
    known = torch.zeros(images.shape[2:], dtype=torch.bool, device=images.device)
    known[reach:-reach, reach:-reach] = True
    filtered = F.conv2d(images.flatten(0, 1)[:, None], taps[None, None], padding=reach)
    return filtered.view(images.shape), known


def turning_filter(angle: float, up: int, device: torch.device | str = "cpu") -> Tensor:
    """The low-pass filter [n, n] float64 for a turn by `angle`, with `up` samples per pixel and n = 2 *
    _REACH * up - 1 (appendix E.3): the ideal filter of the lattice of pixels convolved with that of the
    turned lattice, times a Lanczos window convolved with a turned one. The weights of each of its up^2 phases
    have the same sum, 1 / up^2."""
    reach, field = _REACH * up - 1, _FIELD * up - 1
    ideal, window = (_crossed(of, angle, up, reach, field, device) for of in (torch.sinc, _window))
    taps = ideal * window
    sums = _phases(taps, up).sum((2, 3))
    return taps / sums.tile(2 * _REACH, 2 * _REACH)[:-1, :-1] / up**2


def _error(expected: Tensor, found: Tensor, known: Tensor) -> Tensor:
    squared = (expected - found).square() * known
    return torch.stack([squared.double().sum(), known.sum().double() * expected.shape[1]])


def _shifts(drawn: Tensor, sides: Tensor) -> Tensor:
    return drawn * FARTHEST * sides


def _shifting(amounts: Tensor, width: int) -> Tensor:
    return moves_of(amounts / width, torch.zeros(len(amounts)))


def _turning(amounts: Tensor, width: int) -> Tensor:
    return moves_of(torch.zeros_like(amounts), amounts[:, 0])


def _turned_pair(image: Tensor, moved: Tensor, amount: Tensor) -> Pair:
    (expected, inside), (found, also) = (
        turn(one, float(amount[0])) for turn, one in ((turned, image), (turned_in_place, moved))
    )
    return expected, found, inside & also


def _shifted_pair(by: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[..., Pair]:
    def pair(image: Tensor, moved: Tensor, amount: Tensor) -> Pair:
        expected, known = by(image, amount)
        return expected, moved, known

    return pair


LAWS: Mapping[Motion, Law] = {
    "whole": Law(lambda drawn, sides: _shifts(drawn, sides).round(), _shifting, _shifted_pair(shifted_whole)),
    "fraction": Law(_shifts, _shifting, _shifted_pair(shifted_between)),
    "turn": Law(lambda drawn, sides: drawn * math.pi, _turning, _turned_pair),
}


def _known(size: int, least: int, most: int) -> Tensor:
    """Which places of a line come from inside it when it is shifted by all of `least` to `most`, [size]."""
    places = torch.arange(size)
    return (places >= most) & (places < size + least)


def _window(x: Tensor) -> Tensor:
    return torch.sinc(x / LANCZOS) * (x.abs() < LANCZOS)


def _crossed(
    of: Callable[[Tensor], Tensor], angle: float, up: int, reach: int, field: int, device: torch.device | str
) -> Tensor:
    """The field of(x) of(y) convolved with itself turned by `angle`, [2 * reach + 1, 2 * reach + 1] around
    its middle. There are `up` samples per pixel, and fields repeat after 2 * field + 1, as in the authors'
    code."""
    lattice = torch.arange(-field, field + 1, dtype=torch.float64, device=device)
    down, across = lattice[:, None] / up, lattice / up
    cosine, sine = math.cos(angle), math.sin(angle)
    turned_field = of(cosine * across + sine * down) * of(cosine * down - sine * across)
    apart = lattice[field - reach : field + reach + 1, None] - lattice
    straight = of(((apart + field).remainder(len(lattice)) - field) / up)
    return straight @ turned_field @ straight.T  # of(x) of(y) is separable: a product for each axis


def _sources(height: int, width: int, angle: float) -> Tensor:
    """The place in an image of each pixel of the image turned by `angle`, [H, W, 2] float64: x and y, in
    pixels from the middle of the first one."""
    middle = torch.tensor([width - 1, height - 1], dtype=torch.float64) / 2
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    turn = moves_of(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([angle], dtype=torch.float64))
    return (torch.stack([x, y], dim=2) - middle) @ turn[0, :2, :2].T + middle


def _finer(images: Tensor, taps: Tensor) -> Tensor:
    """Images [N, C, H, W] with _UP samples a pixel, filtered by `taps` [n, n]. Pixel 0 stands at n // 2,
    pixel 1 at n // 2 + _UP."""
    kernels = _phases(taps, _UP).flatten(0, 1)[:, None].flip(2, 3) * _UP**2
    samples = F.conv2d(images.flatten(0, 1)[:, None], kernels, padding=kernels.shape[-1] - 1)
    fine = F.pixel_shuffle(samples, _UP)
    return fine.view(*images.shape[:2], *fine.shape[2:])


def _phases(taps: Tensor, up: int) -> Tensor:
    """Every up-th weight of a filter, for each phase: [up, up, n, n]."""
    size = (len(taps) + 1) // up
    return F.pad(taps, (0, 1, 0, 1)).view(size, up, size, up).permute(1, 3, 0, 2)
