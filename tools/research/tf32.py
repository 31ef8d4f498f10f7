"""How wrong path lengths become with TF32, emulated on a CPU.

    python -m tools.research.tf32 [SNAPSHOT_OR_RUN] [--count 64]

Inputs of convolutions and matrix products are rounded to ten bits of mantissa, as tensor cores round them;
sums stay float32. VGG16 and LPIPS have random weights, which need no download: figures compare with each
other alone. Without a snapshot, an untrained StyleGAN2 at 32 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import ops
from launch.assembly.sampling import sampler_of
from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec, Sampler
from pipeline.evaluation.arithmetic.paths import Space, Steps, path_length
from pipeline.evaluation.features.lpips import Perceptual
from pipeline.evaluation.features.weights import PerceptualWeights
from pipeline.latents import LatentSpace
from pipeline.models.registry import build_family
from pipeline.randomness import seed_everything
from pipeline.storage.manifest import digest_file
from pipeline.storage.snapshots import open_snapshot
from tools.bench.machine import write_rows

_NAMES = "convolution convolution_backward conv2d conv_transpose2d linear matmul einsum mm addmm bmm baddbmm"
PRODUCTS = {f"aten::{name}" for name in _NAMES.split()}
_DROPPED = 13  # of float32's 23 bits
# VGG16's convolutions (Simonyan and Zisserman 2015, table 1, column D), as torchvision numbers its layers.
_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


class Tf32(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, products take float32 as tensor cores do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in PRODUCTS:
            args = tree_map(lambda x: rounded(x) if isinstance(x, Tensor) else x, args)
        return func(*args, **(kwargs or {}))


def rounded(x: Tensor) -> Tensor:
    """float32 to the nearest number with ten bits of mantissa, halves away from zero; other types as they
    are."""
    if x.dtype != torch.float32:
        return x
    bits = x.contiguous().view(torch.int32)
    return ((bits + (1 << (_DROPPED - 1))) & -(1 << _DROPPED)).view(torch.float32)


def factor(sampler: Sampler, which: Space, count: int) -> dict[str, Any]:
    """The path length in float32, with TF32, and how many times the one is the other."""
    assert isinstance(sampler, LatentSpace)
    with _random_perceptual() as perceptual:
        steps = Steps(sampler, which, "end", False, perceptual)
        full = path_length(steps.lengths(range(count), None))["value"]
        with Tf32():  # type: ignore[no-untyped-call]
            loose = path_length(steps.lengths(range(count), None))["value"]
    return {"op": f"ppl-{which}", "count": count, "float32": full, "tf32": loose, "factor": loose / full}


def untrained() -> Sampler:
    """StyleGAN2 at 32 pixels with fresh weights."""
    config = StyleGAN2Config(channel_base=512, channel_max=64)
    family = build_family(config, ImageSpec(32, 32, 3), batch_size=8)
    seed_everything(0)
    return family.sampler(family.networks().generator.eval().requires_grad_(False))


@contextmanager
def _random_perceptual() -> Iterator[Perceptual]:
    seed_everything(0)
    vgg: dict[str, Tensor] = {}
    inputs = 3
    for layer, width in zip(_LAYERS, _WIDTHS, strict=True):
        conv = nn.Conv2d(inputs, width, 3)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        vgg |= {f"features.{layer}.{name}": value for name, value in conv.state_dict().items()}
        inputs = width
    linear = {
        f"lin{n}.model.1.weight": torch.rand(1, c, 1, 1) for n, c in enumerate((64, 128, 256, 512, 512))
    }
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "vgg.pth"), Path(folder, "lpips.pth")
        for path, weights in zip(files, (vgg, linear), strict=True):
            torch.save(weights, path)
        first, second = map(digest_file, files)
        yield Perceptual(PerceptualWeights(*files, first, second))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints path lengths in z with and without TF32."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source", type=Path, nargs="?", help="a snapshot, or a run: its newest")
    parser.add_argument("--space", choices=("z", "w"), default="z", help="where paths run")
    parser.add_argument("--count", type=int, default=64, help="steps that are measured")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    if options.source is None:
        sampler = untrained()
    else:
        sampler = sampler_of(open_snapshot(options.source), torch.device("cpu"))
    ops.use("reference")  # whose convolutions and products are torch's
    row = factor(sampler, options.space, options.count)
    times = f"{row['factor']:.1f} times"
    print(f"{row['op']}  float32 {row['float32']:.4g}  TF32 {row['tf32']:.4g}  {times}")
    write_rows(options.json, [row])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
