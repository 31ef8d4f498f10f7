"""What to generate: everything that determines the images, checked before any work starts."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import torch

from pipeline.contracts import Fakes, Sampler
from pipeline.errors import UserError
from pipeline.generation.computing import FIXED_BATCH
from pipeline.generation.filters import Filters
from pipeline.generation.said import draws_texts, said
from pipeline.images.codec import FORMATS, FormatName, greys
from pipeline.randomness import derive_seed
from pipeline.storage.snapshots import Snapshot

_SEEDS = 2**63
_CANDIDATES = 20
"""How many candidates may be drawn for each image, if filters can refuse images and no limit is given."""

TruncationOrder = Literal["sequence", "mixed"]


@dataclass(frozen=True)
class Request:
    """Which images to generate from which snapshot.

    count: the number of images; their seeds are seed .. seed + count - 1, or with filters those that are
    accepted from `seed` on. truncation: psi (Karras et al. 2019, appendix B), where 1 means as trained and 0
    the average image. order: with several psi, `sequence` gives each an equal share of consecutive images,
    and `mixed` gives them to images in turn. classes: class numbers, given to images in turn; if empty, a
    conditional generator draws the class from the seed. weights: one for each class; the class is then drawn
    from the image's seed with these weights. kind, quality: the format of the image files. batch_size: how
    many images are drawn at once. device: where the sampler computes. deterministic: whether a GPU, too,
    gives the same bits at any batch size. for_shards: False for one picture, whose file extension determines
    the format. filters: what images must satisfy. texts: what a model of texts draws, given to images in
    turn. inputs: the digest of the data set that a model makes its images of, which its sampler has been
    told; None for others.
    """

    snapshot: Snapshot
    count: int
    seed: int = 0
    truncation: float | tuple[float, ...] = 1.0
    order: TruncationOrder = "sequence"
    classes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    kind: FormatName = "png"
    quality: int | None = None
    batch_size: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    deterministic: bool = False
    for_shards: bool = True
    filters: Filters = field(default_factory=Filters)
    texts: tuple[str, ...] = ()
    inputs: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"--count {self.count}: must be at least 1")
        if self.seed < 0 or self.seed + self.candidates > _SEEDS:
            raise UserError(f"--seed {self.seed}: must be at least 0, and seed + count at most 2^63")
        self._check_truncation()
        if self.weights and len(self.weights) != len(self.classes):
            raise ValueError(f"{len(self.weights)} weights for {len(self.classes)} classes")
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size}: must be at least 1")
        if self.for_shards:
            self._check_format()

    def _check_truncation(self) -> None:
        if not self.psis:
            raise UserError("--truncation: no number given; allowed: one, or several such as 0.5,0.7,1")
        if self.texts and self.psis != (1.0,):
            raise UserError("--truncation: not with --text, since no average is pulled towards; allowed: 1")
        for psi in self.psis:
            if not math.isfinite(psi):
                raise UserError(f"--truncation {psi}: must be a number, usually 0 to 1")
        if self.order not in get_args(TruncationOrder):
            raise UserError(
                f"--truncation-order {self.order}: allowed: {', '.join(get_args(TruncationOrder))}"
            )
        if len(self.psis) > 1 and self.order == "sequence" and self.filters.refuse:
            raise UserError(
                "--truncation-order sequence: with --filter it is not known in advance which images are "
                "kept; allowed: mixed"
            )
        if self.candidates < self.count:
            raise UserError(
                f"--most {self.candidates}: fewer candidates than images; allowed: at least {self.count}"
            )

    def _check_format(self) -> None:
        if self.kind not in FORMATS:
            raise UserError(f"--format {self.kind}: unknown; allowed: {', '.join(FORMATS)}")
        if self.quality is not None and (FORMATS[self.kind].quality is None or not 1 <= self.quality <= 100):
            raise UserError(
                f"--quality {self.quality}: allowed: 1 to 100, for jpg and webp (png is lossless)"
            )
        if self.snapshot.spec.channels == 1 and not FORMATS[self.kind].grey:
            raise UserError(f"--format {self.kind}: cannot hold grey images; allowed for them: {greys()}")

    @property
    def psis(self) -> tuple[float, ...]:
        """All requested values of psi."""
        return self.truncation if isinstance(self.truncation, tuple) else (self.truncation,)

    @property
    def candidates(self) -> int:
        """The largest number of images that may be drawn."""
        most = self.filters.most
        return self.count if not self.filters.refuse else self.count * _CANDIDATES if most is None else most

    def psi(self, number: int) -> float:
        """The truncation psi of image `number`."""
        psis = self.psis
        if len(psis) == 1:
            return psis[0]
        return psis[number % len(psis) if self.order == "mixed" else number * len(psis) // self.count]

    def key(self, number: int) -> str:
        """The key of image `number` in the shards."""
        return f"seed-{self.seed + number:09d}"

    def class_of(self, number: int) -> int | None:
        """The class requested for image `number`; None if the generator draws it."""
        if not self.classes:
            return None
        if not self.weights:
            return self.classes[number % len(self.classes)]
        place = derive_seed("class", self.seed + number) / 2**63 * math.fsum(self.weights)
        return self.classes[min(bisect.bisect_right(self._sums, place), len(self.classes) - 1)]

    def text_of(self, number: int) -> str | None:
        """The text that image `number` is made of; None if none was given."""
        return self.texts[number % len(self.texts)] if self.texts else None

    @cached_property
    def _sums(self) -> list[float]:
        return list(itertools.accumulate(self.weights))

    def batches(self, numbers: range, multiple: int = 1) -> Sequence[range]:
        """The `numbers` in batches that do not depend on which process draws them, so that a device which
        rounds differently at other batch sizes gives the same result when it repeats them. The size of every
        batch but the last is a multiple of `multiple`."""
        size = FIXED_BATCH if self._padded else self.batch_size
        size = -(-size // multiple) * multiple
        starts = range(numbers.start, numbers.stop, size)
        return [range(start, min(start + size, numbers.stop)) for start in starts]

    def draw(self, sampler: Sampler, numbers: Sequence[int]) -> Fakes:
        """The images `numbers`, which count from 0 within this request."""
        groups: dict[float, list[int]] = {}
        for place, number in enumerate(numbers):
            groups.setdefault(self.psi(number), []).append(place)
        parts = [
            part
            for psi, places in groups.items()
            for part in self._draw_all(sampler, [numbers[place] for place in places], psi)
        ]
        if len(parts) == 1:
            return parts[0]
        order = torch.tensor([place for places in groups.values() for place in places]).argsort()
        images, latents = (
            torch.cat([getattr(part, name) for part in parts])[order.to(parts[0].images.device)]
            for name in ("images", "latents")
        )
        known = [part.labels for part in parts if part.labels is not None]
        return Fakes(images, torch.cat(known)[order.to(known[0].device)] if known else None, latents)

    def _draw_all(self, sampler: Sampler, numbers: Sequence[int], psi: float) -> list[Fakes]:
        """Images with one psi, in batches of a fixed size if bits must not depend on the batch size."""
        size = FIXED_BATCH if self._padded else len(numbers)
        return [
            self._draw_at_once(sampler, numbers[start : start + size], psi, size)
            for start in range(0, len(numbers), size)
        ]

    def _draw_at_once(self, sampler: Sampler, numbers: Sequence[int], psi: float, size: int) -> Fakes:
        filled = [*numbers, *[numbers[-1]] * (size - len(numbers))]
        chosen = [label for number in filled if (label := self.class_of(number)) is not None]
        seeds = [self.seed + number for number in filled]
        if self.texts:
            spoken = [text for number in filled if (text := self.text_of(number)) is not None]
            fakes = draws_texts(sampler).draw_given(said(spoken, self.snapshot.spec), seeds)
        else:
            fakes = sampler.draw(seeds, classes=chosen or None, truncation=psi)
        count = len(numbers)
        labels = None if fakes.labels is None else fakes.labels[:count]
        return Fakes(fakes.images[:count], labels, fakes.latents[:count])

    @property
    def _padded(self) -> bool:
        # On a CPU, samplers compute image by image, so that the batch size makes no difference.
        return self.deterministic and self.device.type != "cpu"

    def origin(self) -> dict[str, Any]:
        """How the images are made, for the index. An interrupted data set is continued only if all of this is
        equal."""
        names = self.snapshot.classes
        origin = {
            "made_by": "generate",
            "snapshot": self.snapshot.digest,
            "snapshot_images_seen": self.snapshot.manifest.images_seen,
            "family": self.snapshot.family.name,
            "seed": self.seed,
            "count": self.count,
            "truncation": list(self.psis) if len(self.psis) > 1 else self.psis[0],
            "classes": [names[i] if names else str(i) for i in self.classes] or "by seed",
            "format": self.kind,
            "quality": self.quality,
            "quantisation": "floor(clamp(x * 127.5 + 128, 0, 255))",
            "computed": self._computed(),
        }
        if len(self.psis) > 1:
            origin["truncation_order"] = self.order
        if self.texts:
            origin["texts"] = list(self.texts)
        if self.inputs is not None:
            origin["inputs"] = self.inputs
        if self.weights:
            origin["class_weights"] = list(self.weights)
        # These keys distinguish data sets begun by versions that worked differently.
        if self.snapshot.spec.classes and set(self.psis) != {1.0}:
            origin["truncation_within"] = "class"
        if self.seed + self.candidates > 2**32:
            origin["seed_bits"] = 64
        return origin | self.filters.origin()

    def _computed(self) -> str:
        # On a CPU, samplers give the same bits in any batch; elsewhere rounding may depend on its size.
        kind = self.device.type
        if kind == "cpu":
            return kind
        size = FIXED_BATCH if self._padded else self.batch_size
        return f"{kind}, {'deterministic, ' if self._padded else ''}batches of {size}"
