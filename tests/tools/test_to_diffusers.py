"""What diffusers is given is what it is imported from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from launch.main import main
from pipeline.errors import UserError
from pipeline.models.autoencoder import Autoencoder, Shape
from tests.importing.autoencoders import weights_of
from tests.importing.test_autoencoder import RECORDED
from tools import to_diffusers


def test_a_published_file_comes_back_as_it_was(tmp_path: Path) -> None:
    theirs = weights_of(RECORDED["shapes"])
    save_file(theirs, tmp_path / "vae.safetensors")
    call = ["import", str(tmp_path / "vae.safetensors"), str(tmp_path / "codec"), "--scale", "0.25"]
    assert main(call) == 0
    assert to_diffusers.main([str(tmp_path / "codec"), str(tmp_path / "out")]) == 0
    again = load_file(tmp_path / "out" / "diffusion_pytorch_model.safetensors")
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["block_out_channels"], config["layers_per_block"]) == ([32, 64], 1)
    assert (config["latent_channels"], config["scaling_factor"]) == (4, 0.25)


def test_the_groups_of_normalisations_are_told(tmp_path: Path) -> None:
    to_diffusers.write(Autoencoder(Shape(3, 4, (16,), 1, groups=4)), 8, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["norm_num_groups"] == 4
    names = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert all(name.startswith(("encoder.", "decoder.", "quant_conv", "post_quant_conv")) for name in names)


def test_what_diffusers_does_not_have_is_refused(tmp_path: Path) -> None:
    for more in ({"distributions": False}, {"bounded": True}):
        with pytest.raises(UserError, match="has a distribution of latents and images without bounds"):
            to_diffusers.write(Autoencoder(Shape(1, 4, (32,), 1, **more)), 8, tmp_path)
    assert not list(tmp_path.iterdir())
