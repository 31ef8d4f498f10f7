"""Images that go on beyond their border as in a mirror."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def reflect_pad(images: Tensor, x: int, y: int) -> Tensor:
    """`x` columns on the left and right, `y` rows above and below: [N, C, H + 2y, W + 2x].

    The mirrors stand on the border pixels' centres, which are not repeated. Any width: small images are
    mirrored in mirrors.
    """
    while x > 0 or y > 0:
        # torch mirrors once, which reaches as far as the image is wide.
        step_x, step_y = min(x, images.shape[3] - 1), min(y, images.shape[2] - 1)
        images = F.pad(images, (step_x, step_x, step_y, step_y), mode="reflect")
        x, y = x - step_x, y - step_y
    return images
