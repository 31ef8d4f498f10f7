"""StyleGAN2 against its version in stylegan3, whose generators and discriminators clamp by default."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tools.research.parity import ParityRow
from tools.research.parity.stylegan2 import Inputs
from tools.research.parity.stylegan2_ada import AdaLosses, ConstantNoise, rows
from tools.research.parity.stylegan3_code import importing

PEER = "stylegan2-in-stylegan3"
LANDMARK = "training/networks_stylegan2.py"


def compare(checkout: Path) -> list[ParityRow]:
    """As with stylegan2-ada-pytorch."""
    with importing(checkout):
        return rows("training.networks_stylegan2", _Losses)


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
