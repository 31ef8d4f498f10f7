"""What every sampler shares: labels that fit, and images that depend on their own seed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipeline.contracts import Fakes
from pipeline.errors import UserError
from pipeline.randomness import SampleRandomness

Make = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""Latents z [N, ...] and labels [N] or None -> images [N, C, H, W] and the latents they were made from."""


def draw_one_by_one(
    seeds: Sequence[int],
    classes: Sequence[int] | None,
    *,
    known: int,
    latents: Callable[[SampleRandomness], Tensor],
    make: Make,
    device: torch.device,
) -> Fakes:
    """Images of `seeds`. known: number of classes of the model. latents: z from a sample's randomness.

    On a CPU images are made one by one: the same bits in any batch. Elsewhere the batch is one computation
    and an image may differ in rounding with the batch's size.
    Errors: UserError for classes that the model does not have or that do not match the seeds.
    """
    # Numbers come from the CPU so that a seed means the same image on every kind of device.
    randomness = SampleRandomness(seeds, device, source="cpu")
    z = latents(randomness)
    labels = labels_of(len(seeds), classes, known, randomness, device)
    size = 1 if device.type == "cpu" else max(len(seeds), 1)
    parts = [
        make(z[i : i + size], None if labels is None else labels[i : i + size])
        for i in range(0, max(len(seeds), 1), size)
    ]
    images, used = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Fakes(images, labels, used)


def labels_of(
    count: int,
    classes: Sequence[int] | None,
    known: int,
    randomness: SampleRandomness,
    device: torch.device,
) -> Tensor | None:
    """[count] class numbers: the asked-for ones, or drawn from the seeds; None without classes."""
    if not known:
        if classes is not None:
            raise UserError("classes: this model was trained without labels; leave the classes out")
        return None
    if classes is None:
        return randomness.integers(known)
    if len(classes) != count:
        raise UserError(f"classes: {len(classes)} for {count} seeds; give one class an image")
    wrong = [c for c in classes if not 0 <= c < known]
    if wrong:
        raise UserError(f"classes: this model has no class {wrong[0]}; allowed: 0 to {known - 1}")
    return torch.tensor(list(classes), dtype=torch.int64, device=device)
