"""The latents of an autoencoder as what families work on: drawn, scaled, decoded; read or computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.config.families import CodecConfig, Coded
from pipeline.contracts import CODEC, IN_PIXELS, MOMENTS, PIXELS, Batch, Field, ImageSpec
from pipeline.errors import UserError
from pipeline.models import codecs
from pipeline.models.codecs import KLCodec, moments
from pipeline.randomness import SampleRandomness
from tests.tiny_codec import CHANNELS, FACTOR, tiny_autoencoder
from tests.tiny_families import BATCH, TINY, DigitStream, seeded_networks, tiny_config, tiny_family, tiny_game

SIDE = 16
LATENT = (2 * CHANNELS, SIDE // FACTOR, SIDE // FACTOR)
BARE = ImageSpec(SIDE, SIDE, 1, 10)
STORED = ImageSpec(
    SIDE, SIDE, 1, 10, (Field("text", "text", (4,)), Field(MOMENTS, "array", LATENT, "float16"))
)
ASKED = CodecConfig(kind="kl", factor=FACTOR, channels=CHANNELS, scale=0.5)
# What families need to be told before they play in latents.
TOLD = {
    "mlp": {"output": "linear"},
    "r3gan": {"augment_kinds": ("blit", "geometry", "cutout")},
    "stylegan2": {"ada": {"mode": "fixed", "p": 0.5, "kinds": ("blit", "geometry", "noise")}},
}


CODED = [name for name in sorted(TINY) if isinstance(tiny_config(name), Coded)]


@pytest.fixture(scope="module")
def network():
    return tiny_autoencoder()


def codec_of(network, config=ASKED, spec=BARE) -> KLCodec:
    return KLCodec(config, spec, lambda: network)


def reals(count: int = BATCH, **extra) -> Batch:
    (digits,) = DigitStream().draw(count)
    return Batch(nn.functional.interpolate(digits.images, scale_factor=2), digits.labels, extra)


def test_latents_are_drawn_from_each_images_own_distribution_and_scaled(network):
    batch = reals()
    mean, std = moments(network, batch.images)
    noise = SampleRandomness(range(BATCH)).normal(*mean.shape[1:])
    encoded = codec_of(network).encode(batch, SampleRandomness(range(BATCH)))
    assert torch.equal(encoded.images, (mean + std * noise) * 0.5)
    assert std.min() > 0
    assert encoded.extra[IN_PIXELS] is batch.images
    assert encoded.labels is batch.labels
    known = network.encode(batch.images)
    torch.testing.assert_close(mean, known.mean)
    torch.testing.assert_close(std.log() * 2, known.log_variance)


def test_stored_moments_are_the_same_latents_without_the_network(network):
    batch = reals()
    both = torch.cat(moments(network, batch.images), dim=1)

    def without():
        raise AssertionError("stored latents need no network")

    stored = reals(**{MOMENTS: both, "text": torch.zeros(BATCH, 4)})
    ours = KLCodec(ASKED, STORED, without).encode(stored, SampleRandomness(range(BATCH)))
    theirs = codec_of(network).encode(batch, SampleRandomness(range(BATCH)))
    assert torch.equal(ours.images, theirs.images)
    assert ours.extra.keys() == {"text", IN_PIXELS}
    half = reals(**{MOMENTS: both.half()})
    ours = KLCodec(ASKED, STORED, without).encode(half, SampleRandomness(range(BATCH)))
    assert ours.images.dtype == torch.float32
    torch.testing.assert_close(ours.images, theirs.images, rtol=2e-3, atol=2e-3)


def test_decoding_takes_the_scale_away_and_keeps_gradients(network):
    latents = torch.randn(3, *LATENT[1:]).repeat(1, CHANNELS, 1).view(3, CHANNELS, *LATENT[1:])
    latents.requires_grad_()
    images = codec_of(network).decode(latents)
    torch.testing.assert_close(images, network.decode(latents / 0.5))
    (gradient,) = torch.autograd.grad(images[0].square().sum(), latents)
    assert gradient[0].abs().max() > 0
    assert not gradient[1:].any()


def test_a_scale_that_nobody_has_told_is_the_autoencoders_own(network):
    config = ASKED.model_copy(update={"scale": None})
    batch, draws = reals(), SampleRandomness
    own = codec_of(network, config).encode(batch, draws(range(BATCH))).images
    torch.testing.assert_close(own, codec_of(network).encode(batch, draws(range(BATCH))).images * 1.5)
    torch.testing.assert_close(codec_of(network, config).decode(own), network.decode(own / 0.75))


@pytest.mark.parametrize("most", [1, 2 * (SIDE // FACTOR) ** 2])
def test_many_images_go_through_in_parts(network, monkeypatch, most):
    codec, batch = codec_of(network), reals(5)
    whole = codec.encode(batch, SampleRandomness(range(5))).images
    images = codec.decode(whole)
    seen: dict[str, list[int]] = {"encode": [], "decode": []}
    for name in seen:
        plain = getattr(network, name)
        monkeypatch.setattr(
            network, name, lambda x, name=name, plain=plain: (seen[name].append(len(x)), plain(x))[1]
        )
    monkeypatch.setattr(codecs, "_AT_ONCE", most)
    torch.testing.assert_close(codec.encode(batch, SampleRandomness(range(5))).images, whole)
    torch.testing.assert_close(codec.decode(whole), images)
    parts = [1] * 5 if most == 1 else [2, 2, 1]
    assert seen == {"encode": parts, "decode": parts}


def test_what_latents_are_is_known_before_the_network_is_there():
    for spec, config in ((BARE, ASKED), (STORED, CodecConfig(kind="kl"))):
        codec = codec_of(None, config, spec)
        seen = codec.latents(spec)
        assert (seen.height, seen.width, seen.channels, seen.classes) == (8, 8, CHANNELS, 10)
        assert codec.needs.fields == ((MOMENTS,) if spec is STORED else ())
        assert (tuple(codec.needs.fixtures), codec.needs.sampling) == ((CODEC,), (CODEC,))


def field(*shape: int, kind: str = "array") -> ImageSpec:
    return ImageSpec(SIDE, SIDE, 1, 0, (Field(MOMENTS, kind, shape),))


@pytest.mark.parametrize(
    ("config", "spec", "words"),
    [
        ({}, BARE, "family.codec.factor: not set"),
        ({"factor": 2}, BARE, "family.codec.channels: not set"),
        ({"factor": 4}, STORED, "family.codec.factor=4: the latents of data.path have 2; allowed: 2"),
        ({"channels": 3}, STORED, "family.codec.channels=3: the latents of data.path have 4; allowed: 4"),
        ({"factor": 3, "channels": 4}, BARE, "family.codec.factor: 3 does not divide the 16x16"),
        ({}, field(8, 8), "moments, array of .8, 8., holds no latents of images of 16x16"),
        ({}, field(7, 8, 8), "holds no latents"),
        ({}, field(8, 8, 4), "holds no latents"),
        ({}, field(8, 32, 32), "holds no latents"),
        ({}, field(8, 8, 1, kind="image"), "holds no latents"),
    ],
)
def test_settings_that_do_not_fit_the_images_are_refused(config, spec, words):
    with pytest.raises(UserError, match=words):
        codec_of(None, CodecConfig(kind="kl", **config), spec)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"factor": 4}, "has the factor 2; allowed: 4"),
        ({"channels": 3}, "has the channels of latents 4; allowed: 3"),
    ],
)
def test_another_autoencoder_than_the_one_that_was_meant_is_refused(network, config, words):
    codec = codec_of(None, ASKED.model_copy(update=config))
    with pytest.raises(UserError, match=f"fixtures.codec: its autoencoder {words}"):
        codec.needs.fixtures[CODEC](network.state_dict())
    with pytest.raises(UserError, match="channels of images 1; allowed: 3"):
        codec_of(None, ASKED, ImageSpec(16, 16, 3)).needs.fixtures[CODEC](network.state_dict())
    with pytest.raises(UserError, match="not the weights of an autoencoder"):
        codec.needs.fixtures[CODEC](nn.Linear(2, 2).state_dict())


# ---- families


@pytest.mark.parametrize("name", CODED)
def test_families_play_in_pixels_unless_they_are_told(name):
    family = tiny_family(name)
    assert family.codec is PIXELS
    assert not family.needs.fixtures


@pytest.mark.parametrize("spec", [BARE, STORED], ids=["computed", "stored"])
@pytest.mark.parametrize("name", CODED)
def test_families_play_in_latents_and_draw_pixels(network, name, spec):
    family = tiny_family(name, spec, codec=ASKED.model_dump(), **TOLD.get(name, {}))
    networks = seeded_networks(family)
    with torch.no_grad():
        for module in (networks.generator, networks.discriminator):
            for parameter in module.parameters():  # some layers begin at zero
                parameter += 0.05 * torch.randn_like(parameter)
    family.fixtures = {CODEC: network}
    game, batch = tiny_game(family, networks), reals()
    if spec is STORED:
        batch.extra[MOMENTS] = torch.cat(moments(network, batch.images), dim=1)
    shown = game.present(family.codec.encode(batch, game.randomness))
    assert shown.images.shape == (BATCH, CHANNELS, 8, 8)
    for phase in family.phases:
        parameters = [p for p in networks[phase.trains].parameters() if p.requires_grad]
        loss = phase.objective(tiny_game(family, networks), shown).loss.mean()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=phase.every > 1)
        assert all(torch.isfinite(g).all() for g in gradients if g is not None), phase.name
        if phase.every == 1:
            assert all(g.abs().max() > 0 for g in gradients if g.ndim > 1), phase.name
    images = family.sampler(networks.generator.eval(), family.schedule.at(0)).draw([1, 2]).images
    assert images.shape == (2, 1, SIDE, SIDE)


@pytest.mark.parametrize("name", CODED)
def test_what_generators_make_of_latents_has_no_bound(name):
    family = tiny_family(name, STORED, codec=ASKED.model_dump(), **TOLD.get(name, {}))
    networks = seeded_networks(family)
    with torch.no_grad():
        last = [p for p in networks.generator.parameters() if p.ndim > 1][-1]
        for parameter in networks.generator.parameters():
            if parameter.ndim == 1:
                parameter += 10.0
        last *= 100
        labels = torch.arange(BATCH) % 10
        assert tiny_game(family, networks).generate(BATCH, labels).images.abs().max() > 3


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("mlp", {"codec": {"kind": "kl"}}, "output=tanh: latents are not bounded"),
        ("r3gan", {"codec": {"kind": "kl"}}, "augment_kinds: color: latents have no colours"),
        (
            "stylegan2",
            {"codec": {"kind": "kl"}, "ada": {"mode": "adaptive"}},
            "ada.kinds: color: latents have no",
        ),
        ("dcgan", {"codec": {"scale": 2.0}}, "scale is only used with kind=kl; allowed: null"),
        ("progan", {"codec": {"kind": "kl"}}, "Extra inputs"),
    ],
)
def test_settings_of_pixels_are_refused_in_latents(name, changes, words):
    with pytest.raises(ValueError, match=words):
        tiny_family(name, **changes)
