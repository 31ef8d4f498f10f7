"""The two networks: a graph that becomes a layout that becomes an image, and the judges of images and of
objects (Johnson et al. 2018, section 3)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ops
from pipeline.config.families import SG2ImConfig
from pipeline.contracts import ImageSpec, Verdict
from pipeline.models.layers import GroupBatchNorm, InstanceNorm
from pipeline.models.sg2im.layout import cut, put
from pipeline.models.sg2im.scene import Graph, Scene, perceptron

CLASSES = "object classes"
"""What the discriminator's verdict says of each object, by the name of its `extra`: logits of the codes."""
_FILLED = 8  # side of the mask of an object that fills its box


class Masks(nn.Module):
    """Makes masks [M, side, side] in [0, 1] of objects' vectors [M, dim]: from one pixel on, each step
    doubles the side. Each object is normalised by itself, so that places without one change nothing."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        doublings = side.bit_length() - 1
        self.norms = nn.ModuleList(nn.GroupNorm(1, dim) for _ in range(doublings))
        self.convs = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(doublings))
        self.last = nn.Conv2d(dim, 1, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        x = vectors[:, :, None, None]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = F.relu(conv(norm(_doubled(x))))
        masks: Tensor = self.last(x).sigmoid().squeeze(1)
        return masks


class Module(nn.Module):
    """Two 3x3 convolutions, each with normalisation and activation."""

    def __init__(self, inputs: int, outputs: int, group: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(each, outputs, 3, padding=1, bias=False) for each in (inputs, outputs)
        )
        self.norms = nn.ModuleList(GroupBatchNorm(outputs, group) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), act="lrelu")
        return x


class Refinement(nn.Module):
    """Paints a layout [N, C, H, W]: modules of doubled resolution, each of which is shown the layout at its
    own and what the one before has made (Chen and Koltun 2017, section 3.1)."""

    def __init__(self, inputs: int, widths: tuple[int, ...], outputs: int, group: int) -> None:
        super().__init__()
        self.modules_of_levels = nn.ModuleList(
            Module(inputs + before, width, group) for before, width in pairwise((0, *widths))
        )
        self.last = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.image = nn.Conv2d(widths[-1], outputs, 1)
        self.apply(_initialise)

    def forward(self, layout: Tensor) -> Tensor:
        levels = len(self.modules_of_levels)
        made: list[Tensor] = []
        for place, module in enumerate(self.modules_of_levels):
            shown = F.avg_pool2d(layout, 1 << (levels - 1 - place))
            made = [module(torch.cat([shown, *map(_doubled, made)], dim=1))]
        images: Tensor = self.image(ops.bias_act(self.last(made[0]), act="lrelu", gain=1.0))
        return images


class Generator(nn.Module):
    """Draws scenes as images [N, C, H, W] in about [-1, 1]."""

    def __init__(self, config: SG2ImConfig, spec: ImageSpec) -> None:
        super().__init__()
        dim, width = config.embedding_dim, config.graph_width
        self.size = spec.height, spec.width
        self.noise_shape = config.noise_channels, *self.size
        self.graph = Graph(config.objects, config.relations, dim, width, config.graph_layers)
        self.boxes = perceptron(dim, width, 4, bounded=False)
        self.masks = Masks(dim, config.mask_side) if config.mask_side else None
        self.painter = Refinement(
            dim + config.noise_channels, config.refinement_channels, spec.channels, config.batch_norm_group
        )

    def forward(self, scene: Scene, noise: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns images and the boxes that it predicts, [N, K, 4]. noise: normal, [N, *noise_shape]. boxes:
        to draw with; None for the predicted ones."""
        vectors = self.graph(scene)
        predicted = self.boxes(vectors)
        layout = self.layout(vectors, scene, predicted if boxes is None else boxes)
        return self.painter(ops.arranged(torch.cat([layout, noise], dim=1))), predicted

    def layout(self, vectors: Tensor, scene: Scene, boxes: Tensor) -> Tensor:
        """Returns the sum of the objects' vectors [N, K, dim], each where its mask and box say, [N, dim, H,
        W] (Johnson et al. 2018, section 3, "scene layout")."""
        count, places, _ = vectors.shape
        if self.masks is None:
            masks = vectors.new_ones(count, places, _FILLED, _FILLED)
        else:
            masks = self.masks(vectors.flatten(0, 1)).unflatten(0, (count, places))
        there = vectors * scene.present[:, :, None]
        return torch.einsum("nkd,nkhw->ndhw", there, put(masks, boxes, self.size))


class Halvings(nn.Module):
    """4x4 convolutions without borders that each halve the resolution of [N, C, H, W] and double the
    channels. What one makes is normalised before the next, image by image, so that each is judged by
    itself."""

    def __init__(self, channels: int, width: int, layers: int) -> None:
        super().__init__()
        widths = [channels, *(width << i for i in range(layers))]
        self.outputs = widths[-1]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, bias=i == layers) for i, (a, b) in enumerate(pairwise(widths), 1)
        )
        self.norm = InstanceNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs[:-1]:
            x = self.norm(conv(x), act="lrelu")
        return ops.bias_act(self.convs[-1](x), act="lrelu", gain=1.0)


def least_halved_side(layers: int) -> int:
    """Returns the least side, in pixels, of which `Halvings` make a pixel."""
    return (3 << layers) - 2


class Discriminator(nn.Module):
    """Judges images [N, C, H, W] in patches, the first head, and each of their objects, the second: a logit
    for each place, 0 where there is no object. What it takes the objects for is `extra[CLASSES]`,
    [N, K, objects + 1]."""

    def __init__(self, config: SG2ImConfig, channels: int) -> None:
        super().__init__()
        sizes = channels, config.discriminator_channels, config.discriminator_layers
        self.crop_side = config.crop_side
        self.patches, self.crops = Halvings(*sizes), Halvings(*sizes)
        self.patch = nn.Conv2d(self.patches.outputs, 1, 1)
        self.real = nn.Linear(self.crops.outputs, 1)
        self.classes = nn.Linear(self.crops.outputs, config.objects + 1)

    def forward(self, images: Tensor, told: Tensor, *, exact: bool = False) -> Verdict:
        """told: the box of each object, and 1 if it is there, otherwise 0, [N, K, 5]."""
        told = told.to(images.dtype)
        boxes, present = told[:, :, :4], told[:, :, 4:]
        patches = self.patch(self.patches(ops.arranged(images)))
        crops = cut(images, boxes, self.crop_side)
        seen = self.crops(ops.arranged(crops.flatten(0, 1))).mean(dim=(2, 3)).unflatten(0, crops.shape[:2])
        real = (self.real(seen) * present).squeeze(2)
        return Verdict((patches.flatten(1), real), extra={CLASSES: self.classes(seen)})


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _initialise(module: nn.Module) -> None:
    """Draws weights of convolutions as He et al. 2015, eq. 10 (the authors' code)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
