"""The constants of a player's optimizer; the learning rate comes from the stage.

Every rule has `clip_norm`: if the norm of a player's whole gradient, averaged over all ranks, is larger than
this, the gradient is scaled down to it (Pascanu et al. 2013, algorithm 1); None leaves gradients as they are.
`slots` are the names under which a checkpoint stores the optimizer's state of each parameter: tensors of the
parameter's shape, except for `step`, which is one number.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdamRule:
    """Adam (Kingma and Ba 2015, algorithm 1)."""

    beta1: float
    beta2: float
    eps: float = 1e-8
    clip_norm: float | None = None

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, slots=True)
class AdamWRule:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): each update also multiplies
    the weights by 1 - rate * decay."""

    beta1: float
    beta2: float
    decay: float
    eps: float = 1e-8
    clip_norm: float | None = None

    @property
    def slots(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, slots=True)
class RMSPropRule:
    """RMSProp (Hinton 2012, lecture 6e): v <- smoothing * v + (1 - smoothing) * g^2, and a step along
    g / (sqrt(v) + eps) or, with momentum, along b <- momentum * b + g / (sqrt(v) + eps)."""

    smoothing: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    clip_norm: float | None = None

    @property
    def slots(self) -> tuple[str, ...]:
        return ("square_avg", "momentum_buffer") if self.momentum else ("square_avg",)


@dataclass(frozen=True, slots=True)
class SGDRule:
    """Gradient descent: w <- w - rate * g or, with momentum, w <- w - rate * b, where
    b <- momentum * b + g."""

    momentum: float = 0.0
    clip_norm: float | None = None

    @property
    def slots(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()


Rule = AdamRule | AdamWRule | RMSPropRule | SGDRule
