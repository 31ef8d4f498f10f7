"""Sends gradients while the backward pass goes on, in pieces of one flat buffer.

Pieces are sent in a fixed order, which is the same on every rank, whatever the order in which gradients
become ready: a rank whose graph differs sends later, but never something else. Pieces that have not been sent
by the end are sent then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch.distributed as dist
from torch import Tensor, nn

Send = Callable[[Tensor], dist.Work]


class Buckets:
    """The pieces of the flat gradient of one network.

    parameters: in the order of `flat`, which should be that of a backward pass. limit_bytes: a piece ends
    with the parameter at which it reaches this size. send: starts summing a piece over the ranks.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], flat: Tensor, limit_bytes: float, send: Send
    ) -> None:
        self._send = send
        self._place: dict[nn.Parameter, int] = {}
        self._pieces: list[Tensor] = []
        start = end = 0
        for parameter in parameters:
            self._place[parameter] = len(self._pieces)
            end += parameter.numel()
            if (end - start) * flat.element_size() >= limit_bytes:
                self._pieces.append(flat[start:end])
                start = end
        if end > start:
            self._pieces.append(flat[start:end])
        self._missing = [0] * len(self._pieces)
        self._sent: list[dist.Work] = []
        self._is_last = False
        # On a GPU autograd calls them on a thread of its own, in the order in which gradients are ready.
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]

    def expect(self, loss: Tensor) -> None:
        """Announces that the next backward pass, that of `loss`, is the last before `finish`."""
        self._missing = [0] * len(self._pieces)
        for parameter in leaves(loss):
            if parameter in self._place:
                self._missing[self._place[parameter]] += 1
        self._is_last = True
        # Pieces that this pass does not reach are whole already, with what earlier micro-batches left or
        # zeros.
        self._send_complete()

    def finish(self) -> None:
        """Sends the remaining pieces and waits for all; `flat` is then the sum over ranks."""
        for piece in self._pieces[len(self._sent) :]:
            self._sent.append(self._send(piece))
        # For NCCL this makes the current stream wait, not the host.
        for work in self._sent:
            work.wait()
        self._sent, self._is_last = [], False

    def _arrived(self, parameter: nn.Parameter) -> None:
        if not self._is_last:
            return
        place = self._place[parameter]
        if place < len(self._sent):
            raise RuntimeError("a gradient came after its bucket was sent; allowed: engine.bucket_mb=0")
        self._missing[place] -= 1
        self._send_complete()

    def _send_complete(self) -> None:
        # Never past a piece that is not whole yet, though later ones may be: other ranks wait for it first.
        while len(self._sent) < len(self._pieces) and self._missing[len(self._sent)] == 0:
            self._sent.append(self._send(self._pieces[len(self._sent)]))


def leaves(loss: Tensor) -> Iterator[nn.Parameter]:
    """Returns the tensors for which a backward pass of `loss` computes gradients, each once."""
    # A penalty reaches some parameters and not others (R1 no last bias), and growth leaves levels out:
    # what will not come must not be waited for.
    known, rest = {loss.grad_fn}, [loss.grad_fn]
    while rest:
        node = rest.pop()
        if node is None:
            continue
        if hasattr(node, "variable"):
            yield node.variable
        for following, _ in node.next_functions:
            if following not in known:
                known.add(following)
                rest.append(following)
