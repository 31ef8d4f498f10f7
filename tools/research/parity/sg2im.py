"""sg2im beside its authors' public code, github.com/google/sg2im: the graph convolutions of ragged scenes,
the layout, the objects that are cut out, and the refinement network, in evaluation and in training, where a
group is the whole batch. Theirs is of a time when `grid_sample` had the middles of pixels on the edges of
images, which newer versions have to be told."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.sg2im.layout import cut, put
from pipeline.models.sg2im.networks import Refinement
from pipeline.models.sg2im.scene import Graph, Scene, framed, scene_of
from tools.research.modules import isolated, module_of
from tools.research.parity import FORWARD, ParityRow, apart
from tools.research.parity.in_order import Layers, in_order, rows, stir
from tools.research.parity.in_order import put as put_weights

LANDMARK = "sg2im/crn.py"
SCENES, PLACES, RELATIONS = 3, 8, 12
DIM, WIDTH, LAYERS = 128, 512, 5
NOISE, SIDE, MASK, CROP = 32, 64, 16, 32
WIDTHS = (1024, 512, 256, 128, 64)


@contextmanager
def importing(checkout: Path) -> Iterator[Any]:
    """What is compared of theirs, in one module."""
    aligned = partial(F.grid_sample, align_corners=True)
    with ExitStack() as stack:
        stack.enter_context(isolated(checkout))
        stack.enter_context(mock.patch.object(F, "grid_sample", aligned))
        found: dict[str, Any] = {}
        for name in ("graph", "layout", "bilinear", "crn"):
            found |= vars(importlib.import_module(f"sg2im.{name}"))
        yield module_of(**found)


def compare(checkout: Path) -> list[ParityRow]:
    """Outputs of all, gradients of the networks."""
    with importing(checkout) as module:
        torch.manual_seed(1)
        return [*_graph_rows(module), *_layout_rows(module), *_refinement_rows(module)]


def _scene() -> Scene:
    """Scenes with 3, 5 and 8 objects."""
    objects, triples = torch.randint(1, 10, (SCENES, PLACES)), torch.zeros(SCENES, RELATIONS, 3).long()
    for row, count in enumerate((3, 5, PLACES)):
        objects[row, count:] = 0
        triples[row, : count + 4] = torch.randint(0, count, (count + 4, 3))
        triples[row, : count + 4, 1] = torch.randint(1, 5, (count + 4,))
    return scene_of({"objects": objects, "triples": triples}, 10, 5)


def _graph_rows(module: Any) -> Iterator[ParityRow]:
    """In float64: in float32 a ReLU at the edge of 0 that falls to the other side moves gradients."""
    ours = Graph(10, 5, DIM, WIDTH, LAYERS).double()
    theirs = module.GraphTripleConvNet(DIM, num_layers=LAYERS, hidden_dim=WIDTH).double()
    layers = in_order(ours.convolutions, theirs)
    put_weights(layers)
    scene = _scene()
    scene = Scene(*(x if x.dtype == torch.int64 else x.double() for x in _parts(scene)))
    there, held = scene.present > 0, scene.subjects.sum(dim=2) > 0
    number = (there.flatten().cumsum(0) - 1).view_as(there)
    ends = (scene.subjects, scene.others)
    edges = torch.stack([number.gather(1, end.argmax(dim=2))[held] for end in ends], dim=1)
    between = ours.relations(scene.relations).detach()

    def ours_of(vectors: Tensor) -> Tensor:
        known = between
        for convolution in ours.convolutions:
            vectors, known = convolution(vectors, known, scene)
        return vectors[there]

    def theirs_of(vectors: Tensor) -> Tensor:
        objects: Tensor = theirs(vectors[there], between[held], edges)[0]
        return objects

    vectors = torch.randn(SCENES, PLACES + 1, DIM, dtype=torch.float64)
    yield from rows(
        "graph convolutions, 128 and 512 wide, 5 layers", "objects", (ours_of, theirs_of), layers, vectors
    )


def _parts(scene: Scene) -> list[Tensor]:
    return [getattr(scene, field.name) for field in fields(scene)]


def _layout_rows(module: Any) -> Iterator[ParityRow]:
    scene = _scene()
    there = scene.present > 0
    image = torch.arange(SCENES)[:, None].expand_as(there)[there]
    corner = torch.rand(SCENES, PLACES, 2) * 0.7
    boxes = framed(torch.cat([corner, corner + 0.1 + torch.rand_like(corner) * 0.2], dim=2))
    vectors = torch.randn(SCENES, PLACES + 1, DIM) * scene.present[:, :, None]
    masks = torch.rand(SCENES, PLACES + 1, MASK, MASK)
    given = vectors[there], boxes[there]
    whole = torch.ones(SCENES, PLACES + 1, 8, 8)
    for what, own, theirs in (
        ("of boxes", whole, module.boxes_to_layout(*given, image, SIDE)),
        ("of masks", masks, module.masks_to_layout(*given, masks[there], image, SIDE)),
    ):
        made = torch.einsum("nkd,nkhw->ndhw", vectors, put(own, boxes, (SIDE, SIDE)))
        yield ParityRow("layout", what, apart(made, theirs), FORWARD)
    images = torch.randn(SCENES, 3, SIDE, SIDE)
    crops = module.crop_bbox_batch(images, boxes[there], image, CROP)
    yield ParityRow("objects", "cut out", apart(cut(images, boxes, CROP)[there], crops), FORWARD)


def _refinement_rows(module: Any) -> Iterator[ParityRow]:
    images = 2
    ours: Any = Refinement(DIM + NOISE, WIDTHS, 3, images)
    theirs: Any = module.RefinementNetwork(
        (DIM + NOISE, *WIDTHS), normalization="batch", activation="leakyrelu-0.2"
    )
    stir(ours)
    layers, compared = _layers(ours, theirs)
    for training in (False, True):
        put_weights(layers)
        if not training:
            _without_idle(layers)
        ours.train(training), theirs.train(training)
        what = "training" if training else "evaluation"
        x = torch.randn(images, DIM + NOISE, SIDE, SIDE, dtype=torch.float64)
        ours.double(), theirs.double()
        yield from rows("refinement network, 1024 to 64 wide, 64px", what, (ours, theirs), compared, x)
        ours.float(), theirs.float()


def _layers(ours: Any, theirs: Any) -> tuple[Layers, Layers]:
    """All layers, and those whose gradients are compared: all but the first, of which theirs also takes a
    channel of zeros."""
    (own, first), *rest = in_order(ours, theirs)
    weight = first.weight.detach()[:, :-1]
    return [(own, SimpleNamespace(weight=weight, bias=first.bias)), *rest], rest


@torch.no_grad()
def _without_idle(layers: Layers) -> None:
    """Takes away biases of theirs that ours lack: batch statistics make up for them, running ones do not."""
    for own, other in layers:
        if own.bias is None:
            other.bias.zero_()
