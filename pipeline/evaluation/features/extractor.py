"""What an extractor is: a network that turns images into features."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

CHANNELS = 3


class Extractor(Protocol):
    """What turns images into features. A user's own is made by `factory(device)`, with the torch.device to
    compute on.

    name: in results. digest: of its weights, which every cached statistic and every result names. resize: how
    it brings images to its own size, in words; part of the same. size: features an image. has_logits: gives
    class logits, which the Inception score is made from.
    """

    name: str
    digest: str
    resize: str
    size: int
    has_logits: bool

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """uint8 RGB [N, 3, H, W] -> features [N, size], logits [N, classes] or None; float32 on the CPU."""
        ...


def as_rgb(images: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, 3, H, W]: grey is repeated, so that every metric sees RGB."""
    return images.expand(-1, CHANNELS, -1, -1)
