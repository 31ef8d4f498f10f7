"""Figures of single pictures: how sharp they are, and fingerprints that near-duplicates share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_CELLS, _TERMS = 32, 8
# DCT-II without its constant factors, which no comparison of terms of one size sees but along the edges.
_COSINES = np.cos(np.pi / _CELLS * np.outer(np.arange(_TERMS), np.arange(_CELLS) + 0.5))
_COSINES[0] /= np.sqrt(2)


def sharpness(picture: Image.Image) -> float:
    """The variance of the Laplacian (the four neighbours less four times the pixel) of the luma of ITU-R
    BT.601, 0 to 255, over the inner pixels: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield
    microscopy". A picture without inner pixels has 0."""
    luma = np.asarray(picture.convert("L"), np.int16)
    if min(luma.shape) < 3:
        return 0.0
    across = luma[1:-1, :-2] + luma[1:-1, 2:]
    edges: npt.NDArray[Any] = across + luma[:-2, 1:-1] + luma[2:, 1:-1] - 4 * luma[1:-1, 1:-1]
    return float(edges.var())


def frequency_bits(picture: Image.Image) -> npt.NDArray[np.bool_]:
    """A fingerprint [64] of a picture: whether each of the 8 x 8 lowest terms of the cosine transform of its
    luma, in 32 x 32 cells, lies above their median (pHash: Zauner 2010, "Implementation and benchmarking of
    perceptual image hash functions", 3.2.1). The first one, which is the brightness, is left out as 0."""
    cells = picture.convert("L").resize((_CELLS, _CELLS), Image.Resampling.BOX)
    terms = (_COSINES @ np.asarray(cells, np.float64) @ _COSINES.T).ravel()
    bits: npt.NDArray[np.bool_] = terms > np.median(terms[1:])
    bits[0] = False
    return bits


def gradient_bits(pixels: Tensor, side: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Fingerprints [N, side * side] of images uint8 [N, C, H, W]: each bit says whether a cell's mean grey is
    above that of the cell to its left, in `side` rows of `side` + 1 cells (Krawetz 2013, dHash). Scaling,
    brightness and compression change few bits. Also the differences that the bits are the signs of."""
    grey = pixels.double().mean(dim=1, keepdim=True).cpu()
    cells = F.adaptive_avg_pool2d(grey, (side, side + 1))[:, 0]
    steps = (cells[:, :, 1:] - cells[:, :, :-1]).flatten(1)
    return (cells[:, :, 1:] > cells[:, :, :-1]).flatten(1).numpy(), steps.numpy()
