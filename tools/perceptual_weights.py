"""The published weights of VGG16 and LPIPS in one file, or those of VGG19, as a fixture of training.

    python -m tools.perceptual_weights perceptual.safetensors
    python -m tools.perceptual_weights vgg19.safetensors --vgg19 vgg19-dcbb9e9d.pth --vgg19-digest SHA256

Both files are taken from torch hub's folder, or downloaded if they are missing there, and verified before
they are read. `--vgg-weights` and `--lpips-weights` name others, whose digests must be given. The result is
what `fixtures.perceptual.file` names: the first for autoencoders, the second for families that make images of
images. VGG19's file is torchvision's, which has to be there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from safetensors.torch import save

from pipeline.errors import UserError
from pipeline.evaluation.features.lpips import Perceptual, copy_weights
from pipeline.evaluation.features.weights import VGG19, PerceptualWeights, chosen_perceptual, read_tensors
from pipeline.perceptual import FeatureDistance
from pipeline.storage.atomic import publish_bytes


def write(weights: PerceptualWeights, out: Path) -> None:
    """Writes the weights by the names of `pipeline.perceptual`, whole or not at all."""
    publish_bytes(out, save(Perceptual(weights).state_dict()))


def write_vgg19(path: Path, digest: str, out: Path) -> None:
    """Writes VGG19's convolutions by the names of `pipeline.perceptual`, whole or not at all."""
    tensors = read_tensors(VGG19, path, digest)
    network = FeatureDistance({}, normalised=True)
    layers = {f"features.{name.split('.', 2)[2]}": p for name, p in network.stages.named_parameters("stages")}
    copy_weights(layers, tensors, VGG19)
    publish_bytes(out, save(network.state_dict()))


def main(arguments: list[str] | None = None) -> int:
    """Writes the file; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.perceptual_weights", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="the .safetensors file to write")
    for network in ("vgg", "lpips"):
        parser.add_argument(f"--{network}-weights", type=Path, metavar="FILE")
        parser.add_argument(f"--{network}-digest", metavar="SHA256")
    parser.add_argument("--vgg19", type=Path, metavar="FILE", help="write VGG19 of this file instead")
    parser.add_argument("--vgg19-digest", metavar="SHA256", help="the sha256 that this file must have")
    asked = parser.parse_args(arguments)
    try:
        if asked.vgg19 is not None:
            if asked.vgg19_digest is None:
                raise UserError(f"--vgg19 {asked.vgg19}: give its sha256 too, with --vgg19-digest")
            write_vgg19(asked.vgg19, asked.vgg19_digest, asked.out)
            return 0
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
