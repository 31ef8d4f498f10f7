"""Routes between latents, against geometry."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.exploration.routes import Route, segments
from pipeline.exploration.subject import Subject
from pipeline.latents import slerp


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(seed))
    return a, b


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.acos(float(torch.cosine_similarity(a.double(), b.double(), dim=-1)))


def test_a_quarter_circle() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    for t in (0.25, 0.5, 0.9):
        turned = 2 * torch.tensor([[math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)]])
        torch.testing.assert_close(slerp(a, b, torch.tensor([t])), turned)


def test_angles_are_in_proportion_and_lengths_are_kept() -> None:
    a, b = pair()
    a, b = a / a.norm(), b / b.norm()
    for t in (0.1, 0.5, 0.8):
        found = slerp(a, b, torch.tensor([t]))
        assert float(found.norm()) == pytest.approx(1, abs=1e-6)
        assert angle(a, found) == pytest.approx(t * angle(a, b), abs=1e-5)


def test_the_ends_are_the_ends_bit_for_bit() -> None:
    a, b = pair()
    assert torch.equal(slerp(a, b, torch.tensor([0.0])), a)
    assert torch.equal(slerp(a, b, torch.tensor([1.0])), b)


def test_vectors_on_one_line_have_a_straight_way() -> None:
    a, _ = pair()
    for factor in (1.0, 3.0, -1.0):
        found = slerp(a, factor * a, torch.tensor([0.25]))
        torch.testing.assert_close(found, (0.75 + 0.25 * factor) * a)


def test_segments() -> None:
    assert segments(3, 3, loop=False) == [(0, 1, [0, 0.5, 1]), (1, 2, [0, 0.5, 1])]
    assert [part[:2] for part in segments(3, 2, loop=True)] == [(0, 1), (1, 2), (2, 0)]
    assert len(segments(2, 2, loop=True)) == 1  # the way back is the way there


@pytest.mark.parametrize("way", ["w", "z"])
def test_points_of_a_path_are_the_images_of_their_seeds(subject: Subject, way: str) -> None:
    seeds, classes = (3, 8, 5, 1), (2, 7)
    route = Route(subject, subject.start(seeds, classes, 0.7), 0.7, way)
    drawn = subject.space.draw(seeds, classes=[2, 7, 2, 7], truncation=0.7).latents
    assert torch.equal(route.between([0, 1, 2], [1, 2, 3], [0.0, 0.0, 1.0]), drawn[[0, 1, 3]])
    corners = route.corners([0.0, 1.0], [0.0, 1.0])
    assert torch.equal(corners, drawn)


def test_ways_differ_in_between_as_they_should(subject: Subject) -> None:
    start = subject.start((3, 8), (2,))
    w0, w1 = subject.map(start)
    straight = Route(subject, start, 1.0, "w").between([0], [1], [0.5])
    torch.testing.assert_close(straight[0], (w0 + w1) / 2)
    z = slerp(start.z[:1], start.z[1:], torch.tensor([0.5]))
    around = Route(subject, start, 1.0, "z").between([0], [1], [0.5])
    torch.testing.assert_close(around, subject.space.map(z, start.labels[:1]))
    assert not torch.allclose(straight, around, atol=1e-3)


def test_edges_of_a_grid_are_paths(subject: Subject) -> None:
    start = subject.start((3, 8, 5, 1), (2,))
    for way in ("w", "z"):
        route = Route(subject, start, 1.0, way)
        grid = route.corners([0.0, 0.5, 1.0], [0.0, 0.5, 1.0]).unflatten(0, (3, 3))
        torch.testing.assert_close(grid[0], route.between([0] * 3, [1] * 3, [0.0, 0.5, 1.0]))
        torch.testing.assert_close(grid[:, 2], route.between([1] * 3, [3] * 3, [0.0, 0.5, 1.0]))
