"""A state dict of BigGAN-PyTorch becomes a snapshot."""

from __future__ import annotations

import torch

from launch.main import main
from pipeline.config.families import BigGANConfig
from pipeline.contracts import ImageSpec
from pipeline.models.biggan import BigGAN
from pipeline.storage.snapshots import open_snapshot
from tests.models.test_biggan_foreign import theirs


def test_a_generator_is_imported_and_draws(tmp_path, capsys):
    torch.manual_seed(2)
    config = BigGANConfig(
        generator_channels=4, discriminator_channels=4, z_dim=20, shared_dim=6, generator_attention=()
    )
    spec = ImageSpec(32, 32, 3, 7)
    generator = BigGAN(config, spec, batch_size=8).networks().generator
    torch.save(theirs(generator.state_dict()), tmp_path / "G_ema.pth")
    call = ["import", str(tmp_path / "G_ema.pth"), str(tmp_path / "out")]
    assert main([*call, "--discriminator"]) == 2
    assert "--discriminator: its discriminator has a file of its own" in capsys.readouterr().err
    assert main(call) == 0
    snapshot = open_snapshot(tmp_path / "out")
    assert snapshot.spec == spec
    for name, tensor in generator.state_dict().items():
        assert torch.equal(snapshot.weights()[name], tensor.float()), name


def test_half_a_generator_is_refused_in_a_line(tmp_path, capsys):
    torch.save({"shared.weight": torch.zeros(7, 6), "linear.weight": torch.zeros(4, 4)}, tmp_path / "G.pth")
    assert main(["import", str(tmp_path / "G.pth"), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hrgan: error: {tmp_path / 'G.pth'}: ")
    assert said.count("\n") == 1
