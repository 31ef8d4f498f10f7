"""The plan of StyleGAN3's generator: which frequencies each layer keeps, how densely it samples, how wide it
is (Karras et al. 2021, section 3.2 and appendix C)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from pipeline.config.families import StyleGAN3Config
from pipeline.errors import UserError

SMALLEST, LARGEST = 8, 1024
"""The resolutions that the networks can be made for."""


@dataclass(frozen=True, slots=True)
class Row:
    """The signal that one layer puts out.

    Frequencies are in cycles an image. cutoff: up to which it is kept. stopband: from which on nothing of it
    passes. rate: samples an image. size: its side in samples, margins included. channels: its features.
    """

    cutoff: float
    stopband: float
    rate: int
    size: int
    channels: int

    @property
    def half_width(self) -> float:
        """Half of the transition band of the filters that make this signal."""
        return max(self.stopband, self.rate / 2) - self.cutoff


@dataclass(frozen=True, slots=True)
class Step:
    """How one layer gets from the row before it to its own.

    critical: whether it samples critically. to_image: whether it is the image output, which does not filter.
    up, down: factors of resampling around its activation. up_taps, down_taps: taps of the filters, 1 for
    none. padding: samples before and after the upsampled signal; negative ones are cropped.
    """

    source: Row
    target: Row
    kernel: int
    critical: bool
    to_image: bool
    up: int
    down: int
    up_taps: int
    down_taps: int

    @property
    def work_rate(self) -> int:
        """Samples an image where the activation takes place."""
        return self.source.rate * self.up

    @property
    def padding(self) -> tuple[int, int]:
        # What the result needs, in samples of the work rate, less what the convolution, which extends
        # its input by kernel - 1, gives.
        total = (self.target.size - 1) * self.down + self.up_taps + self.down_taps - 1
        total -= (self.source.size + self.kernel - 1) * self.up
        before = (total + self.up) // 2
        return before, total - before


def rows_of(config: StyleGAN3Config, resolution: int, channels: int) -> list[Row]:
    """Returns the signals of the layers and, last, the image, whose side is `resolution` and which has
    `channels` channels. Raises UserError for images that there is no plan for."""
    _check(config, resolution)
    last, geometric = config.layers, config.layers - config.critical_layers
    highest = resolution / 2
    last_stopband = highest * config.last_stopband_rel
    rows = []
    for number in range(last + 1):
        part = min(number / geometric, 1.0)
        cutoff = config.first_cutoff * (highest / config.first_cutoff) ** part
        stopband = config.first_stopband * (last_stopband / config.first_stopband) ** part
        rate = _rate(2 * stopband, resolution)
        size = resolution if number >= last - 1 else rate + 2 * config.margin
        width = round(min(config.channel_base / 2 / cutoff, config.channel_max))
        rows.append(Row(cutoff, stopband, rate, size, channels if number == last else width))
    return rows


def steps_of(config: StyleGAN3Config, resolution: int, channels: int) -> list[Step]:
    """Returns the steps of the layers and, last, of the image output; raises as `rows_of`."""
    rows = rows_of(config, resolution, channels)
    steepest = max(later.rate // row.rate for row, later in pairwise(rows))
    if steepest > 2:
        raise UserError(
            f"family.layers: with {config.layers} one would raise the sampling rate {steepest} times at "
            f"{resolution} pixels; allowed: so many that none more than doubles it"
        )
    return [_step(config, rows, number) for number in range(len(rows))]


def _step(config: StyleGAN3Config, rows: list[Row], number: int) -> Step:
    source, target = rows[max(number - 1, 0)], rows[number]
    to_image = number == config.layers
    work_rate = max(source.rate, target.rate) * (1 if to_image else 2)
    up, down = work_rate // source.rate, work_rate // target.rate
    return Step(
        source,
        target,
        kernel=1 if to_image else config.kernel,
        critical=number >= config.layers - config.critical_layers,
        to_image=to_image,
        up=up,
        down=down,
        up_taps=config.filter_size * up if up > 1 else 1,
        down_taps=config.filter_size * down if down > 1 else 1,
    )


def _rate(least: float, resolution: int) -> int:
    """Returns the smallest of `resolution`, half of it, a quarter and so on that is not below `least`;
    `resolution` itself if all are."""
    rate = resolution
    while rate % 2 == 0 and rate / 2 >= least:
        rate //= 2
    return rate


def _check(config: StyleGAN3Config, resolution: int) -> None:
    if not SMALLEST <= resolution <= LARGEST:
        raise UserError(
            f"stylegan3 needs images of {SMALLEST} to {LARGEST} pixels a side, not {resolution}; "
            "prepare the data with --resolution"
        )
    if config.first_cutoff >= resolution / 2:
        raise UserError(
            f"family.first_cutoff: images of {resolution} pixels have no {config.first_cutoff:g} cycles; "
            f"allowed: below {resolution / 2:g}"
        )
    if config.channel_base < resolution:
        raise UserError(
            f"family.channel_base: {config.channel_base} leaves no channels at {resolution} pixels; "
            f"at least {resolution}"
        )
