"""DINOv2 (Oquab et al. 2023), the teacher of GAT's discriminator, from the tensors of its published file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.gat.layers import Linear

PATCH, SIDE = 14, 224
GRID = SIDE // PATCH
"""Rows and columns of tokens."""
_HEAD = 64  # features of an attention head, in all its sizes
_EPS = 1e-6
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of ImageNet, for images in [0, 1]


class Teacher(nn.Module):
    """A vision transformer with patches of 14 pixels; `tensors` as `dinov2_vitb14_pretrain` names them.

    Positions, which the file has for 37x37 tokens, are resampled to 16x16. Any width and depth will do.
    Raises UserError if the tensors are others.
    """

    positions: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        names = {"cls_token", "pos_embed", "patch_embed.proj.weight"}
        if missing := sorted(names - tensors.keys()):
            raise _Unfit(f"it has no {missing[0]}")
        self.width = width = tensors["cls_token"].shape[-1]
        depth = 1 + max(
            (int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")), default=-1
        )
        self.embed = Linear(3 * PATCH**2, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, _EPS)
        self.class_token = nn.Parameter(torch.empty(width))
        self.register_buffer("positions", _resampled(tensors["pos_embed"].float()))
        self._take(tensors)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns the normalised tokens [N, 1 + 256, width] float32, the class token's first.

        images: [N, 3, 224, 224], as `as_imagenet` returns them. dtype: that of products.
        """
        tokens = self.embed(F.unfold(images, PATCH, stride=PATCH).mT.to(dtype)).float()
        token = self.class_token.expand(len(images), 1, -1)
        x = torch.cat([token, tokens], dim=1) + self.positions
        for block in self.blocks:
            x = block(x, dtype)
        y: Tensor = self.norm(x)
        return y

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies the weights."""
        names = {"embed": "patch_embed.proj", "class_token": "cls_token"}
        for name, parameter in self.named_parameters():
            start, _, end = name.partition(".")
            published = ".".join(part for part in (names.get(start, start), end) if part)
            value = tensors.get(published)
            if value is None or value.numel() != parameter.numel():
                raise _Unfit(f"its {published} is missing or of another shape")
            parameter.data.copy_(value.reshape(parameter.shape))


class Block(nn.Module):
    """A transformer block whose parameters have the published names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, _EPS), nn.LayerNorm(width, _EPS)
        self.attn = nn.ModuleDict({"qkv": Linear(width, 3 * width), "proj": Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": Linear(width, 4 * width), "fc2": Linear(4 * width, width)})
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.ones(width)}) for _ in range(2))

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        qkv = self.attn["qkv"](self.norm1(x).to(dtype))
        query, key, value = qkv.unflatten(-1, (3, -1, _HEAD)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.ls1["gamma"] * self.attn["proj"](attended)
        hidden = F.gelu(self.mlp["fc1"](self.norm2(x).to(dtype)))
        y: Tensor = x + self.ls2["gamma"] * self.mlp["fc2"](hidden)
        return y


class _Unfit(UserError):
    def __init__(self, why: str) -> None:
        super().__init__(f"fixtures.teacher: not the weights of a DINOv2 with patches of {PATCH}: {why}")


def as_imagenet(images: Tensor) -> Tensor:
    """Returns images [N, 1 or 3, H, W] in [-1, 1] as [N, 3, 224, 224], normalised by ImageNet's mean and
    deviation, then resized bicubically without a filter, as GAT's authors do."""
    mean, deviation = (
        torch.stack([images.new_full((1, 1), value) for value in values]) for values in (_MEAN, _DEVIATION)
    )
    normalised = ((images + 1) / 2 - mean) / deviation
    return F.interpolate(normalised, size=(SIDE, SIDE), mode="bicubic", align_corners=False)


def _resampled(positions: Tensor) -> Tensor:
    """Returns the positions [1, 1 + n * n, width] of the class token and n x n others, those resampled to the
    teacher's grid with a bicubic filter."""
    side = int((positions.shape[1] - 1) ** 0.5)
    if 1 + side**2 != positions.shape[1]:
        raise _Unfit(f"its pos_embed has {positions.shape[1]} tokens")
    grid = positions[:, 1:].mT.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size=(GRID, GRID), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).mT], dim=1)
