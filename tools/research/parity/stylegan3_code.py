"""StyleGAN3's public code from a checkout, github.com/NVlabs/stylegan3, as it stands, on a CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.torch_version import TorchVersion
from torch.utils.checkpoint import checkpoint

from tools.research.peers import isolated

_AT_ONCE = 1 << 24
"""Numbers of an up-sampled image that its layers hold at once."""


@contextmanager
def importing(checkout: Path) -> Iterator[None]:
    """Use it around all that calls their code."""
    with _with_versions(), isolated(checkout, stand_ins=("requests",)):
        yield


@contextmanager
def _with_versions() -> Iterator[None]:
    """Of pkg_resources, which newer setuptools lack, it needs the comparison of versions alone."""
    stand_in: Any = ModuleType("pkg_resources")
    stand_in.parse_version = TorchVersion
    missing = sys.modules.setdefault("pkg_resources", stand_in) is stand_in
    try:
        yield
    finally:
        if missing:
            del sys.modules["pkg_resources"]


@contextmanager
def in_slices() -> Iterator[None]:
    """Their up-sampled leaky ReLU computes a few channels at a time, and again in the backward pass: it
    treats channels by themselves, and its plain form would otherwise keep several images of 2128 x 2128."""
    operation: Any = importlib.import_module("torch_utils.ops.filtered_lrelu")
    with mock.patch.object(operation, "filtered_lrelu", _sliced(operation.filtered_lrelu)):
        yield


def _sliced(whole: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, *, b: Tensor, up: int, **rest: Any) -> Tensor:
        width = max(_AT_ONCE // (x[:, :1].numel() * up * up), 1)
        pairs = zip(x.split(width, 1), b.split(width), strict=True)
        parts = [
            checkpoint(lambda x, b: whole(x=x, b=b, up=up, **rest), *pair, use_reentrant=False)
            for pair in pairs
        ]
        return torch.cat(parts, dim=1)

    return run
