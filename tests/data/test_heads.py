"""demo:heads: what a camera sees of ellipsoids, in closed form, and heads as functions of their numbers."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config.families import GRAFConfig
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.sources.demo_heads import HeadsSource
from pipeline.data.sources.heads.casting import FIELD_OF_VIEW, RADIUS, Ellipsoid, picture_of, rays_from
from pipeline.data.sources.heads.figure import picture
from pipeline.data.sources.heads.traits import HAIR, POLARS, head_of
from pipeline.errors import UserError
from pipeline.models.graf.camera import Camera, pixel_places

GREEN = (0.0, 1.0, 0.0)


def green(pixels: np.ndarray) -> np.ndarray:
    """Where anything else than white is."""
    return pixels[..., 0] < 255


@pytest.mark.parametrize("radius", [0.5, 1.5, 2.0])
def test_a_sphere_is_a_disc_of_the_radius_that_its_tangents_say(radius):
    """Whatever it is seen from: tan of the angle of a tangent is r / sqrt(R^2 - r^2)."""
    side = 64
    reach = math.tan(math.radians(FIELD_OF_VIEW) / 2)
    expected = radius / math.sqrt(RADIUS**2 - radius**2) / reach * side / 2
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    distance = np.hypot(x, y)
    for azimuth, polar in ((0, 90), (77, 30), (200, 140)):
        covered = green(picture_of([Ellipsoid((0, 0, 0), (radius,) * 3, GREEN)], azimuth, polar, side))
        assert covered[distance < expected - 0.75].all()
        assert not covered[distance > expected + 0.75].any()
        assert covered.sum() == pytest.approx(math.pi * expected**2, abs=4 * expected)


def test_what_is_nearer_hides_what_is_behind():
    red = Ellipsoid((2, 0, 0), (0.5,) * 3, (1, 0, 0))
    parts = [red, Ellipsoid((0, 0, 0), (1,) * 3, GREEN)]
    for order in (parts, parts[::-1]):
        front, back = (picture_of(order, azimuth, 90, 33)[16, 16] for azimuth in (0, 180))
        assert front[0] > 0 == front[1]
        assert back[0] == 0 < back[1]


def test_shading_is_lamberts():
    """At the middle of a sphere that is seen from an azimuth, where its normal is the direction to the
    camera: the cosine between that and the light, of which there is no more on the side in the shadow."""
    sphere = [Ellipsoid((0, 0, 0), (1.5,) * 3, (1, 1, 1))]
    light = math.hypot(0.5, 0.75)
    for azimuth, polar in ((0, 90), (60, 90), (180, 90), (0, 30)):
        a, p = math.radians(azimuth), math.radians(polar)
        cosine = (0.5 * math.sin(p) * math.cos(a) + 0.75 * math.cos(p)) / light
        expected = 255 * (0.45 + 0.55 * max(cosine, 0)) ** (1 / 2.2)
        middle = picture_of(sphere, azimuth, polar, 255)[127, 127]
        assert middle.tolist() == pytest.approx([expected] * 3, abs=1.5)


def test_a_face_seen_from_in_front_is_symmetric():
    head = replace(head_of(0, 5), azimuth=0.0, polar=80.0)
    pixels = picture(head, 48)
    assert np.array_equal(pixels, pixels[:, ::-1])
    aside = picture(replace(head, azimuth=40.0), 48)
    assert not np.array_equal(aside, aside[:, ::-1])


def test_the_mirrored_azimuth_is_the_mirrored_picture():
    head = head_of(3, 1)
    for azimuth in (25.0, 90.0, 160.0):
        left, right = (picture(replace(head, azimuth=sign * azimuth), 32) for sign in (1, -1))
        assert np.abs(left[:, ::-1].astype(int) - right).max() <= 1  # rounding of cosines


def test_from_behind_there_is_hair_and_from_in_front_a_face():
    head = replace(head_of(0, 5), polar=85.0, hair=(0.0, 1.0, 0.0), skin=(1.0, 0.0, 0.0))
    front, back = (picture(replace(head, azimuth=azimuth), 48).astype(int) for azimuth in (0.0, 180.0))
    hair, skin = (
        [int((image[..., a] > image[..., b] + 60).sum()) for image in (front, back)]
        for a, b in ((1, 0), (0, 1))
    )
    assert hair[1] > 2 * hair[0]
    assert skin[0] > 2 * skin[1]


def test_heads_are_functions_of_their_numbers():
    first, again = HeadsSource(5, 7, 32), HeadsSource(3, 7, 32)
    other = HeadsSource(3, 8, 32)
    for number in range(3):
        ours, theirs = first.picture(number), again.picture(number)
        assert np.array_equal(np.asarray(ours.image), np.asarray(theirs.image))
        assert np.array_equal(ours.extra["pose"], theirs.extra["pose"])
        assert not np.array_equal(ours.extra["pose"], other.picture(number).extra["pose"])
    assert list(first.listing.labels[:3]) == list(again.listing.labels)


def test_poses_are_uniform_on_the_sphere():
    heads = [head_of(1, number) for number in range(2000)]
    azimuths = np.sort([head.azimuth for head in heads])
    heights = np.sort(np.cos(np.radians([head.polar for head in heads])))
    top, bottom = (math.cos(math.radians(angle)) for angle in POLARS)
    even = (np.arange(2000) + 0.5) / 2000
    assert np.abs((azimuths + 180) / 360 - even).max() < 0.04  # Kolmogorov's bound at 0.3%
    assert np.abs((heights - bottom) / (top - bottom) - even).max() < 0.04
    assert {head.hair_name for head in heads} == set(HAIR)


def test_the_camera_is_that_of_the_radiance_fields():
    """So that a pose means the same in data and in samples."""
    origin, directions = rays_from(33.0, 70.0, 8)
    pose = torch.tensor([[math.radians(33.0), math.radians(70.0), RADIUS]])
    camera = Camera(GRAFConfig(field_of_view=FIELD_OF_VIEW, radius=(RADIUS, RADIUS)))
    rays = camera.rays(pose, pixel_places(8), 8)
    np.testing.assert_allclose(rays.origins[0].numpy(), origin, atol=1e-5)
    np.testing.assert_allclose(rays.directions[0].numpy(), directions, atol=1e-5)


def test_prepared_heads_have_their_poses_beside_them(tmp_path: Path):
    prepare("demo:heads", tmp_path, Asked(resolution=16, count=6, seed=2), workers=1)
    index = ShardIndex.read(tmp_path)
    assert [field.name for field in index.spec.fields] == ["pose"]
    with ShardReader(index) as reader:
        for n in range(6):
            sample = reader.read(0, n)
            head = head_of(2, int(sample.meta["source"].removeprefix("head-")))
            pose = np.load(io.BytesIO(sample.fields["pose"][1]))
            assert pose.tolist() == pytest.approx([head.azimuth, head.polar])
            assert index.classes[sample.label] == head.hair_name == sample.meta["hair"]


@pytest.mark.parametrize(("side", "count", "words"), [(8, 5, "16 to 1024"), (32, 0, "1 to 10000000")])
def test_others_are_refused_in_a_line(side, count, words):
    with pytest.raises(UserError, match=rf"demo:heads: .*{words}.* are allowed"):
        HeadsSource(count, 0, side)
