"""The autoencoder's networks: their size, what each output sees, its distributions, others' names."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.autoencoder import Autoencoder, Moments, Shape, autoencoder_from, moments_of, shape_of
from pipeline.models.autoencoder.layers import Attention, Halving
from pipeline.models.autoencoder.names import COMPVIS, DIFFUSERS, Names

SMALL = Shape(3, 4, (32, 32, 64), blocks=1)


@pytest.fixture(scope="module")
def small() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(SMALL)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_f8_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        network = Autoencoder(Shape(3, 4, (128, 256, 512, 512)))
    assert round(count(network.encoder) / 1e6, 2) == 34.16
    assert round(count(network.decoder) / 1e6, 2) == 49.49
    assert round(count(network) / 1e6, 2) == 83.65
    assert network.shape.factor == 8


def test_it_encodes_and_decodes_images_of_any_size_that_its_factor_divides(small: Autoencoder) -> None:
    for height, width in ((16, 16), (8, 24)):
        moments = small.encode(torch.zeros(2, 3, height, width))
        assert moments.mean.shape == moments.log_variance.shape == (2, 4, height // 4, width // 4)
        assert small.decode(moments.mean).shape == (2, 3, height, width)


def test_an_image_depends_on_its_own_latents_alone(small: Autoencoder) -> None:
    latents = torch.randn(3, 4, 4, 4)
    with torch.no_grad():
        alone = torch.cat([small.decode(each[None]) for each in latents])
        torch.testing.assert_close(small.decode(latents), alone, atol=1e-5, rtol=1e-5)


def test_halving_sees_pixels_to_the_right_and_below() -> None:
    layer = Halving(1)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for row, column in ((0, 0), (1, 2), (3, 3)):
        x = torch.zeros(1, 1, 8, 8, requires_grad=True)
        layer(x)[0, 0, row, column].backward()
        seen = {tuple(place) for place in x.grad[0, 0].nonzero().tolist()}  # type: ignore[index]
        rows, columns = range(2 * row, min(2 * row + 3, 8)), range(2 * column, min(2 * column + 3, 8))
        assert seen == {(i, j) for i in rows for j in columns}


def test_attention_is_softmax_over_all_positions_as_written_out() -> None:
    torch.manual_seed(1)
    layer = Attention(32, 32)
    x = torch.randn(2, 32, 3, 4)

    def sums(conv: nn.Conv2d, h: Tensor) -> Tensor:
        return torch.einsum("oc,nchw->nohw", conv.weight[:, :, 0, 0], h) + conv.bias[:, None, None]  # type: ignore[index]

    grouped = x.view(2, 32, 12)
    h = (grouped - grouped.mean(2, keepdim=True)) / (grouped.var(2, correction=0, keepdim=True) + 1e-6).sqrt()
    query, key, value = (
        sums(conv, h.view_as(x)).flatten(2) for conv in (layer.query, layer.key, layer.value)
    )
    weights = (torch.einsum("ncq,nck->nqk", query, key) / math.sqrt(32)).softmax(dim=2)
    found = torch.einsum("nqk,nck->ncq", weights, value).view_as(x)
    torch.testing.assert_close(layer(x), x + sums(layer.out, found), atol=1e-5, rtol=1e-5)


def test_the_divergence_is_that_of_torchs_distributions() -> None:
    torch.manual_seed(2)
    moments = Moments(torch.randn(3, 2, 2, 2), torch.randn(3, 2, 2, 2))
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(moments.mean, moments.std), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(moments.kl(), theirs.flatten(1).sum(dim=1))


def test_latents_are_drawn_with_their_mean_and_deviation() -> None:
    moments = Moments(torch.full((4000, 1, 1, 1), 3.0), torch.full((4000, 1, 1, 1), 2 * math.log(0.5)))
    latents = moments.sample(torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(0)))
    assert abs(latents.mean() - 3) < 0.03
    assert abs(latents.std() - 0.5) < 0.03


def test_latents_without_a_variance_are_what_the_encoder_says() -> None:
    network = Autoencoder(Shape(1, 4, (32, 32), 1, distributions=False))
    images = torch.randn(2, 1, 4, 4)
    moments = network.encode(images)
    assert moments.mean.shape == (2, 4, 2, 2)
    assert torch.equal(moments.mean, network.encoder(images))
    torch.testing.assert_close(moments.sample(torch.ones_like(moments.mean)), moments.mean, atol=1e-6, rtol=0)


def test_a_bounded_decoder_ends_with_tanh() -> None:
    plain, bounded = (Autoencoder(Shape(1, 4, (32,), 1, bounded=bounded)) for bounded in (False, True))
    bounded.load_state_dict(plain.state_dict(), strict=False)
    latents = torch.randn(2, 4, 4, 4)
    assert torch.equal(bounded.decode(latents), torch.tanh(plain.decode(latents)))


def test_log_variances_are_clamped() -> None:
    moments = moments_of(torch.tensor([7.0, -31.0]).view(1, 2, 1, 1))
    assert (moments.mean.item(), moments.log_variance.item()) == (7.0, -30.0)
    assert moments_of(torch.tensor([0.0, 21.0]).view(1, 2, 1, 1)).log_variance.item() == 20.0


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        Shape(1, 2, (64,), 3),
        Shape(3, 16, (32, 64), 2, attention=False),
        Shape(1, 4, (32,), distributions=False),
        Shape(1, 4, (32,), bounded=True),
    ],
)
def test_tensors_tell_the_shape(shape: Shape) -> None:
    with torch.device("meta"):
        assert shape_of(Autoencoder(shape).state_dict()) == shape


def test_a_number_among_the_tensors_tells_the_groups_that_are_not_the_published_ones() -> None:
    shape = Shape(3, 4, (16, 24), 1, groups=8)
    tensors = Autoencoder(shape).state_dict()
    assert shape_of(tensors) == shape
    assert autoencoder_from(tensors).decoder.trunk.norm.num_groups == 8
    for wrong in (0.0, 5.0):
        with pytest.raises(UserError, match=f"allowed: multiples of {wrong:.0f}, the groups of"):
            shape_of({**tensors, "norm_groups": torch.tensor(wrong)})


def test_groups_of_one_channel_hide_what_all_of_a_channel_has_in_common() -> None:
    """Why the number of groups is a setting: the last convolution sees a channel without its mean."""
    x, brighter = torch.randn(1, 16, 4, 4), torch.linspace(-1, 1, 16).view(1, 16, 1, 1)
    for groups, same in ((16, True), (4, False)):
        norm = Autoencoder(Shape(3, 2, (16,), 1, groups=groups)).decoder.trunk.norm
        assert torch.allclose(norm(x + brighter), norm(x), atol=1e-4) == same


def test_a_file_of_tensors_gives_the_same_network_frozen(small: Autoencoder) -> None:
    again = autoencoder_from(small.state_dict())
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(again.encode(x).mean, small.encode(x).mean)
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_other_tensors_are_refused_by_name(small: Autoencoder) -> None:
    tensors = dict(small.state_dict())
    with pytest.raises(UserError, match=r"encoder\.first\.weight is missing"):
        autoencoder_from({})
    with pytest.raises(UserError, match=r"decoder\.last\.bias has shape \(5,\); allowed: \(3,\)"):
        autoencoder_from({**tensors, "decoder.last.bias": torch.zeros(5)})
    with pytest.raises(UserError, match=r"more has shape .*; allowed: no such tensor"):
        autoencoder_from({**tensors, "more": torch.zeros(1)})


@pytest.mark.parametrize("names", [DIFFUSERS, COMPVIS])
def test_other_projects_names_lead_there_and_back(names: Names, small: Autoencoder) -> None:
    tensors = small.state_dict()
    theirs = names.theirs(tensors)
    assert names.fit(theirs)
    assert not names.fit(tensors)
    assert not set(theirs) & set(tensors)
    ours = names.ours(theirs)
    assert ours.keys() == tensors.keys()
    assert all(torch.equal(ours[name], tensors[name]) for name in tensors)


def test_weights_without_convolutions_next_to_the_latents_get_identities(small: Autoencoder) -> None:
    theirs = DIFFUSERS.theirs(small.state_dict())
    ours = DIFFUSERS.ours({k: v for k, v in theirs.items() if "quant_conv" not in k})
    again = autoencoder_from(ours)
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(again.encoder.moments(x), x)
    assert torch.equal(again.decoder.codes(x[:, :4]), x[:, :4])
