"""The interface of extractors, networks that turn images into features."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

CHANNELS = 3


class Extractor(Protocol):
    """Turns images into features. A user's own extractor is made by `factory(device)`, where `device` is the
    torch.device to compute on.

    name: its name in results. digest: identifies its weights, in every cached statistic and every result.
    resize: how it resizes images, in words; also identifies what was computed. size: the number of features
    of an image. has_logits: whether it gives class logits, as the Inception score needs.
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
    """[N, C, H, W] -> [N, 3, H, W], 0 to 255 in any type: grey is repeated, and transparent parts lie over
    white, as `hrgan prepare` lays them, so that every metric sees RGB."""
    if images.shape[1] != 4:
        return images.expand(-1, CHANNELS, -1, -1)
    colours, opacity = images[:, :3].float(), images[:, 3:].float() / 255
    over = colours * opacity + 255 * (1 - opacity)
    return over if images.is_floating_point() else over.round().to(images.dtype)
