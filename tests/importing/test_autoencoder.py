"""Published KL autoencoders become snapshots that compute what diffusers computes.

`autoencoder_kl.json` has names, shapes and results of diffusers' own `AutoencoderKL` with the weights that
`weights_of` makes of them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from launch.assembly.sampling import sampler_of
from launch.main import main
from pipeline.models.autoencoder import Autoencoder, Shape, autoencoder_from
from pipeline.models.autoencoder.names import COMPVIS, DIFFUSERS
from pipeline.storage.manifest import read_manifest
from pipeline.storage.snapshots import open_snapshot
from tests.importing.autoencoders import weights_of

RECORDED = json.loads(Path(__file__).with_name("autoencoder_kl.json").read_text())
IMAGES = torch.sin(torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 6))
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    return weights_of(RECORDED["shapes"])


def brought(tensors: dict[str, Tensor], folder: Path, *options: str) -> int:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "vae.safetensors")
    return main(["import", str(folder / "vae.safetensors"), str(folder / "out"), *options])


def in_old_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    def old(name: str) -> str:
        for new, before in OLD.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        return name

    return {old(name): tensor for name, tensor in tensors.items()}


def in_compvis(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in a checkpoint of a whole diffusion model, whose other parts are not the autoencoder's."""
    names = COMPVIS.theirs(DIFFUSERS.ours(tensors))
    assert "decoder.up.1.upsample.conv.weight" in names  # counted from the image's side
    whole = {f"first_stage_model.{name}": tensor for name, tensor in names.items()}
    return {**whole, "first_stage_model.loss.logvar": torch.zeros(1), "model.unet.weight": torch.zeros(2)}


@pytest.mark.parametrize("named", [lambda tensors: tensors, in_old_names, in_compvis])
def test_it_computes_what_diffusers_computes(named, theirs, tmp_path):
    assert brought(named(theirs), tmp_path, "--scale", "0.5") == 0
    snapshot = open_snapshot(tmp_path / "out")
    network = autoencoder_from(snapshot.weights())
    assert (network.shape.factor, network.shape.latent_channels, network.shape.widths) == (2, 4, (32, 64))
    moments = network.encode(IMAGES)
    images = network.decode(moments.mean)
    for ours, name in ((moments.mean, "mean"), (moments.std, "std"), (images, "images")):
        torch.testing.assert_close(ours.flatten(), torch.tensor(RECORDED[name]), rtol=1e-4, atol=3e-5)
    assert network.scale == 0.5
    sampler = sampler_of(snapshot, torch.device("cpu"))
    torch.testing.assert_close(sampler.reconstruct(IMAGES), images)


def test_the_snapshot_says_where_it_is_from(theirs, tmp_path, capsys):
    assert brought(theirs, tmp_path) == 0
    assert "autoencoder, 256px, from the weights of an AutoencoderKL of diffusers" in capsys.readouterr().out
    details = read_manifest(tmp_path / "out").details
    assert details["origin"]["scale"] == "unknown: --scale tells it"
    assert details["family"]["channel_multipliers"] == [1, 2]
    assert details["family"]["kl_weight"] is None  # which no such file tells


def test_the_scale_of_the_best_known_one_is_known(tmp_path):
    """f8 with 4 channels, in half precision."""
    tensors = DIFFUSERS.theirs(Autoencoder(Shape(3, 4, (32, 32, 32, 32), 1)).state_dict())
    assert brought({name: tensor.half() for name, tensor in tensors.items()}, tmp_path) == 0
    weights = open_snapshot(tmp_path / "out").weights()
    assert weights["scale"].item() == pytest.approx(0.18215)
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decoder.conv_out.bias": torch.zeros(5)}, "decoder.last.bias has shape [5], not [3]"),
        ({"decoder.conv_in.weight": None}, "decoder.trunk.first.weight is missing"),
        ({"encoder.more.weight": torch.zeros(2)}, "encoder.more.weight is unexpected"),
        ({"encoder.conv_in.weight": None}, "encoder.first.weight is missing"),
        ({"encoder.down_blocks.0.resnets.0.conv2.weight": torch.zeros(31, 32, 3, 3)}, "multiples of 32"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, words, theirs, tmp_path, capsys):
    tensors = {name: tensor for name, tensor in {**theirs, **change}.items() if tensor is not None}
    assert brought(tensors, tmp_path) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_half_a_file_and_options_that_mean_nothing_are_refused(theirs, tmp_path, capsys):
    assert brought(theirs, tmp_path, "--discriminator") == 2
    assert "--discriminator: an autoencoder's file has none of ours" in capsys.readouterr().err
    file = tmp_path / "vae.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    assert main(["import", str(file), str(tmp_path / "out")]) == 2
    assert "not a whole file of safetensors" in capsys.readouterr().err
    torch.save({"shared.weight": torch.zeros(7, 6), "linear.weight": torch.zeros(4, 4)}, tmp_path / "G.pth")
    assert main(["import", str(tmp_path / "G.pth"), str(tmp_path / "out"), "--scale", "1"]) == 2
