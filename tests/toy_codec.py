"""A codec whose mathematics is known, and a family that plays with pixels or with its latents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config.families import MLPConfig
from pipeline.contracts import Batch, ImageSpec, Networks, Randomness, SGDRule
from pipeline.errors import UserError
from pipeline.models.mlp import MLP

FACTOR = 2


class Folded:
    """Blocks of 2x2 pixels become channels, which an orthogonal matrix mixes: lengths and angles stay."""

    def __init__(self, channels: int) -> None:
        size = channels * FACTOR**2
        draws = torch.Generator().manual_seed(17)
        self.mix = torch.linalg.qr(torch.randn(size, size, generator=draws, dtype=torch.float64))[0].float()

    def latents(self, pixels: ImageSpec) -> ImageSpec:
        if pixels.height % FACTOR or pixels.width % FACTOR:
            raise UserError(f"the codec needs sides of multiples of {FACTOR}")
        height, width = pixels.height // FACTOR, pixels.width // FACTOR
        return replace(pixels, height=height, width=width, channels=pixels.channels * FACTOR**2)

    def encode(self, reals: Batch, randomness: Randomness) -> Batch:
        return replace(reals, images=self.folded(reals.images))

    def folded(self, images: Tensor) -> Tensor:
        return torch.einsum("oc,nchw->nohw", self.mix, F.pixel_unshuffle(images, FACTOR))

    def decode(self, latents: Tensor) -> Tensor:
        return F.pixel_shuffle(torch.einsum("oc,nohw->nchw", self.mix, latents), FACTOR)


class InPixels(MLP):
    """Without an activation at the generator's end, and with gradient descent, which turns with the axes."""

    def __init__(self, config: MLPConfig, spec: ImageSpec, **settings: Any) -> None:
        assert config.output == "linear"
        super().__init__(config, spec, **settings)
        self.optimizers = {net: SGDRule(clip_norm=1.0) for net in self.optimizers}


class InLatents(InPixels):
    """The same family in the codec's latents: its first networks are those of `InPixels`, seen from there."""

    def __init__(self, config: MLPConfig, spec: ImageSpec, **settings: Any) -> None:
        self.codec: Folded = Folded(spec.channels)
        super().__init__(config, spec, **settings)

    def networks(self) -> Networks:
        spec = self.spec
        pixels = InPixels(self.config, spec, batch_size=self.schedule.batch_size).networks()
        latents = super().networks()
        shape = (spec.channels, spec.height, spec.width)
        for net, network in latents.items():
            given = dict(pixels[net].state_dict())
            if net == "generator":  # its last layer makes latents
                rows = torch.cat([given["out.weight"], given["out.bias"][:, None]], dim=1)
                made = self.codec.folded(rows.T.reshape(-1, *shape)).flatten(1).T
                given["out.weight"], given["out.bias"] = made[:, :-1].contiguous(), made[:, -1].contiguous()
            else:  # its first layer sees them
                given["body.0.weight"] = self.codec.folded(given["body.0.weight"].view(-1, *shape)).flatten(1)
            network.load_state_dict(given)
        return latents
