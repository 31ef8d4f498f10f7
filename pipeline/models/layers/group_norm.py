"""Batch normalisation over groups of fixed size, which does not depend on the number of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import ops
from ops import Activation
from pipeline.contracts import Networks


class GroupBatchNorm(nn.Module):
    """act((x - mean) / sqrt(var + eps) * gain + bias) of [N, C, ...], in training with the mean and biased
    variance of each group of `group` samples (ghost batches: Hoffer et al. 2017, algorithm 1; groups of 8 in
    a discriminator: Sauer et al. 2023).

    Groups are strided: sample i is in group i mod (N / group), as in `ops.minibatch_stddev`, so that a rank
    or a micro-batch which holds samples r::W of a global batch forms the same groups as the whole batch. The
    result for a sample depends on its group alone, and ranks exchange nothing. In eval mode the running
    statistics are used. A forward pass does not change them: `measuring` collects the moments of a step, and
    `follow` updates the statistics once per step, equally on all ranks. affine: whether gain and bias are
    parameters; otherwise the caller passes them.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, group: int, *, affine: bool = True, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.group, self.eps, self.momentum = group, eps, momentum
        self.gain = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.seen: list[Tensor] | None = None
        """The moments [2, C] of each pass inside `measuring`; otherwise None."""

    def forward(
        self, x: Tensor, gain: Tensor | None = None, bias: Tensor | None = None, *, act: Activation = "linear"
    ) -> Tensor:
        """gain, bias: [N, C], used instead of the parameters. Raises ValueError if N is not a multiple of
        `group`."""
        mean, var = self.statistics(x) if self.training else (self.running_mean, self.running_var)
        gain = self.gain if gain is None else gain
        bias = self.bias if bias is None else bias
        return ops.conditional_norm_act(x, mean, var, gain, bias, eps=self.eps, act=act)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean and biased variance [N, C] of each sample's group."""
        if len(x) % self.group:
            raise ValueError(
                f"batch statistics: {len(x)} images are no multiple of the group of {self.group}"
            )
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        # Each sample is reduced first: this keeps the layout of x, and the bits do not depend on N.
        if x.ndim > 2:
            var, mean = torch.var_mean(x, dim=list(range(2, x.ndim)), correction=0)
        else:
            var, mean = torch.zeros_like(x), x
        means = self._grouped(mean)  # [group, groups, C]
        mean = means.mean(dim=0)
        var = self._grouped(var).mean(dim=0) + (means - mean).square().mean(dim=0)
        if self.seen is not None:
            moments = torch.stack([mean.mean(dim=0), (var + mean.square()).mean(dim=0)])
            self.seen.append(moments.detach())
        return mean.repeat(self.group, 1), var.repeat(self.group, 1)

    def _grouped(self, x: Tensor) -> Tensor:
        return x.reshape(self.group, -1, x.shape[1])

    @torch.no_grad()
    def follow(self, moments: Tensor) -> None:
        """Moves the running statistics by `momentum` towards those of all samples of a step together.

        moments: the mean and mean square of these samples, [2, C]. If they are not finite, nothing changes.
        """
        mean, square = moments.to(self.running_mean.dtype)
        finite = torch.isfinite(moments).all()
        for running, now in (
            (self.running_mean, mean),
            (self.running_var, (square - mean.square()).clamp(min=0)),
        ):
            running.copy_(torch.where(finite, running.lerp(now, self.momentum), running))


def _name(net: str, layer: str) -> str:
    return f"moments/{net}/{layer}"


@contextmanager
def measuring(net: str, network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collects the moments that the `GroupBatchNorm` layers of `network` compute inside, and returns them as
    stats, which are complete when the context ends.

    They are means over samples, so that their means over micro-batches and ranks are those of the whole
    batch.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, GroupBatchNorm)}
    stats: dict[str, Tensor] = {}
    for layer in layers.values():
        layer.seen = []
    try:
        yield stats
    finally:
        for name, layer in layers.items():
            if layer.seen:
                stats[_name(net, name)] = torch.stack(layer.seen).mean(dim=0)
            # Nothing is collected outside, in particular not when a backward pass recomputes a layer.
            layer.seen = None


def follow_moments(networks: Networks, stats: Mapping[str, Tensor]) -> None:
    """Updates the running statistics of `GroupBatchNorm` layers with the stats of a step that has them; for
    `Family.observe`."""
    for net, network in networks.items():
        for name, layer in network.named_modules():
            if isinstance(layer, GroupBatchNorm) and _name(net, name) in stats:
                layer.follow(stats[_name(net, name)])
