"""Scenes as tensors of fixed size, and what a graph convolution makes of them (Johnson et al. 2018,
section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import UserError

OBJECTS, BOXES, TRIPLES = "objects", "boxes", "triples"
"""The fields: codes of objects [N, K]; left, top, right and bottom of each [N, K, 4], where the image is 1
wide and high; place of an object, code of a relation, and place of another [N, T, 3]. Code 0 fills places
without an object or a relation."""


@dataclass(frozen=True)
class Scene:
    """N scenes of at most K - 1 objects, with the whole image as one more at the last place. Every object is
    in it, by a relation of code 0, so that none is without relations (the authors' code).

    objects: their codes [N, K], 0 for the image. present: 1 where there is an object or the image, otherwise
    0, [N, K]. relations: their codes [N, T]. subjects, others: which object of each relation is the first and
    which the second, [N, T, K], of 0 and 1; only 0 where there is no relation.
    """

    objects: Tensor
    present: Tensor
    relations: Tensor
    subjects: Tensor
    others: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of values [N, K] over the objects that are there, [N]."""
        return (values * self.present).sum(dim=1) / self.present.sum(dim=1)

    def first(self, count: int) -> Scene:
        """Returns the first `count` scenes."""
        parts = (self.objects, self.present, self.relations, self.subjects, self.others)
        return Scene(*(part[:count] for part in parts))


def scene_of(fields: Mapping[str, Tensor], objects: int, relations: int) -> Scene:
    """Returns the scenes of samples with these fields.

    objects, relations: the largest code of each. Those beyond are taken for it: see `check_codes`.
    """
    codes, triples = fields[OBJECTS].long(), fields[TRIPLES].long()
    places, count = codes.shape[1], len(codes)
    codes, kinds = codes.clamp(0, objects), triples[:, :, 1].clamp(0, relations)
    there, held = codes > 0, kinds > 0
    frame = torch.full_like(codes, places)
    every = torch.arange(places, device=codes.device).expand(count, -1)
    counted = torch.cat([held, there], dim=1)
    ends = (torch.cat([triples[:, :, 0], every], dim=1), torch.cat([triples[:, :, 2], frame], dim=1))
    numbers = torch.arange(places + 1, device=codes.device)
    subjects, others = (((end[:, :, None] == numbers) & counted[:, :, None]).float() for end in ends)
    return Scene(
        torch.cat([codes, torch.zeros_like(codes[:, :1])], dim=1),
        torch.cat([there, torch.ones_like(there[:, :1])], dim=1).float(),
        torch.cat([kinds, torch.zeros_like(codes)], dim=1),
        subjects,
        others,
    )


def framed(boxes: Tensor) -> Tensor:
    """Returns boxes [N, K, 4] followed by that of the whole image."""
    corner = boxes[:, :1, :2]
    frame = torch.cat([torch.zeros_like(corner), torch.ones_like(corner)], dim=2)
    return torch.cat([boxes, frame], dim=1)


def check_codes(fields: Mapping[str, Tensor], objects: int, relations: int) -> None:
    """Raises UserError for codes of objects or relations that are not from 0 to the largest of each. It reads
    values, so that no step of a run may call it."""
    for codes, most, field, key in (
        (fields[OBJECTS], objects, OBJECTS, "family.objects"),
        (fields[TRIPLES][:, :, 1], relations, TRIPLES, "family.relations"),
    ):
        wrong = codes[(codes < 0) | (codes > most)]
        if len(wrong):
            raise UserError(
                f"{key}={most}: the data's field {field} has the code {int(wrong[0])}; allowed: 0 to {most}"
            )


class GraphConvolution(nn.Module):
    """What each relation (s, p, o) makes of the vectors of its two objects and its own; an object becomes
    what a network makes of the mean of all that its relations say of it, in either role (Johnson et al. 2018,
    section 3, "graph convolution network"; figure 3)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.split = [width, dim, width]
        self.say = perceptron(3 * dim, width, sum(self.split))
        self.hear = perceptron(width, width, dim)

    def forward(self, objects: Tensor, relations: Tensor, scene: Scene) -> tuple[Tensor, Tensor]:
        """objects: vectors [N, K, dim]. relations: vectors [N, T, dim]. Returns new ones."""
        ends = scene.subjects @ objects, scene.others @ objects
        said = self.say(torch.cat([ends[0], relations, ends[1]], dim=2))
        first, between, second = said.split(self.split, dim=2)
        # Products with matrices of 0 and 1, whose sums have the same order in every run.
        heard = scene.subjects.transpose(1, 2) @ first + scene.others.transpose(1, 2) @ second
        times = (scene.subjects + scene.others).sum(dim=1)
        return self.hear(heard / times.clamp(min=1)[:, :, None]), between


class Graph(nn.Module):
    """Embeds a scene, and returns a vector of each object that knows of the others, [N, K, dim]."""

    def __init__(self, objects: int, relations: int, dim: int, width: int, layers: int) -> None:
        super().__init__()
        self.objects = nn.Embedding(objects + 1, dim)
        self.relations = nn.Embedding(relations + 1, dim)
        self.convolutions = nn.ModuleList(GraphConvolution(dim, width) for _ in range(layers))

    def forward(self, scene: Scene) -> Tensor:
        vectors: Tensor = self.objects(scene.objects)
        between = self.relations(scene.relations)
        for convolution in self.convolutions:
            vectors, between = convolution(vectors, between, scene)
        return vectors


def perceptron(inputs: int, width: int, outputs: int, *, bounded: bool = True) -> nn.Sequential:
    """Returns two linear layers with ReLU; bounded: after the second too."""
    layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs)]
    for layer in layers[::2]:
        nn.init.kaiming_normal_(layer.weight)  # type: ignore[arg-type]
    return nn.Sequential(*layers, *([nn.ReLU()] if bounded else []))
