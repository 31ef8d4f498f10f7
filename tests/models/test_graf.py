"""GRAF's camera, patches, field, rendering and schedule, against closed forms and plain programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.contracts import Batch, ImageSpec
from pipeline.models.graf.camera import Camera, pixel_places
from pipeline.models.graf.field import RadianceField, encoded
from pipeline.models.graf.patches import cut, draw_places
from pipeline.models.graf.rendering import composite, depths_of, weights_of
from pipeline.randomness import SampleRandomness
from tests.models.test_every_family import stir
from tests.tiny_families import (
    seeded_networks,
    tiny_config,
    tiny_family,
)

RGB = ImageSpec(8, 8, 3)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def generator_of(spec: ImageSpec = RGB, **changes):
    family = tiny_family("graf", spec, **changes)
    networks = seeded_networks(family)
    stir(networks)
    return family, networks.generator.eval().requires_grad_(False)


# Rendering.


@pytest.mark.parametrize("density", [0.0, 0.3, 2.0])
def test_a_slab_of_even_density_lets_through_what_beer_and_lambert_say(density):
    """Nothing lies at the last point, behind which rays go on for ever."""
    depths = depths_of(torch.tensor([2.0]), torch.tensor([5.0]), 64)
    densities = torch.full((1, 1, 64), density)
    densities[..., -1] = 0
    weights = weights_of(densities, depths, torch.tensor([[1.5]]))
    assert float(weights.sum()) == pytest.approx(1 - math.exp(-density * 3 * 1.5), abs=1e-5)
    colours = torch.tensor([0.2, 0.9]).expand(1, 1, 64, 2)
    through = math.exp(-density * 3 * 1.5)
    for background in (0.0, 1.0):
        expected = [c * (1 - through) + background * through for c in (0.2, 0.9)]
        assert composite(colours, weights, background).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_an_opaque_plane_hides_what_is_behind_it():
    densities = uniform(2, 3, 10)
    densities[..., :4] = 0
    densities[..., 4] = 1e6
    colours = uniform(2, 3, 10, 3, seed=2)
    weights = weights_of(densities, torch.linspace(1, 2, 10)[None, None], torch.ones(2, 3))
    torch.testing.assert_close(composite(colours, weights, 1.0), colours[:, :, 4])


def test_weights_are_those_of_a_loop_over_points():
    """Mildenhall et al. 2020, eq. 3, in float64, point by point; shares and what is left add up to 1."""
    count = 12
    densities, lengths = 4 * uniform(2, 5, count), 1 + uniform(2, 5, seed=3)
    densities[0, 0, -1] = 0
    depths = (1 + uniform(2, 5, count, seed=2)).sort(dim=2).values
    weights = weights_of(densities, depths, lengths)
    for n, r in np.ndindex(2, 5):
        left = 1.0
        for i in range(count):
            step = float(depths[n, r, i + 1] - depths[n, r, i]) if i + 1 < count else 1e10
            stops = 1 - math.exp(-float(densities[n, r, i]) * step * float(lengths[n, r]))
            assert float(weights[n, r, i]) == pytest.approx(left * stops, abs=1e-5)
            left *= 1 - stops
        assert float(weights[n, r].sum()) == pytest.approx(1 - left, abs=1e-5)


def test_points_lie_each_in_its_own_part_of_a_ray():
    near, far = torch.tensor([2.0, 1.0]), torch.tensor([4.0, 5.0])
    even = depths_of(near, far, 5)
    torch.testing.assert_close(even[:, 0], torch.stack([torch.linspace(2, 4, 5), torch.linspace(1, 5, 5)]))
    drawn = depths_of(near, far, 5, uniform(2, 2000, 5))
    assert (drawn.diff(dim=2) >= 0).all()
    edges = torch.tensor([2.0, 2.25, 2.75, 3.25, 3.75, 4.0])
    assert (drawn[0] >= edges[:-1]).all()
    assert (drawn[0] <= edges[1:]).all()
    torch.testing.assert_close(drawn[0].mean(0), (edges[1:] + edges[:-1]) / 2, atol=0.02, rtol=0)


# The camera.


def test_poses_are_uniform_on_the_sphere_and_begin_in_its_middle():
    camera = Camera(
        tiny_config("graf", azimuth=[-90, 45], polar=[60, 120], radius=[8, 9], near=6.0, far=11.0)
    )
    poses = camera.pose(normal(20_000, 3))
    eighths = torch.linspace(0, 1, 9)
    for values, first, last in (
        (poses[:, 0], -math.pi / 2, math.pi / 4),
        (poses[:, 1].cos(), -0.5, 0.5),
        (poses[:, 2], 8.0, 9.0),
    ):
        found = (torch.quantile(values, eighths) - first) / (last - first)
        torch.testing.assert_close(found, eighths, atol=0.02, rtol=0)
    middle = camera.pose(torch.zeros(1, 3))[0]
    assert middle.tolist() == pytest.approx([math.radians(-22.5), math.pi / 2, 8.5])


def test_rays_meet_the_origin_in_the_middle_and_the_angle_of_view_at_the_edges():
    camera = Camera(tiny_config("graf", field_of_view=50.0))
    poses = camera.pose(normal(6, 3))
    side = 9
    rays = camera.rays(poses, pixel_places(side), side)
    middle = rays.directions[:, side * side // 2]
    torch.testing.assert_close(rays.origins + poses[:, 2:] * middle, torch.zeros(6, 3), atol=1e-5, rtol=0)
    edge = side / (side - 1)  # outer edges of the outermost pixels
    ends = camera.rays(poses, torch.tensor([[-edge, 0.0], [edge, 0.0], [0.0, -edge], [0.0, edge]]), side)
    unit = ends.directions / ends.directions.norm(dim=2, keepdim=True)
    for first, second in ((0, 1), (2, 3)):
        angles = (unit[:, first] * unit[:, second]).sum(1).acos() * (180 / math.pi)
        torch.testing.assert_close(angles, torch.full((6,), 50.0), atol=1e-3, rtol=0)


def test_left_right_and_up_are_what_they_seem():
    """At azimuth 0 the camera stands on the x axis; y is to its right, z upwards. From above, it looks
    down."""
    camera = Camera(tiny_config("graf"))
    level = camera.rays(torch.tensor([[0.0, math.pi / 2, 10.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]), 8)
    torch.testing.assert_close(level.origins, torch.tensor([[10.0, 0, 0]]), atol=1e-5, rtol=0)
    right, up = level.directions[0]
    assert right[1] > 0.1
    assert up[2] > 0.1
    assert right[0] == up[0] == pytest.approx(-1)
    above = camera.rays(torch.tensor([[0.0, 0.0, 10.0]]), torch.zeros(1, 2), 8)
    torch.testing.assert_close(above.directions[0, 0], torch.tensor([0.0, 0, -1]), atol=1e-6, rtol=0)


def test_rays_begin_and_end_at_the_same_places_of_the_scene_for_any_radius():
    camera = Camera(tiny_config("graf", radius=[9, 10]))
    rays = camera.rays(torch.tensor([[0.3, 1.0, 9.0], [0.3, 1.0, 10.0]]), torch.zeros(1, 2), 8)
    for depth in (rays.near, rays.far):
        places = rays.origins + rays.directions[:, 0] * depth[:, None]
        torch.testing.assert_close(places[0], places[1])
    assert rays.near.tolist() == pytest.approx([6.5, 7.5])


# Patches.


def test_a_patch_of_the_whole_image_is_the_image():
    images = normal(3, 2, 8, 8)
    places = draw_places(SampleRandomness(range(3)), 8, 1.0, 1.0)
    torch.testing.assert_close(cut(images, places), images, atol=1e-5, rtol=0)


def test_patches_show_what_lies_at_their_places():
    """A ramp is its own bilinear interpolation, so that a patch of it says where its rays are."""
    places = draw_places(SampleRandomness(range(500)), 4, 0.25, 0.75)
    ramp = pixel_places(16).T.reshape(1, 2, 16, 16).expand(500, -1, -1, -1)
    torch.testing.assert_close(cut(ramp, places).flatten(2).transpose(1, 2), places, atol=1e-5, rtol=0)
    first, last = places[:, 0], places[:, -1]
    scale, middle = (last - first) / 2, (last + first) / 2
    torch.testing.assert_close(scale[:, 0], scale[:, 1])
    assert places.abs().max() <= 1 + 1e-6
    assert 0.25 <= scale.min() < 0.27 < 0.73 < scale.max() <= 0.75 + 1e-6
    shift = middle / (1 - scale)
    eighths = torch.linspace(0, 1, 9)
    for values in (shift[:, 0], shift[:, 1], (scale[:, 0] - 0.5) * 4):
        torch.testing.assert_close(torch.quantile(values, eighths), 2 * eighths - 1, atol=0.12, rtol=0)
    assert abs(float(torch.corrcoef(shift.T)[0, 1])) < 0.15


def test_reals_and_fakes_are_seen_by_grids_of_the_same_law():
    """The places that the generator is asked for, beside those that reals are cut at."""
    family = tiny_family("graf", RGB)
    networks = seeded_networks(family)
    asked = []

    def note(codes, places, **rest):
        asked.append(places)
        return torch.zeros(len(codes), 64, 3)

    networks.generator.see = note
    game = family.game(networks, family.schedule.at(0), SampleRandomness(range(300)))
    game.generate(300)
    ramp = pixel_places(8).T.reshape(1, 2, 8, 8).expand(300, -1, -1, -1)
    other = family.game(networks, family.schedule.at(0), SampleRandomness(range(300, 600)))
    seen = other.present(Batch(ramp)).images.flatten(2).transpose(1, 2)
    for part in (lambda x: x[:, 0, 0], lambda x: x[:, 0, 1], lambda x: x[:, -1, 0] - x[:, 0, 0]):
        ours, theirs = (part(x).sort().values for x in (asked[0], seen))
        assert float((ours - theirs).abs().mean()) < 0.06


# The field.


def test_encodings_are_octaves_of_sines_and_cosines():
    x = torch.tensor([[0.3, -1.2]])
    expected = [0.3, -1.2]
    for octave in range(3):
        for wave in (math.sin, math.cos):
            expected += [wave(2**octave * value) for value in (0.3, -1.2)]
    torch.testing.assert_close(encoded(x, 3), torch.tensor([expected]))


def plain_field(field: RadianceField, points, directions, shape, appearance):
    """The same for one image, with every input of a layer side by side."""
    rays, samples = points.shape[:2]
    places = torch.cat([encoded(points, field.octaves[0]), shape.expand(rays, samples, -1)], dim=2)
    x = places
    for number, layer in enumerate(field.layers):
        x = torch.relu(layer(torch.cat([places, x], dim=2) if number == 5 else x))
    views = encoded(directions, field.octaves[1])[:, None].expand(-1, samples, -1)
    inputs = [field.feature(x), views, appearance.expand(rays, samples, -1)]
    colours = torch.sigmoid(field.colour(torch.relu(field.view(torch.cat(inputs, dim=2)))))
    return field.density(x)[..., 0], colours


@pytest.mark.parametrize("layers", [1, 5, 7])
def test_a_field_is_what_it_is_with_all_inputs_side_by_side(layers):
    torch.manual_seed(0)
    field = RadianceField(tiny_config("graf", field_layers=layers), 3, 6, 5)
    points, directions = normal(2, 7, 4, 3), normal(2, 7, 3, seed=2)
    shape, appearance = normal(2, 6, seed=3), normal(2, 5, seed=4)
    density, colours = field(points, directions, shape, appearance)
    for i in range(2):
        expected = plain_field(field, points[i], directions[i], shape[i], appearance[i])
        torch.testing.assert_close(density[i], expected[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(colours[i], expected[1], atol=1e-5, rtol=1e-5)


def test_neither_appearance_nor_direction_moves_matter():
    _, generator = generator_of()
    points = normal(1, 5, 4, 3)
    shape = normal(1, 6, seed=3)
    first, second = (
        generator.field(points, normal(1, 5, 3, seed=k), shape, normal(1, 5, seed=k + 10)) for k in (1, 2)
    )
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1])
