"""Examines six kernels with Nsight Compute: the shares of memory and issue rate that they reach, and their
registers."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

import ops
from tools.gpu_check.step import Conditions, Figure, LeftOut, figure

WANTED = {
    "Duration": "",
    "DRAM Throughput": "",
    "Memory Throughput": "%",
    "Compute (SM) Throughput": "%",
    "One or More Eligible": "%",
    "Registers Per Thread": "",
}
"""Metric -> its unit, where another of the same name has another unit."""
_ROOT = Path(__file__).parents[2]


def ncu(conditions: Conditions) -> Iterator[Figure]:
    """Runs Nsight Compute. sizes: images, channels, side, type of the operands."""
    program = shutil.which("ncu")
    if program is None:
        raise LeftOut("ncu is not on PATH")
    sizes = conditions.sizes
    arguments = [
        conditions.device.type,
        *(str(sizes[name]) for name in ("images", "channels", "side", "type")),
    ]
    sections = [word for name in ("SpeedOfLight", "SchedulerStats", "LaunchStats")
                for word in ("--section", name)]  # fmt: skip
    command = [program, "--clock-control", "none", "--csv", "--page", "details", *sections,
               "--kernel-name-base", "demangled", "--kernel-name", "regex:hrgan",
               sys.executable, "-m", "tools.gpu_check.kernels", *arguments]  # fmt: skip
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise RuntimeError(f"ncu: {' '.join(said) or f'exit code {done.returncode}'}")
    yield from metrics(done.stdout)


def metrics(text: str) -> Iterator[Figure]:
    """Returns the wanted figures from ncu's CSV, which follows the program's own output. Raises ValueError if
    there is none."""
    lines = text.splitlines()
    start = next((place for place, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        raise ValueError("ncu gave no table: no kernel of ours ran")
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        name, unit = row["Metric Name"], row["Metric Unit"]
        if name in WANTED and WANTED[name] in ("", unit):
            kernel = row["Kernel Name"].split("(")[0].split("hrgan::")[-1][:60]
            value = float(row["Metric Value"].replace(",", ""))
            yield figure(f"{row['ID']} {kernel}: {name}", value, unit)


def cases(x: Tensor) -> Mapping[str, Callable[[], object]]:
    """Returns one call of each operation whose kernel is examined. x: [N, C, H, W] of any type."""
    taps = ops.setup_filter([1, 3, 3, 1], device=x.device)
    bias, leaf = torch.randn(x.shape[1], device=x.device), x.detach().requires_grad_()
    y = ops.bias_act(leaf, bias, act="lrelu", clamp=256.0)
    return {
        "affine_act": lambda: ops.bias_act(x, bias, act="lrelu", clamp=256.0),
        "affine_act_backward": lambda: torch.autograd.grad(y, leaf, x),
        "blur_act": lambda: ops.blur_act(x, taps, None, bias, None, padding=1, act="lrelu"),
        "upfirdn2d up": lambda: ops.upsample2d(x, taps),
        "upfirdn2d down": lambda: ops.downsample2d(x, taps),
        "minibatch_stddev": lambda: ops.minibatch_stddev(x, len(x)),
    }


@torch.enable_grad()
def main() -> None:
    """Runs each case once; this is what ncu profiles."""
    device, images, channels, side, kind = sys.argv[1:]
    ops.use("native" if device == "cuda" else "auto", devices=("cuda",) if device == "cuda" else ("cpu",))
    shape = int(images), int(channels), int(side), int(side)
    x = torch.randn(shape, device=device).to(getattr(torch, kind), memory_format=torch.channels_last)
    for case in cases(x).values():
        case()
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
