"""Whether the classes of a data set can be seen in its images at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import UnflippedReader

_SIDE = 16  # pixels, of what the linear classifier sees
_MOST, _FEWEST = 2000, 500  # images that are read
_MOST_PIXELS = 200_000_000
_LEAST_A_CLASS = 10
_RIDGE = 0.1  # of the mean of the kernel's diagonal
_CLEAR = 3.0  # standard deviations above chance; classes that mean nothing are as good once in 400
_Floats = npt.NDArray[np.float64]
_Numbers = npt.NDArray[np.int64]
_Kernel = Callable[[_Floats, _Floats], _Floats]


@dataclass(frozen=True)
class LabelSignal:
    """How well classes are told from images that a classifier has not seen.

    images: how many it was tested on. hits: the share it was right about. chance: what guesses with the same
    frequencies would be right about. deviations: hits above chance, in standard deviations of guessing.
    """

    images: int
    hits: float
    chance: float
    deviations: float

    @property
    def carry(self) -> bool:
        """Whether the classes show in the images."""
        return self.deviations >= _CLEAR


def label_signal(index: ShardIndex) -> LabelSignal | None:
    """What the better of two classifiers, a linear one and one by nearness, tells from images reduced to 16
    pixels a side. None if there are no classes, or too few images of each to tell. Raises UserError for a
    damaged sample."""
    classes = len(index.classes)
    if classes < 2 or index.count < _LEAST_A_CLASS * classes:
        return None
    images, labels = _some(index)
    if len(labels) < _LEAST_A_CLASS * classes:
        return None
    told = (_told(images, labels, classes, kernel) for kernel in (_products, _nearness))
    return max(told, key=lambda signal: signal.deviations)


def _some(index: ShardIndex) -> tuple[_Floats, _Numbers]:
    """Images [N, C * 16 * 16] in [-1, 1] from all over the data set, in random order, and class numbers."""
    most = min(max(_MOST_PIXELS // (index.height * index.width), _FEWEST), _MOST, index.count)
    numbers = np.random.default_rng(0).permutation(index.count)[:most]
    with UnflippedReader(index) as reader:
        parts = [reader.read([int(number)]) for number in numbers]
    small = [F.interpolate(images.float(), (_SIDE, _SIDE), mode="area") for images, _, _ in parts]
    pixels = torch.cat(small).flatten(1).double().numpy() / 127.5 - 1
    return pixels, np.array([(labels or [0])[0] for _, labels, _ in parts])


def _products(here: _Floats, there: _Floats) -> _Floats:
    """The linear kernel."""
    products: _Floats = here @ there.T / here.shape[1]
    return products


def _nearness(here: _Floats, there: _Floats) -> _Floats:
    """The Gaussian kernel, as wide as images are apart."""
    squares = (here**2).sum(1)[:, None] + (there**2).sum(1) - 2 * here @ there.T
    near: _Floats = np.exp(-np.maximum(squares, 0) / max(float(squares.mean()) / 2, 1e-12))
    return near


def _told(pixels: _Floats, labels: _Numbers, classes: int, kernel: _Kernel) -> LabelSignal:
    """Kernel ridge regression on classes, learnt from four fifths, tried on the rest."""
    cut = len(labels) * 4 // 5
    centred = pixels - pixels[:cut].mean(axis=0)
    known, unseen = centred[:cut], centred[cut:]
    wanted = np.eye(classes)[labels[:cut]]
    gram = kernel(known, known)
    gram += _RIDGE * np.trace(gram) / cut * np.eye(cut)
    scores = kernel(unseen, known) @ np.linalg.solve(gram, wanted - wanted.mean(axis=0))
    return compared(scores.argmax(axis=1), labels[cut:], classes)


def compared(said: _Numbers, true: _Numbers, classes: int) -> LabelSignal:
    """Hits beside those of the same answers in random order: of n images, the number of class k is a_k among
    the answers and b_k among the truths, so sum of a_k b_k / n hits are expected."""
    count = len(true)
    expected = float(np.bincount(said, minlength=classes) @ np.bincount(true, minlength=classes)) / count
    hits = int((said == true).sum())
    spread = max(expected * (1 - expected / count), 1e-9) ** 0.5
    return LabelSignal(count, hits / count, expected / count, (hits - expected) / spread)
