"""What a configuration costs on 8 to 4,096 GPUs: step time, exchanges, memory, loader, checkpoints, days.

FLOPs, activations and exchanges are counted from the networks themselves, in a real step on tensors without
data; times follow from stated constants (`--set NAME=VALUE` changes one). Strong scaling keeps the
configuration's batch and splits it over more GPUs, down to one group of the minibatch statistics each. Weak
scaling keeps the images of a GPU that the published settings have on 8: nobody has published such batches,
and what they do to a GAN is not known. --measure compares the model with two ranks on this machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.config.shipped import shipped
from pipeline.errors import RunFailed, UserError
from pipeline.images.codec import format_of
from pipeline.images.pictures import write_picture
from tools.bench.machine import write_rows
from tools.research.scale import measuring
from tools.research.scale.constants import Constants, constants
from tools.research.scale.constants import table as constants_table
from tools.research.scale.counting import count_run
from tools.research.scale.drawing import picture
from tools.research.scale.model import ScaleRow, row, setting

FULL_SIZES = {
    "stylegan2-1024": (1024, 0),
    "progan-1024": (1024, 0),
    "biggan-512": (512, 1000),
    "r3gan-ffhq-256": (256, 0),
}
"""Configuration -> (resolution, classes)."""
_COLUMNS = (
    "configuration", "scaling", "GPUs", "batch", "step, s", "exchanges, s", "of it norm", "sent, MB",
    "s/kimg", "days", "efficiency", "GB a GPU (!: too many): replicated", "zero 1", "zero 2",
    "of it activations",
    "images/s", "MB/s a node", "decode cores a node", "checkpoint, GB", "stall, s", "write, s",
)  # fmt: skip
GPUS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def simulate(name: str, chosen: Constants, gpus: Sequence[int], *, recompute: bool) -> list[ScaleRow]:
    """All rows of one configuration, strong scaling first; none where the batch cannot be split."""
    resolution, classes = FULL_SIZES[name]
    config, spans = count_run(shipped(name), resolution, classes, recompute=recompute)
    how = setting(config, chosen)
    made = [row(name, spans, count, way, how) for way in ("strong", "weak") for count in gpus]
    return [one for one in made if one is not None]


def table(rows: Sequence[ScaleRow], room: float) -> list[str]:
    """Lines of markdown. room: bytes of a GPU; what needs more is marked."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    for one in rows:
        step, kinds = one.step, one.memory
        sizes = " | ".join(
            f"{kinds[name].total / 1e9:.1f}{'!' * (kinds[name].total > room)}"
            for name in ("replicated", "zero1", "zero2")
        )
        lines.append(
            f"| {one.family} | {one.scaling} | {one.gpus} | {one.batch} | {step.total:.3f} "
            f"| {step.communication:.4f} | {step.norm:.4f} | {sum(step.sent.values()) / 1e6:.0f} "
            f"| {one.seconds_per_kimg:.3g} | {one.days:.3g} | {one.efficiency:.1%} | {sizes} "
            f"| {kinds['replicated'].activations / 1e9:.1f} | {one.images_per_second:.0f} "
            f"| {one.node_megabytes_per_second:.0f} | {one.node_decode_cores:.1f} "
            f"| {one.checkpoint_bytes / 1e9:.2f} | {one.checkpoint_stall:.2f} | {one.checkpoint_write:.2f} |"
        )
    return lines


def sent_table(rows: Sequence[ScaleRow]) -> list[str]:
    """What a step exchanges, by kind: markdown, one line a configuration (at its fewest GPUs)."""
    lines = ["| configuration | MB a step, mean over lazy phases |", "|---|---|"]
    seen = set()
    for one in rows:
        if one.family not in seen:
            seen.add(one.family)
            parts = ", ".join(f"{kind} {size / 1e6:.3g}" for kind, size in one.step.sent.items())
            lines.append(f"| {one.family} | {parts} |")
    return lines


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("configs", nargs="*", help=f"of {', '.join(FULL_SIZES)}; all if none")
    arguments.add_argument("--gpus", type=int, nargs="+", default=list(GPUS))
    arguments.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a constant; repeatable"
    )
    arguments.add_argument("--recompute", action="store_true", help="with engine.recompute=blocks")
    arguments.add_argument("--json", type=Path, help="write rows and constants here")
    arguments.add_argument("--picture", type=Path, help="draw s/kimg over GPUs here (.png, .jpg or .webp)")
    arguments.add_argument(
        "--measure", action="store_true", help="compare the model with two ranks here instead"
    )
    arguments.add_argument(
        "--networks", type=int, nargs="*", default=[1000, 100], help="of --measure, in Mbit/s; needs root"
    )
    arguments.add_argument("--steps", type=int, default=9, help="of --measure, each way")
    return arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables."""
    options = parser().parse_args(arguments)
    if options.measure:
        trials = measuring.trials([None, *options.networks], options.steps)
        print("\n".join(measuring.table(trials)))
        write_rows(options.json, measuring.as_rows(trials))
        return 0
    names = options.configs or list(FULL_SIZES)
    for name in names:
        if name not in FULL_SIZES:
            raise UserError(f"configs: {name!r} is unknown; allowed: {', '.join(FULL_SIZES)}")
    if min(options.gpus) < 1:
        raise UserError(f"--gpus: {min(options.gpus)}; allowed: 1 or more")
    if options.picture is not None:
        format_of(options.picture)  # before the work, not after it
    chosen, rows = constants(options.set), list[ScaleRow]()
    for name in names:
        print(f"counting {name} ...", file=sys.stderr, flush=True)
        rows += simulate(name, chosen, options.gpus, recompute=options.recompute)
    print(
        "\n".join([*constants_table(chosen), "", *sent_table(rows), "", *table(rows, chosen["gpu_memory"])])
    )
    write_rows(options.json, [{**asdict(one), "constants": dict(chosen.values)} for one in rows])
    if options.picture is not None:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        write_picture(options.picture, picture(rows))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (UserError, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
