"""Path lengths: closed forms in made-up spaces; LPIPS: torch-fidelity's with the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch_fidelity import sample_similarity_lpips as theirs
from torchvision.models.vgg import cfgs, make_layers

from pipeline.errors import UserError
from pipeline.evaluation.arithmetic.paths import Steps, path_length
from pipeline.evaluation.features.lpips import Perceptual, as_perceived
from pipeline.evaluation.features.weights import PerceptualWeights
from pipeline.latents import Latents, LatentSpace, lerp, slerp
from tests.evaluation.perceptual import random_perceptual

SIZE = 12


class PlainSpace:
    """z and w are the pixels of an image of 2x2 RGB."""

    device, classes, layers, truncates = torch.device("cpu"), 0, 1, True

    def draw(self, seeds: Sequence[int], **_: Any) -> Any:
        raise AssertionError

    def latents(self, seeds: Sequence[int], *, classes: Any = None, truncation: float = 1.0) -> Latents:
        drawn = [torch.randn(SIZE, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return Latents(torch.stack(drawn), None)

    def map(self, z: torch.Tensor, labels: Any, *, truncation: float = 1.0) -> torch.Tensor:
        return z[:, None]

    def synthesise(self, codes: torch.Tensor) -> torch.Tensor:
        return codes[:, 0].double().view(-1, 3, 2, 2) / 127.5 - 1  # so that the distance sees the code


def squared(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first - second).square().sum(dim=(1, 2, 3))


def steps(which: Any, sampling: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    space = PlainSpace()
    assert isinstance(space, LatentSpace)
    seen: list[torch.Tensor] = []
    space.map = lambda z, labels, truncation=1.0: (seen.append(z), z[:, None].double())[1]  # type: ignore[method-assign]
    found = Steps(space, which, sampling, False, squared).lengths(range(40), None)  # type: ignore[arg-type]
    return found, seen


@pytest.mark.parametrize("sampling", ["end", "full"])
def test_a_straight_step_has_the_length_of_the_whole_line(sampling: str) -> None:
    found, seen = steps("w", sampling)
    expected = (seen[0] - seen[1]).double().square().sum(1)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_a_step_on_a_circle_is_its_angle() -> None:
    a, b = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = b / b.norm(dim=1, keepdim=True) * a.norm(dim=1, keepdim=True)
    at = torch.linspace(0, 1, 30)
    points = [slerp(a, b, at.double() + step) for step in (0, 1e-4)]
    angle = torch.nn.functional.cosine_similarity(a, b).acos()
    expected = (a.norm(dim=1) * angle).square()
    assert ((points[1] - points[0]).square().sum(1) / 1e-8).tolist() == pytest.approx(
        expected.tolist(), rel=1e-3
    )
    torch.testing.assert_close(slerp(a, b, torch.zeros(30)), a)
    torch.testing.assert_close(slerp(a, b, torch.ones(30)), b)
    torch.testing.assert_close(points[0].norm(dim=1), a.norm(dim=1))
    torch.testing.assert_close(lerp(a, b, torch.full((30,), 0.25)), 0.75 * a + 0.25 * b)


def test_each_seed_has_its_path_whatever_the_block() -> None:
    space = PlainSpace()
    walk = Steps(space, "z", "full", False, squared)  # type: ignore[arg-type]
    whole = walk.lengths(range(10), None)
    parts = [walk.lengths(range(0, 3), None), walk.lengths(range(3, 10), None)]
    assert torch.equal(torch.cat(parts), whole)
    assert len(set(whole.tolist())) == 10


def test_the_lowest_and_highest_percent_are_left_out() -> None:
    values = torch.cat([torch.linspace(1, 2, 998), torch.tensor([1e9, -1e9])]).double()
    found = path_length(values)
    assert found["value"] == pytest.approx(1.5, rel=1e-2)
    assert found["kept"] < 1000
    inside = np.sort(values.numpy())[9:991]
    assert found["value"] == pytest.approx(inside.mean(), rel=1e-3)


@pytest.mark.parametrize("crop", [False, True])
def test_what_the_distance_sees(crop: bool) -> None:
    side = 512
    image = torch.zeros(1, 1, side, side) - 1
    image[:, :, 192:448, 128:384] = 1  # where a crop of FFHQ's lies: 3/8 to 7/8 down, 2/8 to 6/8 across
    walk = Steps(PlainSpace(), "z", "end", crop, squared)  # type: ignore[arg-type]
    seen = walk._seen(image)
    assert seen.shape == (1, 3, 256, 256)
    assert float(seen.mean()) == pytest.approx(255 if crop else 255 / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "seen"),
    [(256, 256, (256, 256)), (511, 511, (511, 511)), (1024, 512, (512, 256)), (512, 1024, (256, 512))],
)
def test_the_shorter_side_decides_how_images_are_reduced(height: int, width: int, seen: tuple) -> None:
    assert as_perceived(torch.zeros(1, 1, height, width)).shape == (1, 3, *seen)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> PerceptualWeights:
    return random_perceptual(tmp_path_factory.mktemp("lpips"))


def test_lpips_is_torch_fidelitys(weights: PerceptualWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = make_layers(cfgs["D"], batch_norm=False)
    state = torch.load(weights.vgg, weights_only=True)  # type: ignore[arg-type]
    layers.load_state_dict({name.removeprefix("features."): value for name, value in state.items()})
    for module in layers:  # in place it would change what it has given before
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    monkeypatch.setattr(theirs, "torchvision_load_pretrained_vgg16", lambda: SimpleNamespace(features=layers))
    lins = torch.load(weights.lpips, weights_only=True)  # type: ignore[arg-type]
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: lins)
    monkeypatch.setattr(
        theirs.SampleSimilarityLPIPS,
        "load_state_dict",
        lambda self, s: torch.nn.Module.load_state_dict(self, s),
    )
    reference = theirs.SampleSimilarityLPIPS("lpips")
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(3, 3, 40, 32, generator=generator) * 255 for _ in range(2))
    ours = Perceptual(weights)(first, second)
    assert ours.tolist() == pytest.approx(reference(first, second).flatten().tolist(), rel=1e-5)
    assert float(Perceptual(weights)(first, first).abs().max()) == 0


def test_weights_of_something_else(weights: PerceptualWeights) -> None:
    assert weights.vgg is not None
    swapped = PerceptualWeights(weights.lpips, weights.vgg, weights.lpips_sha256, weights.vgg_sha256)
    with pytest.raises(UserError, match=r"VGG16 weights: features\.0\.weight is missing or of another shape"):
        Perceptual(swapped)
    with pytest.raises(UserError, match="VGG16 weights: sha256 is"):
        Perceptual(PerceptualWeights(Path(str(weights.vgg))))
