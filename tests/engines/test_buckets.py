"""Buckets go out in one order, as soon as they are complete, whatever the backward pass reaches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.engines.buckets import Buckets, leaves


class Work:
    waited = False

    def wait(self) -> None:
        self.waited = True


class Setting:
    """Four layers in line, a bucket each; `sent` notes what has gone out, and its sum then."""

    def __init__(self, limit_bytes: float = 1.0) -> None:
        torch.manual_seed(0)
        self.layers = [nn.Linear(3, 3, bias=False) for _ in range(4)]
        self.parameters = [layer.weight for layer in self.layers][::-1]
        self.flat = torch.zeros(36)
        for parameter, view in zip(self.parameters, self.flat.split(9), strict=True):
            parameter.grad = view.view(3, 3)
        self.sent: list[tuple[int, float]] = []
        self.works: list[Work] = []
        self.buckets = Buckets(self.parameters, self.flat, limit_bytes, self.send)

    def send(self, piece: torch.Tensor) -> Work:
        self.sent.append((piece.storage_offset() // 9, float(piece.abs().sum())))
        self.works.append(Work())
        return self.works[-1]

    def loss(self, layers: list[nn.Linear] | None = None) -> torch.Tensor:
        x = torch.ones(2, 3)
        for layer in self.layers if layers is None else layers:
            x = layer(x)
        return x.square().mean()

    def places(self) -> list[int]:
        return [place for place, _ in self.sent]


def test_all_have_gone_by_the_end_of_the_last_backward_and_are_whole():
    setting = Setting()
    setting.loss().backward()
    assert setting.sent == []  # not the last micro-batch
    loss = setting.loss()
    setting.buckets.expect(loss)
    loss.backward()
    assert setting.places() == [0, 1, 2, 3]
    for (_, seen), parameter in zip(setting.sent, setting.parameters, strict=True):
        assert seen == pytest.approx(float(parameter.grad.abs().sum()))  # of both micro-batches
    setting.buckets.finish()
    assert all(work.waited for work in setting.works)
    assert len(setting.works) == 4


def test_the_first_leaves_before_the_backward_pass_ends():
    setting = Setting()
    at = []
    setting.layers[0].weight.register_hook(lambda gradient: at.append(len(setting.sent)))
    loss = setting.loss()
    setting.buckets.expect(loss)
    loss.backward()
    assert at == [3]


def test_what_no_gradient_reaches_is_not_waited_for_and_goes_as_zero():
    setting = Setting()
    loss = setting.loss(setting.layers[:2])  # the first two buckets in order get nothing
    setting.buckets.expect(loss)
    loss.backward()
    setting.buckets.finish()
    assert setting.places() == [0, 1, 2, 3]
    assert [seen > 0 for _, seen in setting.sent] == [False, False, True, True]


def test_the_order_stays_when_gradients_come_in_another():
    setting = Setting()
    loss = setting.loss(setting.layers[::-1])
    setting.buckets.expect(loss)
    loss.backward()
    assert setting.places() == [0, 1, 2, 3]


def test_without_a_last_one_all_go_at_the_end():
    setting = Setting()
    setting.loss().backward()
    setting.buckets.finish()
    assert setting.places() == [0, 1, 2, 3]


@pytest.mark.parametrize(("limit", "count"), [(1, 4), (9 * 4 + 1, 2), (1e9, 1)])
def test_a_bucket_ends_with_the_parameter_that_fills_it(limit, count):
    setting = Setting(limit)
    setting.buckets.finish()
    assert len(setting.sent) == count
    assert sum(seen for _, seen in setting.sent) == 0


def test_leaves_of_a_penalty_leave_out_the_last_bias():
    layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.ones(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layers(x).sum(), [x], create_graph=True)
    found = set(leaves(gradient.square().sum()))
    assert layers[2].bias not in found
    assert {layers[0].weight, layers[0].bias, layers[2].weight} <= found


def test_a_gradient_that_comes_late_is_an_error_and_never_a_wrong_sum():
    setting = Setting()
    setting.buckets.expect(setting.loss(setting.layers[:2]))
    with pytest.raises(RuntimeError, match="after its bucket was sent"):
        setting.loss().backward()
