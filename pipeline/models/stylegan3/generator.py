"""StyleGAN3's generator (Karras et al. 2021, figure 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models.layers import Compilable, Linear
from pipeline.models.stylegan2.mapping import MappingNetwork
from pipeline.models.stylegan3.fourier import FourierInput
from pipeline.models.stylegan3.layers import SynthesisLayer
from pipeline.models.stylegan3.shape import Shape


class Synthesis(Compilable):
    """Makes images from the w of the input and of each layer, the image output last."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config = shape.config
        self.output_scale = config.output_scale
        self.input = FourierInput(shape.steps[0].source, config.w_dim)
        self.layers = nn.ModuleList(
            SynthesisLayer(
                step,
                config.w_dim,
                radial=config.radial,
                dtype=shape.dtype(step),
                clamp=shape.clamp(step),
            )
            for step in shape.steps
        )

    def compute(
        self, ws: Tensor, moves: Tensor | None = None, *, exact: bool = False, measure: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Returns images [N, C, H, W] float32 and, if `measure`, the mean square of each layer's input,
        [layers].

        ws: [N, 1 + layers, w_dim]. moves: of the input, as in `latents.MovableSpace`. exact: whether to
        compute in float32 throughout.
        """
        x = self.input(ws[:, 0], moves)
        squares = []
        for number, layer in enumerate(self.layers, start=1):
            x, square = layer(x, ws[:, number], exact=exact, measure=measure)
            squares.append(square)
        images = x.to(ws.dtype) * self.output_scale
        return images, torch.stack(squares) if measure else None

    @property
    def fed(self) -> list[Linear]:
        """For each w, the linear layer that takes it."""
        return [self.input.affine, *(layer.affine for layer in self.layers)]  # type: ignore[list-item]


class Generator(nn.Module):
    """StyleGAN3's generator, a mapping network followed by a synthesis network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        config = shape.config
        self.z_dim, self.classes = config.z_dim, shape.classes
        self.synthesis = Synthesis(shape)
        self.mapping = MappingNetwork(
            z_dim=config.z_dim,
            classes=shape.classes,
            w_dim=config.w_dim,
            layers=config.mapping_layers,
            rate=config.mapping_rate,
        )

    @property
    def layers(self) -> int:
        """The number of layers that take a w of their own, the input among them."""
        return len(self.synthesis.fed)

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        truncation: float = 1.0,
        moves: Tensor | None = None,
        exact: bool = False,
    ) -> Tensor:
        """Makes images [N, C, H, W] float32 from z [N, z_dim] and, if conditional, labels [N].

        truncation: psi, towards w_avg for all classes, as in the authors' code; `StyleGAN3Sampler` truncates
        towards the mean of each class. moves: as in `latents.MovableSpace`.
        """
        w = self.mapping.truncate(self.mapping(z, labels), truncation)
        ws = w[:, None].expand(-1, self.layers, -1)
        images: Tensor = self.synthesis(ws, moves, exact=exact)[0]
        return images
