"""The published weights of VGG16 and LPIPS in one file, as a fixture of training.

    python -m tools.perceptual_weights perceptual.safetensors

Both files are taken from torch hub's folder, or downloaded if they are missing there, and verified before
they are read. `--vgg-weights` and `--lpips-weights` name others, whose digests must be given. The result is
what `fixtures.perceptual.file` names.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors.torch import save

from pipeline.errors import UserError
from pipeline.evaluation.features.lpips import Perceptual
from pipeline.evaluation.features.weights import PerceptualWeights, chosen_perceptual
from pipeline.storage.atomic import publish_bytes


def write(weights: PerceptualWeights, out: Path) -> None:
    """Writes the weights by the names of `pipeline.perceptual`, whole or not at all."""
    publish_bytes(out, save(Perceptual(weights).state_dict()))


def main(arguments: list[str] | None = None) -> int:
    """Writes the file; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.perceptual_weights", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="the .safetensors file to write")
    for network in ("vgg", "lpips"):
        parser.add_argument(f"--{network}-weights", type=Path, metavar="FILE")
        parser.add_argument(f"--{network}-digest", metavar="SHA256")
    asked = parser.parse_args(arguments)
    try:
        weights = chosen_perceptual(
            asked.vgg_weights, asked.vgg_digest, asked.lpips_weights, asked.lpips_digest
        )
        write(weights, asked.out)
    except UserError as error:
        print(f"hrgan: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
