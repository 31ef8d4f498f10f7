"""DINOv2 (Oquab et al. 2023) as a network: what an image shows, as tokens.

It knows no files. That of the published ViT-L/14 is read in `evaluation.features`; one of any size is a
fixture of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH, SIDE = 14, 224
GRID = SIDE // PATCH
"""Rows and columns of tokens."""
Resampling = Literal["published", "filtered"]
"""How the positions of 37x37 tokens become those of 16x16, bicubically. published: as the authors' code does
it, without a filter and as if there were 16.1 rows. filtered: with a filter against aliasing, as GAT's does
it."""
_HEAD = 64  # features of an attention head, in all sizes
_EPS = 1e-6
_OFFSET = 0.1  # rows that the authors' code adds to the grid when it resamples positions


class DinoV2(nn.Module):
    """A vision transformer with patches of 14 pixels. tensors: as the published files name them, of any width
    and depth. resampling: that of the positions. Raises ValueError if the tensors are others."""

    positions: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], *, resampling: Resampling) -> None:
        super().__init__()
        names = {"cls_token", "pos_embed", "patch_embed.proj.weight"}
        if missing := sorted(names - tensors.keys()):
            raise ValueError(f"it has no {missing[0]}")
        self.width = width = tensors["cls_token"].shape[-1]
        depth = 1 + max(
            (int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")), default=-1
        )
        self.embed = _Linear(3 * PATCH**2, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, _EPS)
        self.class_token = nn.Parameter(torch.empty(width))
        self.register_buffer("positions", _resampled(tensors["pos_embed"].float(), resampling))
        self._take(tensors)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns the normalised tokens [N, 1 + 256, width] float32, the class token's first.

        images: [N, 3, 224, 224], normalised by ImageNet's mean and deviation. dtype: that of products.
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
                raise ValueError(f"its {published} is missing or of another shape")
            parameter.data.copy_(value.reshape(parameter.shape))


class _Linear(nn.Module):
    """x W^T + b in the type of x, uninitialised."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class _Block(nn.Module):
    """A transformer block whose parameters have the published names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, _EPS), nn.LayerNorm(width, _EPS)
        self.attn = nn.ModuleDict({"qkv": _Linear(width, 3 * width), "proj": _Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": _Linear(width, 4 * width), "fc2": _Linear(4 * width, width)})
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.ones(width)}) for _ in range(2))

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        qkv = self.attn["qkv"](self.norm1(x).to(dtype))
        query, key, value = qkv.unflatten(-1, (3, -1, _HEAD)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.ls1["gamma"] * self.attn["proj"](attended)
        hidden = F.gelu(self.mlp["fc1"](self.norm2(x).to(dtype)))
        y: Tensor = x + self.ls2["gamma"] * self.mlp["fc2"](hidden)
        return y


def _resampled(positions: Tensor, resampling: Resampling) -> Tensor:
    """Returns the positions [1, 1 + n * n, width] of the class token and n x n others, those resampled to the
    network's grid."""
    side = int((positions.shape[1] - 1) ** 0.5)
    if 1 + side**2 != positions.shape[1]:
        raise ValueError(f"its pos_embed has {positions.shape[1]} tokens")
    if side == GRID:
        return positions
    grid = positions[:, 1:].mT.reshape(1, -1, side, side)
    if resampling == "filtered":
        grid = F.interpolate(grid, (GRID, GRID), mode="bicubic", antialias=True, align_corners=False)
    else:
        grid = F.interpolate(grid, scale_factor=(GRID + _OFFSET) / side, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).mT], dim=1)
