"""Batch normalisation over the batch of all ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import ops
from ops import Activation


class BatchNorm(nn.Module):
    """act((x - mean) / sqrt(var + eps) * gain + bias) of [N, C, ...] (Ioffe and Szegedy 2015, algorithm 1).

    In training, mean and biased variance are taken over the micro-batches of all ranks together, and the
    running statistics move towards them by `momentum`; in eval mode the running statistics are used.
    affine: whether gain and bias are parameters; otherwise the caller passes them (class-conditional
    normalisation: Dumoulin et al. 2017, eq. 5). `over_ranks` may be set to False for passes that only some
    ranks compute; then the statistics are those of this process's batch.
    """

    moves = ("running_mean", "running_var")
    """The buffers that `forward` changes (see `Recomputable`)."""
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, *, affine: bool = True, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.eps, self.momentum, self.over_ranks = eps, momentum, True
        self.gain = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(
        self, x: Tensor, gain: Tensor | None = None, bias: Tensor | None = None, *, act: Activation = "linear"
    ) -> Tensor:
        """gain, bias: [N, C], used instead of the parameters."""
        mean, var = self.statistics(x)
        gain = self.gain if gain is None else gain
        bias = self.bias if bias is None else bias
        return ops.conditional_norm_act(x, mean, var, gain, bias, eps=self.eps, act=act)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean and biased variance [C] with which x is normalised."""
        if not self.training:
            return self.running_mean, self.running_var
        mean, var = global_moments(x) if self.over_ranks else ops.batch_moments(x)
        self._follow(self.running_mean, mean)
        self._follow(self.running_var, var)
        return mean, var

    @torch.no_grad()
    def _follow(self, running: Tensor, now: Tensor) -> None:
        # The optimizer skips a step that is not finite; it must leave no trace here either.
        moved = running.lerp(now.to(running.dtype), self.momentum)
        running.copy_(torch.where(torch.isfinite(moved), moved, running))


@torch.no_grad()
def gather_statistics(network: nn.Module, batches: int, play: Callable[[int], object]) -> None:
    """Sets the running statistics of the `BatchNorm` layers of `network` to those of all samples of `batches`
    batches together, in this process alone; with 0 batches they are left as they are.

    play: runs the network on the batch of a number. All batches are equally large. The mean of the batches'
    variances would not do: it lacks the variance of the batches' means.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    modes = [(norm.over_ranks, norm.momentum) for norm in norms]
    moments = [torch.zeros(2, len(norm.running_mean), dtype=torch.float64) for norm in norms]
    for norm in norms:
        norm.over_ranks, norm.momentum = False, 1.0  # so that running statistics are those of the last batch
        norm.train(batches > 0)
    for batch in range(batches if norms else 0):
        play(batch)
        for norm, sums in zip(norms, moments, strict=True):
            mean, var = norm.running_mean.double().cpu(), norm.running_var.double().cpu()
            sums += torch.stack([mean, var + mean.square()]) / batches
    for norm, (over_ranks, momentum), (mean, square) in zip(norms, modes, moments, strict=True):
        norm.eval()
        norm.over_ranks, norm.momentum = over_ranks, momentum
        if batches:
            norm.running_mean.copy_(mean)
            norm.running_var.copy_((square - mean.square()).clamp(min=0))


def global_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and biased variance [C] of x [N, C, ...] over all ranks, whose batches are equally
    large."""
    mean, var = ops.batch_moments(x)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return mean, var
    both: Tensor = _Mean.apply(torch.stack([mean, var + mean.square()]))
    return both[0], (both[1] - both[0].square()).clamp(min=0)


class _Mean(torch.autograd.Function):
    """The mean over ranks. Its gradient is a mean over ranks too, since each rank's loss has weight 1 / ranks
    in the whole loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        mean: Tensor = _Mean.apply(grads[0])
        return mean
