"""Super-resolution beside BasicSR, github.com/XPixelGroup/BasicSR: its generators, the discriminator of
pixels and the unsharp mask. Their files are imported without their package, which needs more than networks
do."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.torch_version import TorchVersion

from pipeline.config.families import SuperResolutionConfig
from pipeline.models.translation.discriminators import PixelNet
from pipeline.models.translation.enlarging import RRDB, SRResNet
from pipeline.models.translation.superres import sharpened
from tools.research.modules import isolated, module_of, package_of, standing_in
from tools.research.parity import FORWARD, ParityRow, apart
from tools.research.parity.filling import Rule
from tools.research.parity.in_order import in_order, put, recorded, rows, settle, stir
from tools.research.parity.recorded import RecordedNetwork

LANDMARK = "basicsr/archs/rrdbnet_arch.py"
IMAGES, SIDE = 2, 16


@contextmanager
def importing(checkout: Path) -> Iterator[Any]:
    """What is compared of theirs, in one module."""
    folder = checkout / "basicsr"
    stand_ins = {
        "basicsr": package_of(folder),
        "basicsr__archs": package_of(folder / "archs"),
        "basicsr__utils": package_of(folder / "utils", get_root_logger=None),
        "basicsr__ops": package_of(folder / "ops"),
        "basicsr__ops__dcn": module_of(ModulatedDeformConvPack=nn.Module, modulated_deform_conv=None),
        "distutils__version": module_of(LooseVersion=TorchVersion),
        "cv2": module_of(getGaussianKernel=_gaussian_kernel),
    }
    names = (
        "archs.srresnet_arch",
        "archs.rrdbnet_arch",
        "archs.discriminator_arch",
        "utils.img_process_util",
    )
    with ExitStack() as stack:
        stack.enter_context(isolated(checkout))
        stack.enter_context(standing_in(**stand_ins))
        found: dict[str, Any] = {}
        for name in names:
            found |= vars(importlib.import_module(f"basicsr.{name}"))
        yield module_of(**found)


def _gaussian_kernel(size: int, sigma: float) -> np.ndarray:
    """OpenCV's kernel of that name, [size, 1]; for a sigma of 0 the one that it chooses."""
    sigma = sigma or 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    kernel = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    return np.asarray(kernel / kernel.sum())[:, None]


def compare(checkout: Path) -> list[ParityRow]:
    """Both generators at both scales, the discriminator in both modes, the mask."""
    with importing(checkout) as module:
        return [*_generator_rows(module), *_discriminator_rows(module), _mask_row(module)]


def _generator_rows(module: Any) -> Iterator[ParityRow]:
    torch.manual_seed(1)
    for scale in (2, 4):
        plain = SRResNet(3, 64, 16, scale), module.MSRResNet(upscale=scale)
        dense = RRDB(3, 64, 23, 32, scale), module.RRDBNet(3, 3, scale=scale)
        for name, (ours, theirs) in (("SRResNet, 16 blocks", plain), ("RRDB, 23 blocks", dense)):
            stir(ours)
            yield from _double_rows(name, f"x{scale}", ours, theirs)


def _double_rows(name: str, what: str, ours: Any, theirs: Any) -> Iterator[ParityRow]:
    """In float64: in float32 a ReLU at the edge of 0 that falls to the other side moves gradients."""
    layers = in_order(ours, theirs)
    put(layers)
    x = torch.rand(IMAGES, 3, SIDE, SIDE) * 2 - 1
    with torch.no_grad():
        yield ParityRow(name, f"{what}, float32", apart(ours(x, []), theirs(x)), FORWARD)
    ours.double(), theirs.double()
    yield from rows(name, what, (lambda x: ours(x, []), theirs), layers, x.double())


def _discriminator_rows(module: Any) -> Iterator[ParityRow]:
    torch.manual_seed(2)
    ours: Any = PixelNet(3, 64)
    theirs: Any = module.UNetDiscriminatorSN(3)
    stir(ours)
    settle(ours)
    layers = in_order(ours, theirs)
    calls = (lambda x: ours(x).heads[0]), (lambda x: theirs(x).flatten(1))
    for training in (True, False):
        put(layers)
        ours.train(training), theirs.train(training)
        what = "training" if training else "evaluation"
        x = torch.rand(IMAGES, 3, 4 * SIDE, 4 * SIDE) * 2 - 1
        yield from rows("discriminator of pixels, 64 wide", what, calls, layers, x)


def _mask_row(module: Any) -> ParityRow:
    images = torch.rand(IMAGES, 3, 64, 48)
    ours = (sharpened(images * 2 - 1) + 1) / 2
    return ParityRow("unsharp mask", "images", apart(ours, module.USMSharp()(images)), FORWARD)


RULES: tuple[Rule, ...] = ((r"bias$", 0.1, 0.0), (r"weight$", 0.15, 0.0), (r"\.u$", 1 / math.sqrt(8), 0.0))
_TINY = {"name": SuperResolutionConfig().name, "generator_channels": 8, "blocks": 2, "growth": 4}
_SPEC = {"height": 32, "width": 32, "channels": 3, "classes": 0}


def record(checkout: Path) -> list[RecordedNetwork]:
    """The outputs that tests keep."""
    with importing(checkout) as module:
        plain = module.MSRResNet(num_feat=8, num_block=2, upscale=4)
        dense = module.RRDBNet(3, 3, scale=2, num_feat=8, num_block=2, num_grow_ch=4)
        return [
            recorded(_case("srresnet", {"generator": "srresnet", "scale": 4}), plain, in_order),
            recorded(_case("rrdb", {"scale": 2}), dense, in_order),
            recorded(_judge(), module.UNetDiscriminatorSN(3, num_feat=8), in_order),
        ]


def _case(name: str, changes: dict[str, Any]) -> RecordedNetwork:
    family = {**_TINY, **changes}
    return RecordedNetwork(
        f"tiny generator, {name}", family, _SPEC, "generator", RULES, [[2, 3, 12, 8]], call={"noise": []}
    )


def _judge() -> RecordedNetwork:
    family = {**_TINY, "discriminator_channels": 8}
    name = "tiny discriminator of pixels"
    return RecordedNetwork(name, family, _SPEC, "discriminator", RULES, [[2, 3, 32, 32]], training=True)
