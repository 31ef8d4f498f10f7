"""Instance normalisation (Ulyanov et al. 2016), which makes of each image what batches of one make of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ops
from ops import Activation


class InstanceNorm(nn.Module):
    """act((x - mean) / sqrt(var + eps) * gain + bias) of [N, C, H, W], with the mean and biased variance of
    each image and channel, in training and after it.

    It is what batch normalisation of batches of one image is, statistics at test time included (Isola et al.
    2017, section 3.4). affine: whether gain and bias are parameters; otherwise they are 1 and 0.
    """

    def __init__(self, channels: int, *, affine: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor, *, act: Activation = "linear") -> Tensor:
        var, mean = torch.var_mean(x, dim=(2, 3), correction=0)
        return ops.conditional_norm_act(x, mean, var, self.gain, self.bias, eps=self.eps, act=act)
