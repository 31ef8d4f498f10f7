"""Judges fakes and reals in one pass of the discriminator where that does not change the verdicts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.contracts import Verdict

Shown = tuple[Tensor, Tensor | None]
"""Images [N, C, H, W] as the discriminator sees them, after augmentation, and their labels [N] or None."""
Judge = Callable[[Tensor, Tensor | None], Verdict]


def judge_together(judge: Judge, fakes: Shown, reals: Shown, rows: int | None) -> tuple[Verdict, Verdict]:
    """Returns the verdicts on fakes and on reals, from one pass over twice as many images.

    rows: the size of the groups over which the discriminator takes batch statistics; the members of a group
    are N / rows images apart. Fakes and reals must not share a group, so the batches are interleaved: a row
    of fakes, a row of reals, and so on. For a discriminator that judges each image by itself, any divisor of
    N will do. None asks for two passes, which is necessary where everything that is judged at once matters
    (batch normalisation, power iteration). What the pass measured (`Verdict.stats`) covers both batches and
    is part of both verdicts.
    """
    if rows is None:
        return judge(*fakes), judge(*reals)
    labels = None
    if fakes[1] is not None and reals[1] is not None:
        labels = _merged(fakes[1], reals[1], rows)
    verdict = judge(_merged(fakes[0], reals[0], rows), labels)
    fake, real = zip(*(_parted(head, rows) for head in verdict.heads), strict=True)
    classes = (None, None) if verdict.classes is None else _parted(verdict.classes, rows)
    extra = {name: _parted(value, rows) for name, value in verdict.extra.items()}
    fakes_extra, reals_extra = ({name: pair[i] for name, pair in extra.items()} for i in (0, 1))
    return (
        Verdict(fake, classes[0], verdict.stats, fakes_extra),
        Verdict(real, classes[1], verdict.stats, reals_extra),
    )


def _rows(x: Tensor, rows: int) -> Tensor:
    return x.reshape(rows, -1, *x.shape[1:])


def _merged(a: Tensor, b: Tensor, rows: int) -> Tensor:
    if rows == 1:
        return torch.cat([a, b])
    return torch.cat([_rows(a, rows), _rows(b, rows)], dim=1).flatten(0, 1)


def _parted(both: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    a, b = _rows(both, rows).chunk(2, dim=1)
    return a.flatten(0, 1), b.flatten(0, 1)
