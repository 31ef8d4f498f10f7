"""Optimizers as their rules describe them, whose updates can be skipped by a flag on the device.

If `found_inf` is 1, an update leaves weights, moments and step count unchanged, and the host need not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.contracts import AdamRule, AdamWRule, RMSPropRule, Rule


def new_optimizer(parameters: Sequence[nn.Parameter], rule: Rule) -> Optimizer:
    """Returns a fresh optimizer of these parameters, whose learning rate is 0 until `set_rate`."""
    # Fused: one pass over memory, and it knows `found_inf`.
    if isinstance(rule, AdamRule):
        betas = rule.beta1, rule.beta2
        return torch.optim.Adam(parameters, lr=0.0, betas=betas, eps=rule.eps, fused=True)
    if isinstance(rule, AdamWRule):
        betas = rule.beta1, rule.beta2
        return torch.optim.AdamW(
            parameters, lr=0.0, betas=betas, eps=rule.eps, weight_decay=rule.decay, fused=True
        )
    if isinstance(rule, RMSPropRule):
        return RMSProp(parameters, rule)
    sgd = torch.optim.SGD(parameters, lr=0.0, momentum=rule.momentum, fused=True)
    if rule.momentum:
        sgd.register_step_pre_hook(_begin_momentum)
    return sgd


def set_rate(optimizer: Optimizer, rule: Rule, rate: float, beta2: float | None) -> None:
    """Sets the learning rate of the next update. beta2: Adam's second decay rate; None takes the rule's.
    Other rules ignore it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
        if isinstance(rule, AdamRule | AdamWRule):
            group["betas"] = (rule.beta1, rule.beta2 if beta2 is None else beta2)


def skip_unless(finite: Tensor, optimizer: Optimizer) -> None:
    """Makes the next update happen only if `finite`, a 0-d tensor on the device, is true."""
    optimizer.found_inf = (~finite).to(torch.float32)  # type: ignore[attr-defined]
    optimizer.grad_scale = None  # type: ignore[attr-defined]


def clip(gradients: Iterable[Tensor], norm: Tensor, rule: Rule) -> None:
    """Scales gradients, whose joint norm is `norm`, down to `rule.clip_norm` if that is smaller (Pascanu et
    al. 2013, algorithm 1), without waiting for the device."""
    if rule.clip_norm is not None:
        factor = (rule.clip_norm / norm).clamp(max=1.0)  # of no gradient at all: infinity, and so 1
        torch._foreach_mul_(list(gradients), factor)


def by_parameter(
    state: Mapping[str, Tensor], names: Sequence[str], rule: Rule
) -> dict[str, dict[str, Tensor]]:
    """Returns a player's state `<parameter>.<slot>`, sorted by parameter; nothing if it was never updated.

    Raises KeyError if it belongs to another network or another optimizer.
    """
    states = {
        name: {slot: state[f"{name}.{slot}"] for slot in rule.slots if f"{name}.{slot}" in state}
        for name in names
    }
    rest = state.keys() - {f"{name}.{slot}" for name, slots in states.items() for slot in slots}
    if rest:
        raise KeyError(f"optimizer state of {min(rest)}: nothing here has it")
    for name, slots in states.items():
        if slots and len(slots) < len(rule.slots):
            raise KeyError(f"optimizer state of {name}: {', '.join(slots)} without {', '.join(rule.slots)}")
    return {name: slots for name, slots in states.items() if slots}


def _begin_momentum(optimizer: Optimizer, *_: object) -> None:
    # torch's first update makes the buffer from memory as it comes, and a skipped one would leave it so.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if "momentum_buffer" not in optimizer.state[parameter]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


class RMSProp(Optimizer):
    """RMSProp as in torch, whose own has no fused form and cannot skip an update without asking the
    device."""

    found_inf: Tensor

    def __init__(self, parameters: Sequence[nn.Parameter], rule: RMSPropRule) -> None:
        super().__init__(parameters, {"lr": 0.0})
        self._rule = rule

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if pairs:
                self._update([p for p, _ in pairs], [gradient for _, gradient in pairs], group["lr"])

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        rule, keep = self._rule, self.found_inf == 0
        # A gradient that is not finite would spoil even what is multiplied by 0.
        grads = [torch.where(keep, gradient, 0.0) for gradient in gradients]
        squares = self._slot(parameters, "square_avg")
        torch._foreach_mul_(squares, torch.where(keep, rule.smoothing, 1.0))
        torch._foreach_addcmul_(squares, grads, grads, value=1 - rule.smoothing)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_add_(scale, rule.eps)
        if not rule.momentum:
            torch._foreach_addcdiv_(parameters, grads, scale, value=-rate)
            return
        moving = self._slot(parameters, "momentum_buffer")
        torch._foreach_mul_(moving, torch.where(keep, rule.momentum, 1.0))
        torch._foreach_addcdiv_(moving, grads, scale)
        torch._foreach_add_(parameters, torch._foreach_mul(moving, keep.float()), alpha=-rate)

    def _slot(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]
