"""Are two runs the same to the bit? Compares their newest checkpoints tensor by tensor.

python -m tools.compare_runs RUN_A RUN_B
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from pipeline.errors import UserError
from pipeline.storage.checkpoints import CheckpointStore


def newest_tensors(run: Path) -> dict[str, torch.Tensor]:
    """Returns every tensor of a run's newest complete checkpoint, by `group/name`."""
    checkpoint = CheckpointStore(run, 1).newest(lambda line: print(line, file=sys.stderr))
    if checkpoint is None:
        raise UserError(f"{run}: no whole checkpoint")
    groups = checkpoint.load()
    return {f"{group}/{name}": value for group, tensors in groups.items() for name, value in tensors.items()}


def differences(first: Path, second: Path) -> list[str]:
    """Returns one line for each tensor that is missing or differs in any bit; an empty list if the runs are
    equal."""
    a, b = newest_tensors(first), newest_tensors(second)
    lines = [f"{name}: only in one run" for name in sorted(a.keys() ^ b.keys())]
    for name in sorted(a.keys() & b.keys()):
        if a[name].shape != b[name].shape or a[name].dtype != b[name].dtype:
            lines.append(f"{name}: {a[name].shape} {a[name].dtype} against {b[name].shape} {b[name].dtype}")
        elif a[name].numpy().tobytes() != b[name].numpy().tobytes():
            gap = (a[name].double() - b[name].double()).abs().max().item()
            lines.append(f"{name}: differs by up to {gap:.3g}")
    return lines


def main() -> int:
    """Prints the differences. The exit code is 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    arguments = parser.parse_args()
    lines = differences(arguments.first, arguments.second)
    count = len(newest_tensors(arguments.first))
    print("\n".join(lines) if lines else f"identical to the bit: {count} tensors")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
