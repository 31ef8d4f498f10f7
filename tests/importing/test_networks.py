"""What becomes of other projects' files: the same weights, the settings that their shapes say, a snapshot."""

from __future__ import annotations

import io
import json

import pytest
import torch

from launch.main import main
from pipeline.contracts import ImageSpec
from pipeline.models.registry import build_family
from pipeline.models.stylegan2.foreign import channels_of
from pipeline.storage.snapshots import open_snapshot
from pipeline.storage.start import load_start
from tests.importing.writing import (
    ALIKE,
    SPEC,
    our_networks,
    rosinality_state,
    write_ada,
    write_rosinality,
)

PLAIN = ImageSpec(16, 16, 3)


def equal(weights, network) -> None:
    state = network.state_dict()
    assert weights.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_stylegan2_ada_file_becomes_the_same_networks(tmp_path, protocol):
    networks = our_networks()
    write_ada(tmp_path / "a.pkl", networks, protocol=protocol)
    assert main(["import", str(tmp_path / "a.pkl"), str(tmp_path / "out"), "--discriminator"]) == 0
    snapshot = open_snapshot(tmp_path / "out")
    assert snapshot.spec == SPEC
    assert snapshot.classes == ("0", "1", "2", "3")
    config = snapshot.family.model_dump()
    assert {key: config[key] for key in ALIKE} == ALIKE
    assert (config["clamp"], config["clamp_everywhere"]) == (None, False)
    assert snapshot.images_seen is None
    origin = snapshot.manifest.details["origin"]
    assert origin["file"] == "a.pkl"
    assert len(origin["sha256"]) == 64
    start = load_start(tmp_path / "out")
    equal(start.generator, networks.generator)
    equal(start.discriminator, networks.discriminator)
    assert not (tmp_path / "ran-the-source").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_rosinality_file_becomes_the_same_networks(tmp_path, legacy):
    networks = our_networks(PLAIN)
    write_rosinality(tmp_path / "a.pt", networks, legacy=legacy)
    assert main(["import", str(tmp_path / "a.pt"), str(tmp_path / "out"), "--discriminator"]) == 0
    start = load_start(tmp_path / "out")
    equal(start.generator, networks.generator)
    equal(start.discriminator, networks.discriminator)
    assert open_snapshot(tmp_path / "out").spec == PLAIN


def test_residual_and_skip_are_told_apart(tmp_path):
    changes = {"generator_architecture": "residual", "discriminator_architecture": "skip"}
    networks = our_networks(**changes)
    write_ada(tmp_path / "a.pkl", networks)
    assert main(["import", str(tmp_path / "a.pkl"), str(tmp_path / "out"), "--discriminator"]) == 0
    config = open_snapshot(tmp_path / "out").family.model_dump()
    assert {key: config[key] for key in changes} == changes
    equal(load_start(tmp_path / "out").discriminator, networks.discriminator)


def test_a_clamp_holds_in_every_layer_whatever_the_precision(tmp_path):
    write_ada(tmp_path / "a.pkl", our_networks(), clamp=0.01)
    assert main(["import", str(tmp_path / "a.pkl"), str(tmp_path / "out"), "--discriminator"]) == 0
    snapshot = open_snapshot(tmp_path / "out")
    networks = build_family(snapshot.family, snapshot.spec, batch_size=8).networks()
    for network in (networks.generator.synthesis, networks.discriminator):
        tops = [
            m.clamp for m in network.modules() if hasattr(m, "clamp") and getattr(m, "act", 0) != "linear"
        ]
        assert set(tops) == {0.01}
    sampler = build_family(snapshot.family, snapshot.spec, batch_size=8).sampler(networks.generator)
    assert sampler.draw([1]).images.abs().max() <= 0.01 * 3 * 1.5  # three clamped outputs, filters overshoot


def test_without_a_mean_latent_it_is_the_mean_of_many(tmp_path):
    networks = our_networks(PLAIN)
    state = rosinality_state(networks)
    del state["latent_avg"], state["d"]
    torch.save(state, tmp_path / "a.pt")
    assert main(["import", str(tmp_path / "a.pt"), str(tmp_path / "out")]) == 0
    snapshot = open_snapshot(tmp_path / "out")
    assert "not in the file" in snapshot.manifest.details["origin"]["w_avg"]
    with torch.no_grad():
        w = networks.generator.mapping(torch.randn(40000, 12), None)
    error = 5 * w.std(dim=0) * (1 / 40000 + 1 / 16384) ** 0.5
    assert ((snapshot.weights()["mapping.w_avg"] - w.mean(dim=0)).abs() < error).all()


def test_generate_and_evaluate_take_what_was_imported(tmp_path, capsys):
    write_ada(tmp_path / "a.pkl", our_networks())
    out = tmp_path / "out"
    assert main(["import", str(tmp_path / "a.pkl"), str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["generator.safetensors", "manifest.json"]
    assert main(["generate", str(out), str(tmp_path / "shards"), "--count", "16", "--device", "cpu"]) == 0
    again = ["evaluate", str(out), "--data", str(tmp_path / "shards"), "--count", "16", "--device", "cpu"]
    capsys.readouterr()
    assert main([*again, "--metrics", "swd"]) == 0
    assert "untrained" not in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics-out.json").read_text())["metrics"]["swd"]["value"] >= 0


def test_the_same_import_may_be_repeated_and_nothing_is_overwritten(tmp_path, capsys):
    write_ada(tmp_path / "a.pkl", our_networks())
    call = ["import", str(tmp_path / "a.pkl"), str(tmp_path / "out")]
    assert main(call) == 0
    before = (tmp_path / "out/manifest.json").read_bytes()
    assert main(call) == 0
    assert (tmp_path / "out/manifest.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    assert main([*call[:2], str(tmp_path / "mine")]) == 2
    assert "exists and is not this import; allowed: a new or an empty folder" in capsys.readouterr().err
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"


def broken(change):
    state = rosinality_state(our_networks(PLAIN))
    change(state)
    return state


MISFITS = {
    "a missing tensor": (
        lambda s: s["g_ema"].pop("convs.0.noise.weight"),
        "synthesis.blocks.1.convs.0.noise_strength is missing",
    ),
    "an unexpected one": (
        lambda s: s["g_ema"].update({"convs.0.extra": torch.zeros(1)}),
        "convs.0.extra is unexpected",
    ),
    "another shape": (
        lambda s: s["g_ema"].update({"convs.1.conv.weight": torch.zeros(1, 16, 9, 3, 3)}),
        "convs.1.weight has shape [16, 9, 3, 3], not [16, 16, 3, 3]",
    ),
    "odd channels": (
        lambda s: s["g_ema"].update({"convs.1.activate.bias": torch.zeros(11)}),
        "its channels (4px: 16, 8px: 11, 16px: 8) are not min(channel_base / resolution, channel_max)",
    ),
    "another filter": (
        lambda s: s["g_ema"].update({"convs.0.conv.blur.kernel": torch.ones(2, 2)}),
        "its filter convs.0.conv.blur.kernel is not [1, 3, 3, 1]",
    ),
    "a level of a million": (
        lambda s: s["g_ema"].update({"convs.9998.activate.bias": torch.zeros(1)}),
        "its generator does not fit ours: resolutions are missing",
    ),
    "another project": (
        lambda s: [s.clear(), s.update({"model": {"layer1.weight": torch.zeros(2)}})],
        "weights of an unknown format: it holds model; allowed: a stylegan2-ada-pytorch",
    ),
    "no discriminator": (
        lambda s: s.pop("d"),
        "--discriminator: it holds no discriminator; leave the option out",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_said_in_a_line(tmp_path, capsys, name):
    change, message = MISFITS[name]
    torch.save(broken(change), tmp_path / "a.pt")
    assert main(["import", str(tmp_path / "a.pt"), str(tmp_path / "out"), "--discriminator"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hrgan: error: {tmp_path / 'a.pt'}: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("base", [16384, 32768, 512])
@pytest.mark.parametrize("most", [16, 512])
@pytest.mark.parametrize("levels", [1, 4, 9])
def testchannels_of_are_found_from_widths(base, most, levels):
    widths = [min(base // (4 << level), most) for level in range(levels)]
    found = channels_of(widths)
    assert [min(found["channel_base"] // (4 << n), found["channel_max"]) for n in range(levels)] == widths


def test_half_precision_and_views_are_read(tmp_path):
    networks = our_networks(PLAIN)
    state = rosinality_state(networks)
    style = state["g_ema"]["style.1.weight"]
    both = torch.stack([style, style + 1]).half()
    state["g_ema"]["style.1.weight"] = both[1].t()  # a transposed view of half a storage
    for legacy in (False, True):
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=not legacy)
        (tmp_path / "a.pt").write_bytes(file.getvalue())
        out = tmp_path / f"out{legacy}"
        assert main(["import", str(tmp_path / "a.pt"), str(out)]) == 0
        found = open_snapshot(out).weights()["mapping.layers.0.weight"]
        assert torch.equal(found, both[1].t().float())
