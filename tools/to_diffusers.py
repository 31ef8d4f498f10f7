"""An autoencoder's snapshot as a folder that diffusers loads.

    python -m tools.to_diffusers runs/codec vae

OUT gets `config.json` and `diffusion_pytorch_model.safetensors`, for `AutoencoderKL.from_pretrained(OUT)`.
Latents without a distribution and images of two values, for which diffusers has no such network, are refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.models.autoencoder import Autoencoder, autoencoder_from
from pipeline.models.autoencoder.names import DIFFUSERS
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.snapshots import open_snapshot
from pipeline.storage.tensors import save_tensors


def write(network: Autoencoder, side: int, out: Path) -> None:
    """Writes the folder. side: of the images that it learnt from, in pixels."""
    shape = network.shape
    if not shape.distributions or shape.bounded:
        raise UserError("diffusers' AutoencoderKL has a distribution of latents and images without bounds")
    out.mkdir(parents=True, exist_ok=True)
    save_tensors(out / "diffusion_pytorch_model.safetensors", DIFFUSERS.theirs(network.state_dict()))
    publish_bytes(out / "config.json", json.dumps(described(network, side), indent=2).encode())


def described(network: Autoencoder, side: int) -> dict[str, Any]:
    """Returns the network's sizes under the names of diffusers' configuration."""
    shape, levels = network.shape, len(network.shape.widths)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": shape.image_channels,
        "out_channels": shape.image_channels,
        "latent_channels": shape.latent_channels,
        "block_out_channels": list(shape.widths),
        "layers_per_block": shape.blocks,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "mid_block_add_attention": shape.attention,
        "act_fn": "silu",
        "norm_num_groups": shape.groups,
        "sample_size": side,
        "scaling_factor": float(network.scale),
    }


def main(arguments: list[str] | None = None) -> int:
    """Writes the folder; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.to_diffusers", description=__doc__)
    parser.add_argument("snapshot", type=Path, metavar="SNAPSHOT", help="a snapshot or a run")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write into")
    asked = parser.parse_args(arguments)
    try:
        snapshot = open_snapshot(asked.snapshot)
        write(autoencoder_from(snapshot.weights()), snapshot.spec.height, asked.out)
    except UserError as error:
        print(f"hrgan: error: {asked.snapshot}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
