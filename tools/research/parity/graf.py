"""GRAF beside its authors' public code, github.com/autonomousvision/graf, whose networks run on a CPU.

Compared are poses and rays, patches, the field, the rendering with given jitter and noise, both networks, and
both turns: the losses, with R1 over rays, and all gradients. Their rays pass half a pixel beside the middles
of pixels, so that ours are asked for those places.
"""

from __future__ import annotations

import importlib
import math
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from pipeline.config.families import GRAFConfig
from pipeline.contracts import Batch, ImageSpec, Net, Networks, Phase
from pipeline.models.graf import GRAF
from pipeline.models.graf.camera import POSE, Camera, pixel_places
from pipeline.models.graf.patches import cut
from pipeline.models.graf.schedule import DENSITY_NOISE
from tools.research.modules import isolated
from tools.research.parity import FORWARD, GRADIENT, ParityRow, apart, whole
from tools.research.parity.filling import Rule, drawn
from tools.research.parity.lockstep.ours import Given
from tools.research.parity.recorded import RecordedNetwork, summary

LANDMARK = "graf/transforms.py"
_NERF = "submodules.nerf_pytorch"
_FIELD = {
    "alpha_linear": "density",
    "feature_linear": "feature",
    "views_linears.0": "view",
    "rgb_linear": "colour",
}


@dataclass(frozen=True)
class Size:
    """What both are made for, and how many images are compared."""

    name: str
    side: int
    patch: int
    config: Mapping[str, Any]
    images: int = 2

    @property
    def family(self) -> GRAF:
        """Ours, in the conditions of a run's beginning."""
        config = GRAFConfig(patch=self.patch, **self.config)
        return GRAF(config, ImageSpec(self.side, self.side, 3), batch_size=self.images)


_SMALL = {"shape_dim": 12, "appearance_dim": 10, "field_width": 32, "ray_samples": 12}
_WIDER = {"background": "black", "radius": (9.5, 10.5), "r1_gamma": 20 / 64**2}
CASES = (
    Size("small, white", 32, 32, {**_SMALL, "discriminator_channels": 16}, 3),
    Size("small, black, 64 rays", 64, 64, {**_SMALL, **_WIDER}),
    Size("CARLA-128", 128, 32, {}),
)


def compare(checkout: Path) -> list[ParityRow]:
    """Every case's rows."""
    with importing(checkout) as made:
        return [row for case in CASES for row in compare_case(made, case)]


@contextmanager
def importing(checkout: Path) -> Iterator[Namespace]:
    """Their modules. What draws pictures and looks for fine samples, which nothing here does, may be
    missing."""
    blank: Any = ModuleType("blank")
    blank.searchsorted = blank.pyplot = None
    missing = dict.fromkeys(("imageio", "matplotlib", "matplotlib.pyplot", "torchsearchsorted"), blank)
    with mock.patch.dict(sys.modules, missing), isolated(checkout):
        yield Namespace(
            nerf=importlib.import_module(f"{_NERF}.run_nerf_mod"),
            helpers=importlib.import_module(f"{_NERF}.run_nerf_helpers_mod"),
            utils=importlib.import_module("graf.utils"),
            transforms=importlib.import_module("graf.transforms"),
            discriminator=importlib.import_module("graf.models.discriminator"),
            turns=importlib.import_module("submodules.GAN_stability.gan_training.train"),
        )


def compare_case(made: Namespace, case: Size) -> Iterator[ParityRow]:
    """The rows of one size."""
    torch.manual_seed(0)
    family = case.family
    ours = family.networks()
    theirs = Theirs(made, family.config, case)
    theirs.take(ours)
    yield from _camera(made, case, family.config, torch.randn(case.images, POSE))
    yield from _patches(made, case)
    for phase in family.phases:
        yield from _turn(case, family, ours, theirs, phase)


class Theirs:
    """Their field, its renderer, and their discriminator."""

    def __init__(self, made: Namespace, config: GRAFConfig, case: Size) -> None:
        self.made, self.config, self.side = made, config, case.side
        settings = {
            "multires": config.position_frequencies,
            "multires_views": config.direction_frequencies,
            "i_embed": 0,
            "feat_dim": config.shape_dim + config.appearance_dim,
            "feat_dim_appearance": config.appearance_dim,
            "use_viewdirs": True,
            "N_importance": 0,
            "N_samples": config.ray_samples,
            "netdepth": config.field_layers,
            "netwidth": config.field_width,
            "netchunk": 1 << 20,
            "perturb": 1.0,
            "white_bkgd": config.background == "white",
            "raw_noise_std": 1.0,
        }
        self.train, self.test, _, _ = made.nerf.create_nerf(Namespace(**settings))
        self.discriminator = made.discriminator.Discriminator(3, config.discriminator_channels, case.patch)

    @property
    def field(self) -> nn.Module:
        network: nn.Module = self.train["network_fn"]
        return network

    def our_name(self, net: Net, theirs: str) -> str:
        """Our name of a parameter or buffer of theirs."""
        layer, _, kind = theirs.rpartition(".")
        if net == "generator":
            return f"field.{_FIELD.get(layer, layer.replace('pts_linears', 'layers'))}.{kind}"
        names = [name for name, part in self.discriminator.named_modules() if hasattr(part, "weight_u")]
        number = names.index(layer)
        ours = "out" if number == len(names) - 1 else f"convs.{number}"
        return f"{ours}.{'u' if kind == 'weight_u' else 'weight'}"

    def __getitem__(self, net: Net) -> Any:
        return self.field if net == "generator" else self.discriminator

    @torch.no_grad()
    def take(self, ours: Networks) -> None:
        """Takes over our weights and vectors of power iterations."""
        generator, discriminator = (dict(network.state_dict()) for _, network in ours.items())
        for name, parameter in self.field.named_parameters():
            parameter.copy_(generator[self.our_name("generator", name)])
        for name, parameter in self.discriminator.named_parameters():
            parameter.copy_(discriminator[self.our_name("discriminator", name)].reshape(parameter.shape))
        for name, buffer in self.discriminator.named_buffers():
            if name.endswith("weight_u"):
                vector = discriminator[self.our_name("discriminator", name)]
                buffer.copy_(vector)
                layer: Any = self.discriminator.get_submodule(name.rpartition(".")[0])
                across = vector @ layer.weight_orig.flatten(1)
                layer.weight_v.copy_(across / across.norm())

    def rays(self, pose: Tensor, side: int) -> Tensor:
        """Origins and directions [2, side, side, 3] of one pose, through all pixels as theirs lie."""
        azimuth, polar, radius = pose.double().tolist()
        place = self.made.utils.to_sphere(azimuth / (2 * math.pi), (1 - math.cos(polar)) / 2) * radius
        matrix = torch.from_numpy(self.made.utils.look_at(place)[0]).float()
        matrix = torch.cat([matrix, torch.tensor(place)[:, None].float()], dim=1)
        focal = side / 2 / math.tan(math.radians(self.config.field_of_view) / 2)
        return torch.stack(self.made.helpers.get_rays(side, side, focal, matrix))

    def see(
        self, z: Tensor, rays: Tensor, poses: Tensor, given: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """What rays [2, N, R, 3] see of the codes in z, [N * R, 3] in [-1, 1].

        given: the numbers that they draw, "rand" and "randn", each [N * R, samples]; None for none.
        """
        nearer = (self.config.radius[1] - poses[:, 2])[:, None].expand(-1, rays.shape[2]).reshape(-1, 1)
        how = {**(self.test if given is None else self.train), "near": self.config.near - nearer}
        how = {**how, "far": self.config.far - nearer, "features": z[:, :-POSE]}
        with feeding(given or {}):
            seen = self.made.nerf.render(8, 8, 1.0, rays=rays.flatten(1, 2), chunk=1 << 20, **how)[0]
        result: Tensor = 2 * seen - 1
        return result


@contextmanager
def feeding(given: Mapping[str, Tensor]) -> Iterator[None]:
    """Gives torch.rand and torch.randn of theirs these numbers, in their shapes."""
    with ExitStack() as stack:
        for name, values in given.items():
            stack.enter_context(mock.patch.object(torch, name, values.reshape))
        yield


def _camera(made: Namespace, case: Size, config: GRAFConfig, z: Tensor) -> Iterator[ParityRow]:
    camera, side = Camera(config), 16
    poses = camera.pose(z)
    beside = (pixel_places(side) * (side - 1) - 1) / (side - 1)
    ours = camera.rays(poses, beside, side)
    theirs = torch.stack([Theirs(made, config, case).rays(pose, side) for pose in poses], dim=1).flatten(2, 3)
    yield ParityRow(case.name, "rays, origins", apart(ours.origins, theirs[0, :, 0]), FORWARD)
    yield ParityRow(case.name, "rays, directions", apart(ours.directions, theirs[1]), FORWARD)


def _patches(made: Namespace, case: Size) -> Iterator[ParityRow]:
    """Grids by the scales and shifts that theirs draws, and what reals show there."""
    sampler = made.transforms.FlexGridRaySampler(case.patch**2, scale_anneal=0.0025)
    grids = [sampler.sample_rays(case.side, case.side) for _ in range(case.images)]
    theirs = torch.stack(grids).flatten(1, 2)
    scale = (theirs[:, -1:] - theirs[:, :1]) / 2
    ours = pixel_places(case.patch) * scale + (theirs[:, -1:] + theirs[:, :1]) / 2
    yield ParityRow(case.name, "patches, places", apart(ours, theirs), FORWARD)
    images = drawn(f"{case.name}.reals", (case.images, 3, case.side, case.side))
    drawing = iter(grids)
    shown = made.transforms.ImgToPatch(lambda **_: (None, None, next(drawing)), (case.side, case.side, 1.0))
    patches = cut(images, theirs).flatten(2).transpose(1, 2).flatten(0, 1)
    yield ParityRow(case.name, "patches, reals", apart(patches, shown(images)), FORWARD)


def _turn(case: Size, family: GRAF, ours: Networks, theirs: Theirs, phase: Phase) -> Iterator[ParityRow]:
    """The loss and the gradients of one turn, with the numbers that ours drew."""
    net = phase.trains
    for each, network in ours.items():
        network.requires_grad_(each == net).eval()  # so that power iterations stand still
    for each, network in (("generator", theirs.field), ("discriminator", theirs.discriminator)):
        network.requires_grad_(each == net).eval().zero_grad(set_to_none=True)
    given = Given(f"{case.name}.{net}", case.images)
    game = family.game(ours, family.schedule.at(0), given)
    images = drawn(f"{case.name}.{net}.reals", (case.images, 3, case.side, case.side)).tanh()
    shown = game.present(Batch(images))
    given.draws.clear()
    terms = phase.objective(game, shown)
    fakes, seen = _their_fakes(case, theirs, ours, given)
    yield ParityRow(case.name, f"{net}, rendered patches", apart(fakes, seen), FORWARD)
    loss = _their_loss(theirs, net, seen, shown.images)
    yield ParityRow(case.name, f"{net}, loss", apart(terms.loss.mean(), loss), FORWARD)
    torch.autograd.backward(loss)
    named = {name: p for name, p in ours[net].named_parameters() if p.requires_grad}
    gradients = dict(zip(named, torch.autograd.grad(terms.loss.mean(), list(named.values())), strict=True))
    moved = {theirs.our_name(net, name): p.grad for name, p in theirs[net].named_parameters()}
    far = whole((value, moved[name].reshape(value.shape)) for name, value in gradients.items())
    yield ParityRow(case.name, f"{net}, gradients of its turn", far, GRADIENT)


def _their_loss(theirs: Theirs, net: Net, fakes: Tensor, reals: Tensor) -> Tensor:
    """What they minimise in a turn, with R1 in the discriminator's, from fakes [N * R, 3] and patches of
    reals."""
    turns = theirs.made.turns
    trainer = turns.Trainer(theirs.field, theirs.discriminator, None, None, "standard", "real", 10.0)
    loss: Tensor = trainer.compute_loss(theirs.discriminator(fakes), int(net == "generator"))
    if net == "generator":
        return loss
    rays = reals.flatten(2).transpose(1, 2).flatten(0, 1).detach().requires_grad_()
    judged = theirs.discriminator(rays)
    squares = turns.compute_grad2(judged, rays)
    penalised: Tensor = loss + trainer.compute_loss(judged, 1) + trainer.reg_param * squares.mean()
    return penalised


def _their_fakes(case: Size, theirs: Theirs, ours: Networks, given: Given) -> tuple[Tensor, Tensor]:
    """The patches [N * R, 3] that our game generated from the numbers given, by our generator and by theirs,
    at the rays of ours."""
    z, window, jitter, noise = (draw.values for draw in given.draws)
    generator: Any = ours.generator
    config, stage = generator.config, case.family.schedule.at(0)
    least, most = stage.weights["patch_scale"], config.patch_scale[1]
    scale = least + (most - least) * window[:, None, :1]
    places = pixel_places(case.patch) * scale + (2 * window[:, None, 1:] - 1) * (1 - scale)
    noise = noise * stage.weights[DENSITY_NOISE]
    codes = generator.code(z, None)
    fakes = generator.see(codes, places, jitter=jitter, noise=noise).flatten(0, 1)
    poses = codes[:, -1, :POSE]
    found = generator.camera.rays(poses, places, case.side)
    rays = torch.stack([found.origins[:, None].expand_as(found.directions), found.directions])
    numbers = {"rand": jitter, "randn": noise / theirs.train["raw_noise_std"]}
    return fakes, theirs.see(z, rays, poses, numbers)


RULES: tuple[Rule, ...] = (
    (r"density\.weight$", 1.0, 0.3),
    (r"field\..*weight$", 0.25, 0.0),
    (r"bias$", 0.1, 0.0),
)
"""Scales at which rays are neither all empty nor all opaque."""
_TINY = {"name": GRAFConfig().name, **_SMALL, "discriminator_channels": 8}
_RECORDED: tuple[tuple[str, Net, list[int]], ...] = (
    ("tiny generator, graf", "generator", [2, 25]),
    ("tiny discriminator, graf", "discriminator", [3, 3, 32, 32]),
)


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with importing(checkout) as made:
        return [_recorded(made, *row) for row in _RECORDED]


@torch.no_grad()
def _recorded(made: Namespace, name: str, net: Net, shape: list[int]) -> RecordedNetwork:
    spec = {"height": 32, "width": 32, "channels": 3, "classes": 0}
    recorded = RecordedNetwork(name, _TINY, spec, net, RULES, [shape], training=net == "discriminator")
    changes = {key: value for key, value in _TINY.items() if key != "name"}
    case = Size(name, 32, 32, changes, shape[0])
    family = case.family
    theirs = Theirs(made, family.config, case)
    networks = family.networks()
    theirs.take(replace(networks, **{net: recorded.ours()}))
    (first,) = recorded.tensors()
    if net == "discriminator":
        rays = first.flatten(2).transpose(1, 2).flatten(0, 1)
        return replace(recorded, given=summary(theirs.discriminator.train()(rays).flatten()))
    poses = Camera(family.config).pose(first[:, -POSE:])
    # The middles of pixels are every second place of theirs at twice the resolution.
    rays = torch.stack([theirs.rays(pose, 64)[:, 1::2, 1::2] for pose in poses], dim=1).flatten(2, 3)
    seen = theirs.see(first, rays, poses).reshape(len(first), 32, 32, 3)
    return replace(recorded, given=summary(seen.permute(0, 3, 1, 2)))
