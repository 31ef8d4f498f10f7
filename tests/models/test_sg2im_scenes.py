"""Scenes in tensors of fixed size beside plain loops over ragged ones, and layouts beside `grid_sample`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.models.sg2im.layout import cut, overlap, put
from pipeline.models.sg2im.scene import Graph, perceptron, scene_of
from pipeline.randomness import seed_everything

SCENES = (
    ([3, 1, 2], [(0, 1, 1), (1, 2, 2), (0, 2, 2)]),
    ([2], []),
    ([1, 1, 3, 2], [(3, 1, 0), (2, 1, 0)]),
)
"""Codes of objects, and (place, relation, place)."""


def fields(scenes=SCENES, places: int = 5, most: int = 4) -> dict[str, torch.Tensor]:
    objects = torch.zeros(len(scenes), places, dtype=torch.int16)
    triples = torch.zeros(len(scenes), most, 3, dtype=torch.int16)
    for row, (codes, known) in enumerate(scenes):
        objects[row, : len(codes)] = torch.tensor(codes)
        for place, triple in enumerate(known):
            triples[row, place] = torch.tensor(triple)
    return {"objects": objects, "triples": triples}


def graph(layers: int = 2) -> Graph:
    seed_everything(1)
    return Graph(3, 2, 6, 10, layers)


def of_a_scene(network: Graph, codes, triples) -> torch.Tensor:
    """The vectors of one scene's objects and of the image, by a loop over what is there."""
    image = len(codes)
    triples = [*triples, *((place, 0, image) for place in range(image))]
    vectors = [network.objects.weight[code] for code in [*codes, 0]]
    between = [network.relations.weight[relation] for _, relation, _ in triples]
    for layer in network.convolutions:
        heard: list[list[torch.Tensor]] = [[] for _ in vectors]
        for number, (s, _, o) in enumerate(triples):
            first, between[number], second = layer.say(
                torch.cat([vectors[s], between[number], vectors[o]])
            ).split(layer.split)
            heard[s].append(first)
            heard[o].append(second)
        vectors = [layer.hear(torch.stack(said).mean(0)) for said in heard]
    return torch.stack(vectors)


def test_a_graph_convolution_is_a_loop_over_objects_and_their_relations():
    network = graph()
    got = network(scene_of(fields(), 3, 2))
    for row, (codes, triples) in enumerate(SCENES):
        expected = of_a_scene(network, codes, triples)
        torch.testing.assert_close(torch.cat([got[row, : len(codes)], got[row, -1:]]), expected)


def test_neither_padding_nor_the_order_of_relations_changes_anything():
    network = graph()
    short = network(scene_of(fields(places=4, most=3), 3, 2))
    long = network(scene_of(fields(places=9, most=12), 3, 2))
    turned = tuple((codes, triples[::-1]) for codes, triples in SCENES)
    for row, (codes, _) in enumerate(SCENES):
        torch.testing.assert_close(long[row, : len(codes)], short[row, : len(codes)])
        torch.testing.assert_close(long[row, -1], short[row, -1])
    torch.testing.assert_close(network(scene_of(fields(turned), 3, 2)), network(scene_of(fields(), 3, 2)))


BOXES = torch.tensor(
    [[[0.0, 0.0, 1.0, 1.0], [0.25, 0.1, 0.5, 0.9]], [[0.3, 0.3, 0.35, 0.31], [-0.2, 0.4, 0.6, 1.3]]]
)


def test_a_layout_is_a_sum_of_what_grid_sample_puts_into_each_box():
    """With the pixels' middles on the edges, as grid_sample had them when the authors wrote theirs."""
    masks = torch.rand(2, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    got = put(masks, BOXES, (12, 8))
    for row in range(2):
        for place in range(2):
            left, top, right, bottom = BOXES[row, place]
            x = (torch.linspace(0, 1, 8) - left) / (right - left)
            y = (torch.linspace(0, 1, 12) - top) / (bottom - top)
            grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=2) * 2 - 1
            expected = F.grid_sample(masks[row, place][None, None], grid[None], align_corners=True)[0, 0]
            torch.testing.assert_close(got[row, place], expected, rtol=1e-4, atol=1e-5)


def test_objects_are_cut_out_as_grid_sample_does_it():
    images = torch.rand(2, 3, 10, 14, generator=torch.Generator().manual_seed(3))
    boxes = BOXES.clamp(0, 1)
    got = cut(images, boxes, 6)
    for row in range(2):
        for place in range(2):
            left, top, right, bottom = boxes[row, place].tolist()
            x, y = torch.linspace(left, right, 6), torch.linspace(top, bottom, 6)
            grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=2) * 2 - 1
            expected = F.grid_sample(images[row : row + 1], grid[None], align_corners=True)[0]
            torch.testing.assert_close(got[row, place], expected, rtol=1e-4, atol=1e-5)


def test_boxes_of_no_size_leave_numbers_finite():
    boxes = torch.zeros(1, 1, 4, requires_grad=True)
    made = put(torch.ones(1, 1, 4, 4), boxes, (8, 8))
    (gradient,) = torch.autograd.grad(made.sum(), boxes)
    assert torch.isfinite(made).all()
    assert torch.isfinite(gradient).all()


def test_overlap_is_intersection_over_union():
    first = torch.tensor([[0.0, 0, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]])
    second = torch.tensor([[0.25, 0, 0.75, 0.5], [0, 0, 1, 1], [0.5, 0.5, 1, 1], [0, 0, 1, 1]])
    torch.testing.assert_close(overlap(first, second), torch.tensor([1 / 3, 1, 0, 0]))


def test_relations_say_where_an_object_is():
    """Two objects of one kind: where each is, its relations alone say. The mean box of the kind lies between
    the two, and overlaps with neither."""
    draws = torch.Generator().manual_seed(5)

    def scenes(count: int):
        swapped = torch.randint(0, 2, (count,), generator=draws)
        triples = torch.stack([1 - swapped, torch.ones_like(swapped), swapped], dim=1)[:, None]
        ends = torch.tensor([[0.0, 0, 0.4, 1], [0.6, 0, 1, 1]])
        boxes = torch.where(swapped[:, None, None] == 1, ends, ends.flip(0))
        return scene_of({"objects": torch.ones(count, 2), "triples": triples}, 1, 1), boxes

    network = nn.ModuleList([graph(2), perceptron(6, 16, 4, bounded=False)])
    held_out, truth = scenes(50)

    @torch.no_grad()
    def found() -> float:
        return float(overlap(network[1](network[0](held_out))[:, :2], truth).mean())

    before, mean = found(), float(overlap(truth.mean(dim=(0, 1)).expand_as(truth), truth).mean())
    adam = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(100):
        scene, boxes = scenes(16)
        loss = (network[1](network[0](scene))[:, :2] - boxes).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert found() > 0.9
    assert before < 0.5
    assert mean < 0.5
