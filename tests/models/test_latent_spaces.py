"""What samplers offer to tools: drawing in steps, and the weights that see codes."""

from __future__ import annotations

import pytest
import torch

from pipeline.latents import LatentSpace, LinearSpace, MovableSpace, OrbitedSpace, StyledSpace
from pipeline.models.registry import FAMILIES
from tests.models.test_every_family import stir
from tests.tiny_families import ALONE, DIGITS, GIVEN, PLAIN, seeded_networks, tiny_family

EVERY = sorted(set(FAMILIES) - set(GIVEN) - set(ALONE))
SEES = {
    "biggan": ("linear", "gain", "bias"),
    "began": ("project",),
    "dcgan": ("project",),
    "mlp": ("body.0",),
    "stylegan2": ("affine",),
    "stylegan3": ("affine",),
}
"""The layers that see codes, by the end of their name, in the families where these are linear alone."""

NOT_LINEAR = ("autoencoder", "graf")
"""Families whose latents have places, or hold the pose of a camera."""


def space_of(name: str, spec=DIGITS):
    family = tiny_family(name, spec)
    networks = seeded_networks(family)
    stir(networks)
    generator = networks.generator.eval().requires_grad_(False)
    return family.sampler(generator), generator


@pytest.mark.parametrize("spec", [DIGITS, PLAIN], ids=["classes", "plain"])
@pytest.mark.parametrize("name", EVERY)
def test_drawing_in_steps_is_drawing(name, spec):
    space, _ = space_of(name, spec)
    assert isinstance(space, LatentSpace)
    assert isinstance(space, LinearSpace) == (name not in NOT_LINEAR)
    assert isinstance(space, StyledSpace) == (name == "stylegan2")
    assert isinstance(space, MovableSpace) == (name in ("stylegan2", "stylegan3"))
    assert isinstance(space, OrbitedSpace) == (name == "graf")
    psi = 0.6 if space.truncates else 1.0
    if space.classes:
        drawn = space.draw([7, 3], classes=[1, 0], truncation=psi)
        start = space.latents([3], classes=[0], truncation=psi)
    else:
        drawn, start = space.draw([7, 3], truncation=psi), space.latents([3], truncation=psi)
    codes = space.map(*start, truncation=psi)
    assert codes.shape[:2] == (1, space.layers)
    assert torch.equal(space.synthesise(codes), drawn.images[1:])


@pytest.mark.parametrize("name", EVERY)
def test_images_are_differentiable_in_codes(name):
    space, _ = space_of(name)
    codes = space.map(*space.latents([1, 2])).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(space.synthesise(codes).square().sum(), codes)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().amax(dim=(0, 2)) > 0).all()  # every layer has its say


@pytest.mark.parametrize("name", sorted(SEES))
def test_code_weights_are_the_layers_that_see_codes(name):
    """Against what those layers put out when a code moves, recorded on their way."""
    space, generator = space_of(name)
    codes = space.map(*space.latents([5]))
    space.synthesise(codes)  # a family may copy its generator at the first image
    network = getattr(space, "_ready", None) or generator
    outputs: list[torch.Tensor] = []
    for key, module in network.named_modules():
        if key.endswith(SEES[name]) and not key.startswith("mapping"):
            module.register_forward_hook(lambda _, __, output: outputs.append(output.flatten(1)[0]))
    move = torch.zeros_like(codes)
    dims = generator.z_dim
    place = slice(-dims, None) if name == "biggan" else slice(0, dims)
    move[..., place] = torch.randn(move[..., place].shape, generator=torch.Generator().manual_seed(1))
    space.synthesise(codes)
    before, outputs[:] = list(outputs), []
    space.synthesise(codes + move)
    change = torch.cat(outputs) - torch.cat(before)
    weights = space.code_weights()
    said = torch.cat([weight @ move[0, min(i, space.layers - 1)] for i, weight in enumerate(weights)])
    # The layers run in an order of their own: the same values, sorted.
    torch.testing.assert_close(change.sort().values, said.sort().values, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(NOT_LINEAR)))
def test_a_class_is_no_direction(name):
    space, generator = space_of(name)
    width = space.map(*space.latents([0])).shape[-1]
    of_class = torch.ones(width, dtype=torch.bool)
    if name == "biggan":
        of_class[-generator.z_dim :] = False
    else:
        of_class[: generator.z_dim] = False
    for weight in space.code_weights():
        assert weight.shape[1] == width
        if name not in ("gat", "stylegan2", "stylegan3"):
            assert not weight[:, of_class].any()
        assert weight[:, ~of_class].abs().sum() > 0


@pytest.mark.parametrize(("name", "first"), [("progan", "first.dense"), ("r3gan", "basis")])
def test_a_component_that_no_weight_sees_changes_nothing(name, first):
    space, generator = space_of(name)
    layer = generator.get_submodule(first)
    with torch.no_grad():
        layer.weight[:, 2] = 0
    (weight,) = space.code_weights()
    assert not weight[:, 2].any()
    assert weight[:, 3].any()
    codes = space.map(*space.latents([5]))[:, 0]
    unit = torch.eye(codes.shape[1])
    assert torch.equal(layer(codes + unit[2]), layer(codes))
    assert not torch.equal(layer(codes + unit[3]), layer(codes))
