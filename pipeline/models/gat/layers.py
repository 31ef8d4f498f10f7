"""GAT's layers: linear maps, normalisation by the root mean square, attention, gated perceptrons.

Tokens [N, tokens, width] stay float32 from block to block; within a block, products have the type that the
pass asks for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.models.gat.positions import rotated

EPS = 1e-6
SLOW = 0.01
"""The learning rate of linear maps of latents and labels, as a fraction of the others'."""


class Linear(nn.Module):
    """x W^T + b on the last dimension, in the type of x; W starts uniform (Glorot and Bengio 2010, eq. 16)
    and b at zero.

    gain: the scale of the initial weights. rate: the parameters are stored larger by 1 / rate and scaled when
    they are used, so that Adam changes them `rate` times as fast (Karras et al. 2018, section 4.1). bias:
    whether there is b.
    """

    def __init__(
        self, inputs: int, outputs: int, *, gain: float = 1.0, rate: float = 1.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        nn.init.xavier_uniform_(self.weight, gain=gain / rate)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (
            None if each is None else (each if self.rate == 1 else each * self.rate).to(x.dtype)
            for each in (self.weight, self.bias)
        )
        assert weight is not None
        return F.linear(x, weight, bias)


class RMSNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + eps) over the last dimension (Zhang and Sennrich 2019, eq. 4), in the
    type of the weight, float32."""

    def __init__(self, width: int, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps)


def scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Returns tokens [N, tokens, width], each divided by its root mean square and multiplied by 1 + `scale`
    [N, width]."""
    return F.rms_norm(x, x.shape[-1:], eps=EPS) * (1 + scale[:, None])


class Attention(nn.Module):
    """Self-attention of several heads, whose queries and keys are normalised and turned by their position.

    sequences: the lengths of the sequences that the tokens consist of; tokens attend to those of their own
    sequence alone.
    """

    def __init__(self, width: int, heads: int, sequences: tuple[int, ...]) -> None:
        super().__init__()
        self.heads, self.sequences = heads, sequences
        self.qkv = Linear(width, 3 * width)
        # The norms of a head have no eps but the rounding of float32, in which they are computed.
        eps = torch.finfo(torch.float32).eps
        self.query_norm, self.key_norm = RMSNorm(width // heads, eps), RMSNorm(width // heads, eps)
        self.out = Linear(width, width)

    def forward(self, x: Tensor, turns: Tensor, *, exact: bool = False) -> Tensor:
        """Returns [N, tokens, width]. turns: the rotations of all tokens (`positions.rotations`)."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query = rotated(self.query_norm(query), turns).to(x.dtype)
        key = rotated(self.key_norm(key), turns).to(x.dtype)
        parts = [torch.split(each, list(self.sequences), dim=2) for each in (query, key, value)]
        attended = [attend(*sequence, exact=exact) for sequence in zip(*parts, strict=True)]
        whole = attended[0] if len(attended) == 1 else torch.cat(attended, dim=2)
        y: Tensor = self.out(whole.transpose(1, 2).flatten(2))
        return y


def attend(query: Tensor, key: Tensor, value: Tensor, *, exact: bool) -> Tensor:
    """Returns softmax(q k^T / sqrt(width)) v of each head (Vaswani et al. 2017, eq. 1).

    exact: whether second derivatives may be taken, which torch's fused kernels do not have.
    """
    if not (exact and query.requires_grad):
        return F.scaled_dot_product_attention(query, key, value)
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, key, value)


class GatedMLP(nn.Module):
    """W3 (SiLU(a) * b), where a and b are the halves of one linear map (SwiGLU: Shazeer 2020, eq. 6)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 8 * width // 3
        self.gates = Linear(width, 2 * hidden)
        self.out = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gates(x).chunk(2, dim=-1)
        y: Tensor = self.out(F.silu(gate) * value)
        return y
