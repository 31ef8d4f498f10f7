"""A family in a codec's latents: everything that people see is in pixels, and with an orthogonal codec and
gradient descent all of it is that of the same family in pixels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from safetensors.torch import load_file

from launch.assembly.judging import Judges
from launch.assembly.sampling import sampler_of
from launch.main import main
from pipeline.contracts import PIXELS, Batch, ImageSpec
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from pipeline.evaluation.settings import Settings
from pipeline.latents import StyledSpace
from pipeline.models import registry
from pipeline.randomness import SampleRandomness
from pipeline.storage.snapshots import open_snapshot
from tests.tiny_families import (
    GIVEN,
    PLAIN,
    TINY,
    DigitStream,
    seeded_networks,
    tiny_config,
    tiny_game,
    tiny_trainer,
)
from tests.toy_codec import Folded, InLatents, InPixels

SIDE, COUNT = 16, 12
PLAIN16 = ImageSpec(SIDE, SIDE, 1)
EVALUATION = ["--count", 32, "--metrics", "swd,msssim", "--device", "cpu"]
DIRECTION = ["--plus", "3-5", "--minus", "8,9", "--steps", 3, "--seeds", 3]
PIXELS_ALONE = {"autoencoder", "began", "graf", "pixelcnn", "progan", "stylegan3", *GIVEN}
KINDS = {"pixels": InPixels, "latents": InLatents}
FAMILY = {
    "name": "mlp",
    "z_dim": 8,
    "width": 16,
    "layers": 2,
    "output": "linear",
    "loss": "non_saturating",
    "r1_gamma": 0.1,
    "gp_weight": 0.1,
    "gp_every": 2,
    "generator_rate": 2.0,
    "discriminator_rate": 0.2,
    "ema_half_life_images": 40,
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "shards"
    prepare("demo:digits", out, Asked(resolution=SIDE, channels=1, count=60))
    return out


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    """A run of each kind by the command that people give, and what all other commands make of it."""
    root = tmp_path_factory.mktemp("codec")
    config = {
        "seed": 5,
        "length": {"images": 160},
        "data": {"path": str(shards), "workers": 0, "labels": False},
        "batch": {"size": 8},
        "family": FAMILY,
        "checkpoints": {"every_images": 80},
        "snapshots": {"every_images": 160, "grid": 8},
        "report": {"every_images": 80, "tensorboard": False},
    }
    (root / "c.yaml").write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in KINDS.items():
            patch.setitem(registry.FAMILIES, "mlp", kind)
            run = root / name
            commands = [
                ["train", root / "c.yaml", "--run", run],
                ["generate", run, run / "made", "--count", COUNT, "--device", "cpu"],
                ["generate", run, run / "grid.png", "--count", COUNT, "--grid", "--device", "cpu"],
                ["evaluate", run, "--data", shards, *EVALUATION],
                ["explore", run, "interpolate", run / "between.png", "--seeds", "0-2", "--steps", "3"],
                ["explore", run, "direction", run / "way.png", *DIRECTION],
            ]
            for words in commands:
                assert main(list(map(str, words))) == 0, words
    return {name: root / name for name in KINDS}


def made(run: Path) -> torch.Tensor:
    """The images of its generated shards, uint8 [COUNT, 1, SIDE, SIDE]."""
    return torch.cat([images for images, _, _ in read_uint8(ShardIndex.read(run / "made"))])


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.int64)


def test_networks_see_latents_and_people_see_pixels(runs):
    snapshots = {name: open_snapshot(run) for name, run in runs.items()}
    assert all(snapshot.spec == PLAIN16 for snapshot in snapshots.values())
    weights = {name: snapshot.weights() for name, snapshot in snapshots.items()}
    assert not torch.allclose(weights["pixels"]["out.weight"], weights["latents"]["out.weight"], atol=1e-3)
    for name in set(weights["pixels"]) - {"out.weight", "out.bias"}:
        torch.testing.assert_close(weights["latents"][name], weights["pixels"][name], rtol=1e-3, atol=1e-4)
    folded = Folded(1).folded(weights["pixels"]["out.weight"].T.reshape(-1, 1, SIDE, SIDE)).flatten(1).T
    torch.testing.assert_close(weights["latents"]["out.weight"], folded, rtol=1e-3, atol=1e-4)


def test_training_moved_the_weights(runs):
    """Else all that is compared here would be equal for free."""
    first, last = (
        open_snapshot(runs["latents"] / "snapshots" / at) for at in ("000000000000", "000000000160")
    )
    moved = (first.weights()["out.weight"] - last.weights()["out.weight"]).norm()
    assert moved > 0.05 * first.weights()["out.weight"].norm()


@pytest.mark.parametrize("name", ["grid.png", "samples/000000000160.png", "between.png", "way.png"])
def test_every_picture_is_the_one_of_pixels(runs, name):
    ours, theirs = (picture(runs[kind] / name) for kind in ("latents", "pixels"))
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1
    assert theirs.std() > 1


def test_generated_shards_are_those_of_pixels(runs):
    images = {name: made(run) for name, run in runs.items()}
    assert images["latents"].shape == images["pixels"].shape == (COUNT, 1, SIDE, SIDE)
    assert (images["latents"].int() - images["pixels"].int()).abs().max() <= 1


def test_figures_are_those_of_pixels(runs):
    def figures(run: Path) -> dict[str, float]:
        found = json.loads((run / "metrics" / "000000000160.json").read_text())["metrics"]
        return {name: metric["value"] for name, metric in found.items()}

    ours, theirs = figures(runs["latents"]), figures(runs["pixels"])
    assert ours.keys() == theirs.keys() == {"swd", "msssim"}
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-2, abs=1e-3), name


def test_a_direction_in_latent_space_is_the_same(runs):
    ours, theirs = (load_file(runs[kind] / "way.safetensors") for kind in ("latents", "pixels"))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-2, atol=1e-2)


def test_log_lines_are_those_of_pixels(runs):
    def lines(run: Path) -> list[dict[str, float]]:
        return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]

    for ours, theirs in zip(lines(runs["latents"]), lines(runs["pixels"]), strict=True):
        for name in ("loss/generator", "loss/discriminator", "penalty/r1", "penalty/gradient", "logits/real"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-2, abs=1e-3), name


def test_a_discriminator_in_latents_filters_pixels(runs):
    """The score of an image is that of its latents, and the same whoever is judged beside it."""
    scores = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in KINDS.items():
            patch.setitem(registry.FAMILIES, "mlp", kind)
            snapshot = open_snapshot(runs[name])
            judges = Judges(snapshot, torch.device("cpu"), runs[name], None, Settings((), batch_size=1))
            score, _ = judges._scorer()
            scores[name] = score(made(runs["pixels"]), None)
    torch.testing.assert_close(scores["latents"], scores["pixels"], rtol=1e-3, atol=1e-3)


def test_a_snapshot_of_latents_draws_pixels(runs, monkeypatch):
    monkeypatch.setitem(registry.FAMILIES, "mlp", InLatents)
    sampler = sampler_of(open_snapshot(runs["latents"]), torch.device("cpu"))
    images = sampler.draw([3, 4]).images
    assert images.shape == (2, 1, SIDE, SIDE)
    codes = sampler.map(*sampler.latents([3, 4]))
    assert torch.equal(sampler.synthesise(codes[1:]), images[1:])
    codes = codes.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(sampler.synthesise(codes).square().sum(), codes)
    assert gradient.abs().max() > 0


# ---- every family that may play in latents


class Halved:
    """Keeps one of four pixels' worth: any family's networks take what it makes of grey images."""

    def latents(self, pixels):
        return replace(pixels, height=pixels.height // 2, width=pixels.width // 2)

    def encode(self, reals, randomness):
        return replace(reals, images=F.avg_pool2d(reals.images, 2))

    def decode(self, latents):
        return F.interpolate(latents, scale_factor=2, mode="nearest")


@pytest.mark.parametrize("name", sorted(set(TINY) - PIXELS_ALONE))
def test_any_family_plays_in_latents_and_draws_pixels(name):
    known = registry.FAMILIES[name]
    family = type("InHalves", (known,), {"codec": Halved()})(tiny_config(name), PLAIN16, batch_size=8)
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(8)
    reals = Batch(Halved().decode(reals.images))
    assert family.schedule.at(0).resolution == 16  # of the data, which the stream draws
    game = tiny_game(family, networks)
    shown = family.codec.encode(reals, game.randomness)
    assert all(torch.isfinite(phase.objective(game, shown).loss).all() for phase in family.phases)
    sampler = family.sampler(networks.generator.eval())
    images = sampler.draw([1, 2]).images
    assert images.shape == (2, 1, 16, 16)
    assert torch.equal(images, Halved().decode(images[:, :, ::2, ::2]))
    if isinstance(sampler, StyledSpace):
        codes = sampler.map(*sampler.latents([1, 2]))
        made = sampler.synthesise_with(codes, sampler.noise_maps())
        torch.testing.assert_close(made, images, rtol=1e-4, atol=1e-5)


# ---- the codec


def test_the_toy_is_orthogonal():
    codec, images = Folded(3), torch.randn(4, 3, 8, 6)
    latents = codec.encode(Batch(images), SampleRandomness(range(4))).images
    assert latents.shape == (4, 12, 4, 3)
    assert codec.latents(ImageSpec(8, 6, 3, 7)) == ImageSpec(4, 3, 12, 7)
    torch.testing.assert_close(codec.decode(latents), images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latents.flatten(1).norm(dim=1), images.flatten(1).norm(dim=1))
    assert not torch.allclose(latents[:, :3], images[:, :, ::2, ::2])


def test_pixels_stay_what_they_are():
    reals = Batch(torch.randn(2, 1, 4, 4))
    assert PIXELS.encode(reals, SampleRandomness(range(2))) is reals
    assert PIXELS.decode(reals.images) is reals.images
    assert PIXELS.latents(PLAIN) is PLAIN


def test_images_that_a_codec_cannot_take_are_refused():
    with pytest.raises(UserError, match="multiples of 2"):
        InLatents(tiny_config("mlp", output="linear"), ImageSpec(7, 8, 1), batch_size=8)


def test_a_codec_that_draws_gets_the_samples_own_numbers():
    """In any split; and what it draws is drawn before a turn is computed, as all chance is."""
    seen = []

    class Noisy(Folded):
        def encode(self, reals, randomness):
            noise = randomness.normal(1, reals.images.shape[2], reals.images.shape[3])
            seen.append(noise)
            return super().encode(Batch(reals.images + 0.1 * noise, reals.labels), randomness)

    def moments(micro):
        seen.clear()
        family = InLatents(tiny_config("mlp", output="linear", drift_weight=0.1), PLAIN, batch_size=8)
        family.codec = Noisy(1)
        trainer = tiny_trainer(family, micro=micro)
        for _ in range(2):
            trainer.step()
        return trainer.networks.generator.state_dict(), list(seen)

    whole, drawn = moments(None)
    split, parts = moments(4)
    assert len(parts) == 2 * len(drawn)
    for i, numbers in enumerate(drawn):
        together = torch.stack([parts[2 * i], parts[2 * i + 1]], dim=1).flatten(0, 1)
        assert torch.equal(together, numbers)
    for name, value in whole.items():
        torch.testing.assert_close(split[name], value, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter():
    family = InLatents(tiny_config("mlp", output="linear"), PLAIN, batch_size=8)
    networks = seeded_networks(family)
    (reals,) = DigitStream(PLAIN).draw(8)
    game = tiny_game(family, networks)
    reals = game.present(family.codec.encode(reals, game.randomness))
    for phase in family.phases:
        parameters = list(networks[phase.trains].parameters())
        loss = phase.objective(game, reals).loss.mean()
        assert all(g.abs().max() > 0 for g in torch.autograd.grad(loss, parameters) if g.ndim > 1)
