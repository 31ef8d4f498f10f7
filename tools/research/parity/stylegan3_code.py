"""StyleGAN3's public code from a checkout, github.com/NVlabs/stylegan3, as it stands, on a CPU."""

from __future__ import annotations

import importlib
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pipeline.config.families import StyleGAN3Config
from pipeline.contracts import ImageSpec
from pipeline.importing import Part, parts_of, read_weights
from pipeline.models.stylegan2.foreign import ada_name
from pipeline.models.stylegan3.foreign import stylegan3_name
from tools.research.modules import comparing_versions, isolated
from tools.research.parity.filling import Rule
from tools.research.parity.stylegan2 import Theirs, fill

_AT_ONCE = 1 << 24
"""Numbers of an up-sampled image that its layers hold at once."""


@contextmanager
def importing(checkout: Path) -> Iterator[None]:
    """Use it around all that calls their code."""
    with comparing_versions(), isolated(checkout, stand_ins=("requests",)):
        yield


@contextmanager
def in_slices() -> Iterator[None]:
    """Their up-sampled leaky ReLU computes a few channels at a time, and again in the backward pass: it
    treats channels by themselves, and its plain form would otherwise keep several images of 2128 x 2128."""
    operation: Any = importlib.import_module("torch_utils.ops.filtered_lrelu")
    with mock.patch.object(operation, "filtered_lrelu", _sliced(operation.filtered_lrelu)):
        yield


def _sliced(whole: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, *, b: Tensor, up: int, **rest: Any) -> Tensor:
        width = max(_AT_ONCE // (x[:, :1].numel() * up * up), 1)
        pairs = zip(torch.split(x, width, dim=1), torch.split(b, width), strict=True)
        parts = [
            checkpoint(lambda x, b: whole(x=x, b=b, up=up, **rest), *pair, use_reentrant=False)
            for pair in pairs
        ]
        return torch.cat(parts, dim=1)

    return run


RULES: tuple[Rule, ...] = (
    (r"mapping\.layers\.\d+\.weight$", 100.0, 0.0),
    (r"mapping\.layers\.\d+\.bias$", 30.0, 0.0),
    (r"input\.affine\.weight$", 0.3, 0.0),
    (r"affine\.bias$", 0.3, 1.0),
    (r"magnitude$", 0.2, 1.0),
    (r"phases$", 0.29, 0.0),
    (r"(w_avg|bias)$", 0.3, 0.0),
)
"""Scales at which nothing vanishes, and the input is turned and shifted by tenths of an image."""


def options_of(config: StyleGAN3Config, images: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What their generator and discriminator are made with. images: of a step, by which the magnitudes'
    half-life is a decay."""
    half_life = config.magnitude_half_life_images
    generator = {
        "z_dim": config.z_dim,
        "w_dim": config.w_dim,
        "mapping_kwargs": {"num_layers": config.mapping_layers, "w_avg_beta": config.w_avg_decay},
        "channel_base": config.channel_base,
        "channel_max": config.channel_max,
        "num_layers": config.layers,
        "num_critical": config.critical_layers,
        "first_cutoff": config.first_cutoff,
        "first_stopband": config.first_stopband,
        "last_stopband_rel": config.last_stopband_rel,
        "margin_size": config.margin,
        "filter_size": config.filter_size,
        "output_scale": config.output_scale,
        "conv_kernel": config.kernel,
        "use_radial_filters": config.radial,
        "magnitude_ema_beta": 0.5 ** (images / half_life) if half_life else 1.0,
        "num_fp16_res": 0,
        "conv_clamp": config.clamp,
    }
    discriminator = {
        "channel_base": config.discriminator_channel_base,
        "channel_max": config.discriminator_channel_max,
        "mapping_kwargs": {"num_layers": config.label_mapping_layers},
        "epilogue_kwargs": {"mbstd_group_size": config.minibatch_stddev_group},
        "num_fp16_res": 0,
        "conv_clamp": config.clamp,
    }
    return generator, discriminator


def their_networks(config: StyleGAN3Config, spec: ImageSpec, images: int) -> Theirs:
    """Their pair, filled."""
    own, judging = options_of(config, images)
    size = {"c_dim": spec.classes, "img_resolution": spec.height, "img_channels": spec.channels}
    made: Any = importlib.import_module("training.networks_stylegan3")
    judges: Any = importlib.import_module("training.networks_stylegan2")
    generator = made.Generator(**size, **own).eval()
    discriminator = judges.Discriminator(**size, **judging).eval()
    fill(generator, stylegan3_name, RULES)
    fill(discriminator, ada_name, RULES)
    return Theirs(
        generator,
        discriminator,
        stylegan3_name,
        lambda: _parts({"G_ema": generator, "D": discriminator}),
        latents=lambda z, labels: generator.mapping(z, one_hot(labels, len(z), spec))[:, 0],
        images=lambda z, labels, psi: generator(z, one_hot(labels, len(z), spec), truncation_psi=psi),
        logits=lambda images, labels: discriminator(images, one_hot(labels, len(images), spec)),
    )


def one_hot(labels: Tensor | None, count: int, spec: ImageSpec) -> Tensor:
    """Class numbers as they take them."""
    return torch.zeros(count, 0) if labels is None else F.one_hot(labels, spec.classes).float()


def _parts(networks: Mapping[str, Any]) -> dict[str, Part]:
    """What our reader finds in a file of theirs that holds these."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network-snapshot.pkl"
        file.write_bytes(pickle.dumps({**networks, "augment_pipe": None}))
        return parts_of(read_weights(file).value)


class Magnitudes:
    """Makes the running magnitudes of their layers move after a pass, as ours do, not within it, where each
    layer sees those before it moved already."""

    def __init__(self, generator: Any) -> None:
        synthesis = generator.synthesis
        self.layers = [getattr(synthesis, name) for name in synthesis.layer_names]
        self._squares: dict[Any, Tensor] = {}
        for layer in self.layers:
            layer.forward = self._measured(layer, layer.forward)

    def move(self) -> None:
        """By the last pass that was to move them, if there was one."""
        for layer, square in self._squares.items():
            layer.magnitude_ema.copy_(square.lerp(layer.magnitude_ema, layer.magnitude_ema_beta))
        self._squares.clear()

    def _measured(self, layer: Any, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(x: Tensor, w: Tensor, *, update_emas: bool = False, **rest: Any) -> Tensor:
            if update_emas:
                self._squares[layer] = x.detach().square().mean()
            return forward(x, w, **rest)

        return run
