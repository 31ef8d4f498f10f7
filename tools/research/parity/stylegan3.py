"""StyleGAN2 against its version in stylegan3, whose generators and discriminators clamp by default."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from tools.research.parity import ParityRow
from tools.research.parity.stylegan2 import Inputs
from tools.research.parity.stylegan2_ada import AdaLosses, ConstantNoise, rows
from tools.research.peers import isolated

LANDMARK = "training/networks_stylegan2.py"


def compare(checkout: Path) -> list[ParityRow]:
    """As with stylegan2-ada-pytorch."""
    with with_versions(), isolated(checkout, stand_ins=("requests",)):
        return rows("training.networks_stylegan2", _Losses)


@contextmanager
def with_versions() -> Iterator[None]:
    """Of pkg_resources, which newer setuptools lack, it needs the comparison of versions alone."""
    stand_in: Any = ModuleType("pkg_resources")
    stand_in.parse_version = TorchVersion
    missing = sys.modules.setdefault("pkg_resources", stand_in) is stand_in
    try:
        yield
    finally:
        if missing:
            del sys.modules["pkg_resources"]


class _Losses(AdaLosses):
    def made(self, kind: Any, generator: Any, discriminator: nn.Module) -> Any:
        def mapping(z: Tensor, c: Tensor, **_: Any) -> Any:
            return generator.mapping(z, c)

        pair = SimpleNamespace(mapping=mapping, synthesis=ConstantNoise(generator.synthesis))
        return kind(torch.device("cpu"), pair, discriminator, **self.SETTINGS)

    def run(self, phase: str, inputs: Inputs, labels: Tensor) -> None:
        self.loss.accumulate_gradients(
            phase=phase,
            real_img=inputs.reals,
            real_c=labels,
            gen_z=inputs.z,
            gen_c=labels,
            gain=1,
            cur_nimg=0,
        )
