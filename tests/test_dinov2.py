"""DINOv2 as a network, against torch's own layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.dinov2 import SIDE, DinoV2


def dinov2_tensors(width=64, depth=2, side=5):
    draws = torch.Generator().manual_seed(3)
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + side**2, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        **{f"norm.{end}": (width,) for end in ("weight", "bias")},
    }
    for i in range(depth):
        shapes |= {
            f"blocks.{i}.{name}": shape
            for name, shape in {
                **{f"{norm}.{end}": (width,) for norm in ("norm1", "norm2") for end in ("weight", "bias")},
                "attn.qkv.weight": (3 * width, width),
                "attn.qkv.bias": (3 * width,),
                "attn.proj.weight": (width, width),
                "attn.proj.bias": (width,),
                "ls1.gamma": (width,),
                "ls2.gamma": (width,),
                "mlp.fc1.weight": (4 * width, width),
                "mlp.fc1.bias": (4 * width,),
                "mlp.fc2.weight": (width, 4 * width),
                "mlp.fc2.bias": (width,),
            }.items()
        }
    return {name: torch.randn(shape, generator=draws) * 0.1 for name, shape in shapes.items()}


@pytest.mark.parametrize("resampling", ["published", "filtered"])
def test_it_is_the_published_transformer(resampling):
    """Against torch's own attention, convolution and norms."""
    width = 128
    tensors = dinov2_tensors(width)
    images = torch.randn(2, 3, SIDE, SIDE)
    seen = F.conv2d(images, tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"], stride=14)
    positions = tensors["pos_embed"]
    grid = positions[:, 1:].reshape(1, 5, 5, width).permute(0, 3, 1, 2)
    how = {"filtered": {"size": (16, 16), "antialias": True}, "published": {"scale_factor": (3.22, 3.22)}}
    grid = F.interpolate(grid, mode="bicubic", **how[resampling]).permute(0, 2, 3, 1)
    tokens = seen.flatten(2).mT + grid.reshape(1, -1, width)
    x = torch.cat([(tensors["cls_token"] + positions[:, :1]).expand(2, -1, -1), tokens], dim=1)
    for i in range(2):
        part = {name.split(".", 2)[2]: t for name, t in tensors.items() if name.startswith(f"blocks.{i}.")}
        attention = nn.MultiheadAttention(width, 2, batch_first=True)
        with torch.no_grad():
            attention.in_proj_weight.copy_(part["attn.qkv.weight"])
            attention.in_proj_bias.copy_(part["attn.qkv.bias"])
            attention.out_proj.weight.copy_(part["attn.proj.weight"])
            attention.out_proj.bias.copy_(part["attn.proj.bias"])
        y = F.layer_norm(x, (width,), part["norm1.weight"], part["norm1.bias"], 1e-6)
        x = x + part["ls1.gamma"] * attention(y, y, y)[0]
        y = F.layer_norm(x, (width,), part["norm2.weight"], part["norm2.bias"], 1e-6)
        y = F.gelu(F.linear(y, part["mlp.fc1.weight"], part["mlp.fc1.bias"]))
        x = x + part["ls2.gamma"] * F.linear(y, part["mlp.fc2.weight"], part["mlp.fc2.bias"])
    expected = F.layer_norm(x, (width,), tensors["norm.weight"], tensors["norm.bias"], 1e-6)
    network = DinoV2(tensors, resampling=resampling)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    low = network(images, dtype=torch.bfloat16)
    assert low.dtype == torch.float32
    assert 0 < (low - expected).abs().max() < 0.1
