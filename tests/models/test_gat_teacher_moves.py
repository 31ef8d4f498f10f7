"""The teacher's image as the authors' code moves it: first moved, then mirrored, as the discriminator's."""

from __future__ import annotations

import math

import torch

from pipeline.contracts import ImageSpec
from pipeline.dinov2 import SIDE
from pipeline.models.augment import DiffAugment
from pipeline.models.gat.alignment import Alignment
from pipeline.randomness import SampleRandomness
from tests.tiny_families import tiny_family

IMAGES, LATENT = 40, 32


def test_published_moves_are_by_rounded_shifts_before_an_image_is_mirrored():
    shape = tiny_family("gat", ImageSpec(LATENT, LATENT, 1, 10)).shape
    drawn = DiffAugment(("translation",), p_flip=0.4).draw(SampleRandomness(range(IMAGES)), (LATENT, LATENT))
    images = torch.rand(IMAGES, 3, SIDE, SIDE) + 1
    moved = Alignment(images, torch.nn.Identity(), "published", shape)._moved(images, drawn)
    seen = set()
    for image, got, (right, down), flip in zip(
        images, moved, drawn.shift.tolist(), drawn.flip.tolist(), strict=True
    ):
        # There out[y, x] = in[y + a, x + b] comes first, so that b has ours mirrored.
        a, b = -down, right if flip else -right
        a, b = (math.floor(t * LATENT / SIDE) for t in (a, b))
        wanted = torch.zeros_like(image)
        rows, columns = (slice(max(-t, 0), SIDE - max(t, 0)) for t in (a, b))
        wanted[:, rows, columns] = image.roll((-a, -b), (1, 2))[:, rows, columns]
        assert torch.equal(got, wanted.flip(2) if flip else wanted)
        seen.add((a, b, flip))
    assert len(seen) == 8
