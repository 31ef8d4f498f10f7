"""Other projects' code, imported from a plain checkout to be timed beside ours. Nothing of it stands here.

A peer offers `forms(operation, settings)`: by name, the ways in which it computes one of our operations.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.families import StyleGAN2Config, StyleGAN3Config
from pipeline.errors import UserError
from tools.research.modules import Packages, comparing_versions, importing
from tools.research.parity.stylegan3_code import options_of

Forms = dict[str, Callable[..., Tensor]]
Phases = dict[str, Callable[[], object]]
TAPS = [1, 3, 3, 1]
PHASES = {"generator": "Gmain", "path_length": "Greg", "discriminator": "Dmain", "r1": "Dreg"}
"""Our phases -> what others call them."""


class Peer:
    """A checkout. Operations it lacks have no forms."""

    name = ""
    landmark = ""  # a file that tells a checkout of it from another folder
    family: type[Any] = StyleGAN2Config  # what its `training` and `generator` are told
    trains = False  # whether it offers `training`

    def training(self, config: Any, images: Tensor, *, low_levels: int = 0) -> Phases:
        """Its phases on `images` by name (`PHASES`), each with its update, on their device.

        low_levels: resolutions, from the highest down, whose layers compute in float16.
        """
        return {}

    def forms(self, operation: str, settings: dict[str, Any]) -> Forms:
        """The ways it computes an operation, all equal: name -> function of float32 tensors."""
        method = getattr(self, operation, None)
        offered: Forms = {} if method is None else method(**settings)
        return offered


class Ada(Peer):
    """stylegan2-ada-pytorch."""

    name = "stylegan2-ada-pytorch"
    landmark = "torch_utils/ops/upfirdn2d.py"
    trains = True

    def __init__(self, checkout: Path, device: str) -> None:
        with importing(checkout, device, stand_ins=("requests",)):  # which it needs to download, and only so
            self._bias_act = importlib.import_module("torch_utils.ops.bias_act")
            self._upfirdn2d = importlib.import_module("torch_utils.ops.upfirdn2d")
            self._networks = importlib.import_module("training.networks")
            self._loss = importlib.import_module("training.loss")
            self._device, self._impl = device, "ref"
            if device == "cuda":
                self._build()
        self._taps = self._upfirdn2d.setup_filter(TAPS, device=torch.device(device))

    def _build(self) -> None:
        """Its compiled operations; its plain ones if they do not build, and a line that says so."""
        with warnings.catch_warnings(record=True):
            built = self._bias_act._init() and self._upfirdn2d._init()
        self._impl = "cuda" if built else "ref"
        if not built:
            print(f"{self.name}: its compiled operations did not build here; its plain ones are timed")

    def bias_act(self, clamp: float | None) -> Forms:
        """Bias and leaky ReLU."""
        function, impl = self._bias_act.bias_act, self._impl
        return {"": lambda x, b: function(x, b, act="lrelu", clamp=clamp, impl=impl)}

    def resample(self, kind: str) -> Forms:
        """Up- or downsampling by two, or the filter alone."""
        names = {"up": "upsample2d", "down": "downsample2d", "blur": "filter2d"}
        function, taps, impl = getattr(self._upfirdn2d, names[kind]), self._taps, self._impl
        return {"": lambda x: function(x, taps, impl=impl)}

    def modulated(self, up: int) -> Forms:
        """A modulated 3x3 convolution, as its layers call it."""
        if self._device == "cuda" and self._impl == "ref":
            return {}  # it chooses the implementation of its filter itself, and would build at every call
        function, taps = self._networks.modulated_conv2d, self._taps

        def form(fused: bool) -> Callable[..., Tensor]:
            return lambda x, w, s: function(
                x, w, s, up=up, padding=1, resample_filter=taps, flip_weight=up == 1, fused_modconv=fused
            )

        return {"fused": form(True), "unfused": form(False)}

    def pixel_norm(self) -> Forms:
        """Normalisation over channels."""
        return {"": self._networks.normalize_2nd_moment}

    def minibatch_stddev(self, group: int) -> Forms:
        """The batch's deviation as one more map."""
        return {"": self._networks.MinibatchStdLayer(group_size=group)}

    def generator(self, config: StyleGAN2Config, resolution: int) -> Forms:
        """Latents to images with constant noise."""
        network = self._generator(config, resolution, 0).eval().requires_grad_(False)

        def form(fused: bool) -> Callable[..., Tensor]:
            return lambda z: network(z, None, noise_mode="const", fused_modconv=fused)

        return {"fused": form(True), "unfused": form(False)}

    def _generator(self, config: StyleGAN2Config, resolution: int, low_levels: int) -> Any:
        return self._networks.Generator(
            z_dim=config.z_dim,
            c_dim=0,
            w_dim=config.w_dim,
            img_resolution=resolution,
            img_channels=3,
            mapping_kwargs={"num_layers": config.mapping_layers, "lr_multiplier": config.mapping_rate},
            synthesis_kwargs=_widths(config, low_levels),
        ).to(self._device)

    def training(self, config: StyleGAN2Config, images: Tensor, *, low_levels: int = 0) -> Phases:
        """Its four phases on `images`, each with its update, as its training loop makes them, but at rate 0:
        one phase alone, again and again, would lead astray, to numbers that are slow to compute with."""
        generator = self._generator(config, images.shape[-1], low_levels)
        group = {"mbstd_group_size": config.minibatch_stddev_group}
        discriminator = self._networks.Discriminator(
            c_dim=0,
            img_resolution=images.shape[-1],
            img_channels=3,
            epilogue_kwargs=group,
            **_widths(config, low_levels),
        ).to(images.device)
        loss = self._loss.StyleGAN2Loss(
            images.device,
            generator.mapping,
            generator.synthesis,
            discriminator,
            style_mixing_prob=config.style_mixing,
            r1_gamma=config.r1_gamma,
            pl_batch_shrink=config.path_length_shrink,
            pl_decay=config.path_length_decay,
            pl_weight=config.path_length_weight,
        )
        every = {"Gmain": 1, "Greg": config.path_length_every, "Dmain": 1, "Dreg": config.r1_every}
        players = {"G": generator, "D": discriminator}
        return _phases(partial(loss.accumulate_gradients, sync=True), players, every, config, images)


def _widths(config: StyleGAN2Config, low_levels: int) -> dict[str, Any]:
    """What its networks take; activations are clamped only where some are float16, as in its own runs."""
    clamp = config.clamp if low_levels else None
    widths = {"channel_base": config.channel_base, "channel_max": config.channel_max}
    return {**widths, "num_fp16_res": low_levels, "conv_clamp": clamp}


def _phases(
    accumulate: Callable[..., object],
    players: dict[str, torch.nn.Module],
    every: dict[str, int],
    config: StyleGAN2Config | StyleGAN3Config,
    images: Tensor,
) -> Phases:
    """What their loop does in each of the phases; players are known by the first letter of theirs. One that
    has a lazy phase has Adam's constants for it."""
    phases: Phases = {}
    for letter, module in players.items():
        module.train().requires_grad_(False)
        own = {name: often for name, often in every.items() if name.startswith(letter)}
        lazy = max(own.values()) / (max(own.values()) + 1) if len(own) > 1 else 1.0
        betas = config.adam_beta1**lazy, config.adam_beta2**lazy
        adam = torch.optim.Adam(module.parameters(), lr=0.0, betas=betas, eps=config.adam_eps)
        for name, often in own.items():
            phases[name] = _phase(accumulate, name, module, adam, images, config.z_dim, often)
    return phases


def _phase(
    accumulate: Callable[..., object],
    name: str,
    module: torch.nn.Module,
    adam: torch.optim.Optimizer,
    images: Tensor,
    z_dim: int,
    gain: int,
) -> Callable[[], object]:
    labels = torch.zeros(len(images), 0, device=images.device)

    def run() -> None:
        adam.zero_grad(set_to_none=True)
        module.requires_grad_(True)
        latents = torch.randn(len(images), z_dim, device=images.device)
        accumulate(phase=name, real_img=images, real_c=labels, gen_z=latents, gen_c=labels, gain=gain)
        module.requires_grad_(False)
        for parameter in module.parameters():
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
        adam.step()

    return run


class Rosinality(Peer):
    """rosinality's stylegan2-pytorch."""

    name = "rosinality"
    landmark = "op/upfirdn2d.py"

    def __init__(self, checkout: Path, device: str) -> None:
        with importing(checkout, device):
            self._op = importlib.import_module("op")
            self._model = importlib.import_module("model")
        self._device = device

    def bias_act(self, clamp: float | None) -> Forms:
        """Bias and leaky ReLU; it has no clamp."""
        return {"": self._op.fused_leaky_relu} if clamp is None else {}

    def resample(self, kind: str) -> Forms:
        """Up- or downsampling by two, or the filter alone."""
        if kind == "blur":
            return {"": self._model.Blur(TAPS, pad=(2, 1)).to(self._device)}
        return {"": {"up": self._model.Upsample, "down": self._model.Downsample}[kind](TAPS).to(self._device)}

    def modulated(self, up: int) -> Forms:
        """A modulated 3x3 convolution whose own linear layer is made to pass the styles on."""

        def form(fused: bool) -> Callable[..., Tensor]:
            def run(x: Tensor, w: Tensor, s: Tensor) -> Tensor:
                layer = self._modulated(w, up, fused)
                y: Tensor = torch.func.functional_call(layer, {"weight": w[None]}, (x, s))
                return y

            return run

        return {"fused": form(True), "unfused": form(False)}

    def _modulated(self, w: Tensor, up: int, fused: bool) -> torch.nn.Module:
        key = (*w.shape, up, fused)
        made: dict[Any, torch.nn.Module] = self.__dict__.setdefault("_layers", {})
        if key not in made:
            outputs, inputs, taps, _ = w.shape
            layer = self._model.ModulatedConv2d(inputs, outputs, taps, inputs, upsample=up == 2, fused=fused)
            with torch.no_grad():
                layer.modulation.weight.copy_(torch.eye(inputs) / layer.modulation.scale)
                layer.modulation.bias.zero_()
            made[key] = layer.to(self._device).requires_grad_(False)
        return made[key]

    def pixel_norm(self) -> Forms:
        """Normalisation over channels."""
        return {"": self._model.PixelNorm()}

    def generator(self, config: StyleGAN2Config, resolution: int) -> Forms:
        """Latents to images with constant noise. Its widths are those of "config f"."""
        if (config.channel_base, config.channel_max) != (32768, 512):
            return {}
        network = self._model.Generator(resolution, config.w_dim, config.mapping_layers, channel_multiplier=2)
        network.eval().requires_grad_(False)
        return {"": lambda z: network([z], randomize_noise=False)[0]}


class AliasFree(Peer):
    """stylegan3."""

    name = "nvlabs-stylegan3"
    landmark = "torch_utils/ops/filtered_lrelu.py"
    family = StyleGAN3Config
    trains = True

    def __init__(self, checkout: Path, device: str) -> None:
        self._modules = Packages("torch_utils", "dnnlib", "training")
        with self._modules, comparing_versions(), importing(checkout, device, stand_ins=("requests",)):
            self._op = importlib.import_module("torch_utils.ops.filtered_lrelu")
            self._generators = importlib.import_module("training.networks_stylegan3")
            self._discriminators = importlib.import_module("training.networks_stylegan2")
            self._loss = importlib.import_module("training.loss")
            self._impl = "cuda" if device == "cuda" and self._op._init() else "ref"  # which compiles it
        self._device = device

    def filtered_lrelu(self, filters: tuple[Tensor, Tensor], **settings: Any) -> Forms:
        """Its activation between filters: on a CPU its plain form, the only one there."""
        function, impl = self._op.filtered_lrelu, self._impl
        return {"": lambda x, b: function(x, *filters, b, **settings, impl=impl)}

    def generator(self, config: StyleGAN3Config, resolution: int) -> Forms:
        """Latents to images."""
        network = self._player(self._generators.Generator, options_of(config, 1)[0], resolution)
        network.eval().requires_grad_(False)
        return {"": lambda z: network(z, None)}

    def _player(self, kind: Any, options: dict[str, Any], resolution: int) -> Any:
        with self._modules:  # its networks look for their own modules
            return kind(c_dim=0, img_resolution=resolution, img_channels=3, **options).to(self._device)

    def training(self, config: StyleGAN3Config, images: Tensor, *, low_levels: int = 0) -> Phases:
        """Its three phases on `images`, each with its update, at rate 0 as those of stylegan2-ada-pytorch;
        when the blur of R has ended."""
        own, judging = options_of(config, len(images))
        own["num_fp16_res"] = judging["num_fp16_res"] = low_levels
        players = {
            "G": self._player(self._generators.Generator, own, images.shape[-1]),
            "D": self._player(self._discriminators.Discriminator, judging, images.shape[-1]),
        }
        loss = self._loss.StyleGAN2Loss(images.device, *players.values(), r1_gamma=config.r1_gamma)
        every = {"Gmain": 1, "Dmain": 1, "Dreg": config.r1_every}
        accumulate = partial(loss.accumulate_gradients, cur_nimg=0)
        return _phases(accumulate, players, every, config, images)


PEERS: dict[str, type[Any]] = {peer.name: peer for peer in (Ada, Rosinality, AliasFree)}


def load_peer(argument: str, device: str) -> Peer:
    """NAME=CHECKOUT to a peer. Errors: as `find_peer`."""
    kind, checkout = find_peer(argument)
    peer: Peer = kind(checkout, device)
    return peer


def find_peer(argument: str) -> tuple[type[Any], Path]:
    """NAME=CHECKOUT to a kind of peer and its folder; nothing of it is imported. Errors: UserError for an
    unknown name or a folder that is none of it."""
    name, equals, folder = argument.partition("=")
    if name not in PEERS or not equals:
        raise UserError(f"--peer {argument}: NAME=CHECKOUT is wanted; known names: {', '.join(PEERS)}")
    checkout, landmark = Path(folder).expanduser().absolute(), PEERS[name].landmark
    if not (checkout / landmark).is_file():
        raise UserError(f"--peer {argument}: no checkout of {name} there (it has no file {landmark})")
    return PEERS[name], checkout
