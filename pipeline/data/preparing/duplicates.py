"""Near-duplicates: a fingerprint of each picture, made before any becomes a sample, and pairs among them.

Fingerprints take 16 bytes a picture: two hashes of 64 bits, of low frequencies and of gradients, which
near-duplicates share but for a few bits. Those of 10,000 pictures are a file in the data set's folder, so
that a call that was stopped does not make them again, and several processes share the work.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tqdm import tqdm

from pipeline.data.preparing.choosing import Unwanted
from pipeline.data.preparing.processes import in_order
from pipeline.data.preparing.render import Recipe, make
from pipeline.data.shards.blocks import WORK
from pipeline.data.sources.source import Source
from pipeline.errors import Damaged
from pipeline.images.pixels import Unreadable
from pipeline.images.quality import frequency_bits, gradient_bits
from pipeline.reading import read_bytes
from pipeline.storage.atomic import make_folder, publish_bytes
from pipeline.storage.lock import release, try_lock

MOST_BITS = 8
FINGERPRINT = np.dtype([("first", "<u8"), ("second", "<u8")])
"""The two hashes. Of a picture that is too plain to be told from others by them: 0, and of the sha256 of its
pixels the first 64 bits. Both are 0 where there is no picture."""

Fingerprints = npt.NDArray[np.void]

_SIDE = 8  # of the cells whose differences are the 64 bits
_LEAST_STEP = 2.0  # grey levels between two cells
_LEAST_STEPS = 12  # cells that differ so much in a picture that is not plain
_SECOND = 2  # as many bits may differ in the second hash for one in the first
_BLOCK = 10_000
_POLL_SECONDS = 0.5
_SPARE_BANDS = 3


def fingerprint(image: Image.Image) -> tuple[int, int]:
    """The two numbers of an image; of one with alpha, as it is over white."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    array = np.array(image)
    pixels = torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)
    bits, steps = gradient_bits(pixels[None], _SIDE)
    if (np.abs(steps[0]) >= _LEAST_STEP).sum() < _LEAST_STEPS:
        digest = hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).digest()
        return 0, int.from_bytes(digest[:8], "big") or 1
    return _number(frequency_bits(image)), _number(bits[0])


def _number(bits: npt.NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def folder_for(root: Path, numbers: npt.NDArray[np.int64], origin: Mapping[str, Any]) -> Path:
    """Where the fingerprints of these pictures, as `origin` says that they are made, lie in `root`."""
    text = json.dumps([origin, hashlib.sha256(numbers.tobytes()).hexdigest()], sort_keys=True)
    return root / WORK / f"fingerprints-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class Fingerprinting:
    """The fingerprints of the pictures `numbers` of a source, together with all other processes that make the
    same. folder: for those that are made."""

    def __init__(self, source: Source, recipe: Recipe, numbers: npt.NDArray[np.int64], folder: Path) -> None:
        self._source, self._recipe, self._numbers, self._folder = source, recipe, numbers, folder

    def run(self, workers: int, progress: bool) -> Fingerprints:
        """Those of all pictures, [N] of FINGERPRINT, 16 bytes each."""
        make_folder(self._folder)
        found = np.zeros(len(self._numbers), FINGERPRINT)
        due = list(range(-(-len(found) // _BLOCK)))
        with tqdm(total=len(found), unit="image", desc="duplicates", disable=not progress) as bar:
            while due:
                late = [block for block in due if not self._settle(block, found, workers, bar)]
                if late == due:
                    time.sleep(_POLL_SECONDS)  # others are at them
                due = late
        return found

    def _settle(self, block: int, found: Fingerprints, workers: int, bar: tqdm[Any]) -> bool:
        """Puts a block where it belongs, and makes it if nobody has; false if somebody is at it."""
        part = found[block * _BLOCK : (block + 1) * _BLOCK]
        if self._read(block, part):
            bar.update(len(part))
            return True
        lock = try_lock(self._folder / f"{block:05d}.lock")
        if lock is None:
            return False
        try:
            if not self._read(block, part):
                self._make(block, part, workers, bar)
        finally:
            release(lock)
        return True

    def _read(self, block: int, part: Fingerprints) -> bool:
        try:
            data = read_bytes(self._path(block))
        except (FileNotFoundError, Damaged):
            return False
        if len(data) != part.nbytes:
            return False
        part[:] = np.frombuffer(data, FINGERPRINT)
        return True

    def _make(self, block: int, part: Fingerprints, workers: int, bar: tqdm[Any]) -> None:
        numbers = self._numbers[block * _BLOCK : (block + 1) * _BLOCK].tolist()
        work = partial(_fingerprint, self._source, self._recipe)
        results = in_order(work, numbers, workers, lambda reason: (0, 0))
        for place, result in enumerate(results):
            part[place] = result
            bar.update()
        publish_bytes(self._path(block), part.tobytes())

    def _path(self, block: int) -> Path:
        return self._folder / f"{block:05d}.bin"


def _fingerprint(source: Source, recipe: Recipe, number: int) -> tuple[int, int]:
    try:
        return fingerprint(make(source, recipe, number).image)
    except (Unreadable, Unwanted):
        return 0, 0  # named and counted when its turn to become a sample comes


def twins(prints: Fingerprints, bits: int) -> dict[int, int]:
    """The places of all near-duplicates, each with that of the picture which it is like.

    Two pictures are alike if their first hashes differ in at most `bits` bits and the second ones in at most
    twice as many, or if they are plain and have the same pixels. Going through all in order, a picture is a
    near-duplicate if it is like one before it that is none. Work grows with N log N and the number of pairs.
    """
    first = _first_of_equals(prints)
    alone = first == np.arange(len(prints))
    places = np.flatnonzero(alone & (prints["first"] != 0))
    like: dict[int, int] = {}
    for earlier, later in sorted(_near_pairs(prints[places], bits), key=lambda pair: pair[::-1]):
        a, b = int(places[earlier]), int(places[later])
        if a not in like:
            like.setdefault(b, a)
    for place in np.flatnonzero(~alone & (prints["second"] != 0)).tolist():
        like[place] = like.get(int(first[place]), int(first[place]))
    return like


def _first_of_equals(prints: Fingerprints) -> npt.NDArray[np.int64]:
    """For each place the first one with the same fingerprint."""
    order = np.lexsort((prints["second"], prints["first"]))  # stable: equal ones stay in order
    begins = np.ones(len(prints), bool)
    begins[1:] = prints[order][1:] != prints[order][:-1]
    first = np.empty(len(prints), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(prints)), 0))]
    return first


def _near_pairs(prints: Fingerprints, bits: int) -> set[tuple[int, int]]:
    """All pairs (i, j), i < j, of different fingerprints that are alike.

    Of bits + 3 bands of the first hash, such a pair shares at least 3: sorted by each choice of 3 bands (38
    bits where two may differ), they stand in one run. Hashes that share so much by chance are few.
    """
    pairs: set[tuple[int, int]] = set()
    if bits == 0:
        return pairs
    for mask in _masks(bits + _SPARE_BANDS):
        order = np.argsort(prints["first"] & mask, kind="stable")
        ranked = prints[order]
        shared = ranked["first"] & mask
        for step in range(1, len(prints)):
            same = np.flatnonzero(shared[step:] == shared[:-step])
            if not len(same):
                break
            one, other = ranked[same], ranked[same + step]
            near = same[_apart(one, other, "first", bits) & _apart(one, other, "second", _SECOND * bits)]
            a, b = order[near], order[near + step]
            pairs.update(zip(np.minimum(a, b).tolist(), np.maximum(a, b).tolist(), strict=True))
    return pairs


def _apart(a: Fingerprints, b: Fingerprints, name: str, most: int) -> npt.NDArray[np.bool_]:
    """Whether at most so many bits differ."""
    few: npt.NDArray[np.bool_] = np.bitwise_count(a[name] ^ b[name]) <= most
    return few


def _masks(bands: int) -> list[np.uint64]:
    edges = [64 * band // bands for band in range(bands + 1)]
    words = [(1 << edges[k + 1]) - (1 << edges[k]) for k in range(bands)]
    return [np.uint64(sum(chosen)) for chosen in combinations(words, _SPARE_BANDS)]
