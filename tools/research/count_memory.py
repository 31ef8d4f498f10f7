"""Memory of a GPU that trains StyleGAN2's config f, an image and besides: counted, not measured.

    python -m tools.research.count_memory

Bytes of tensors that are alive at once, at their most, in a real step of the real networks at full size on
tensors without data; compiled operations are those of a GPU. Not counted: what the driver, CUDA's context and
cuDNN take for themselves, and what torch's allocator loses between blocks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec, Phase
from tools.bench.machine import write_rows
from tools.bench.without_data import step_without_data
from tools.research.scale.counting import Linear
from tools.research.scale.tally import Tally

SIZES = (256, 512, 1024)
_WAYS = [(precision, way) for precision in ("bfloat16", "float32") for way in ("off", "blocks")]
_FEW = 8  # images; twice as many are the second point of the line
_CONFIG_F = ("family.channel_base=32768", "family.minibatch_stddev_group=4")


@dataclass(frozen=True)
class Memory:
    """The bytes per image, and those of everything else, in the phase that needs most per image."""

    image: float
    rest: float
    phase: str


class Peaks(dict[str, int]):
    """The most bytes alive in each phase, beyond weights, gradients and moments."""

    @contextmanager
    def around(self, phase: Phase) -> Iterator[None]:
        """Notes those of one turn; for `Trainer.around`."""
        with Tally() as tally:
            yield
        self[phase.name] = max(tally.peak, self.get(phase.name, 0))


def memory(name: str, resolution: int, overrides: Sequence[str], few: int = _FEW) -> Memory:
    """Returns the memory of training a configuration that comes with hrgan, by name. few: the images of the
    first of two counts."""
    config, spec = load_config(shipped(name), list(overrides)), ImageSpec(resolution, resolution, 3)
    one, two = Peaks(), Peaks()
    trainer = step_without_data(config, spec, few, around=one.around)
    step_without_data(config, spec, 2 * few, around=two.around)
    lines = {phase: Linear.through(few, one[phase], 2 * few, two[phase]) for phase in one}
    phase = max(lines, key=lambda phase: lines[phase].each)
    sizes = {net: sum(4 * p.numel() for p in module.parameters()) for net, module in trainer.networks.items()}
    # Weights, gradients and two moments of both networks, and the generator's averages.
    standing = 4 * sum(sizes.values()) + (1 + len(config.averages.widths)) * sizes["generator"]
    return Memory(lines[phase].each, standing + lines[phase].fixed, phase)


def rows() -> list[dict[str, Any]]:
    """Returns a row for each resolution, precision and way."""
    measured = []
    for resolution in SIZES:
        for precision, recompute in _WAYS:
            settings = [*_CONFIG_F, f"engine.precision={precision}", f"engine.recompute={recompute}"]
            one = memory(f"stylegan2-{resolution}.yaml", resolution, settings)
            measured.append({
                "op": f"memory, {precision}, engine.recompute={recompute}", "size": f"{resolution}px",
                "image_bytes": one.image, "rest_bytes": one.rest, "phase": one.phase,
            })  # fmt: skip
    return measured


def table(measured: Sequence[dict[str, Any]]) -> list[str]:
    """Returns lines of Markdown: GB per image, with the phase that needs them, and GB besides at most."""
    ways = [f"{precision}{', recomputed' * (recompute != 'off')}" for precision, recompute in _WAYS]
    lines = [f"| GB an image | {' | '.join(ways)} | besides |", "|---" * (len(ways) + 2) + "|"]
    for first in range(0, len(measured), len(ways)):
        line = measured[first : first + len(ways)]
        cells = [f"{row['image_bytes'] / 1e9:.2f} ({row['phase']})" for row in line]
        rest = max(row["rest_bytes"] for row in line)
        lines.append(f"| {line[0]['size']} | {' | '.join(cells)} | {rest / 1e9:.1f} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args(arguments)
    measured = rows()
    print("\n".join(table(measured)))
    write_rows(options.json, measured)


if __name__ == "__main__":
    main()
