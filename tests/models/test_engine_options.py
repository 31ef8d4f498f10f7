"""What the engine's options do to every family: something, or a line that says which are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from launch.main import main
from pipeline.errors import UserError
from pipeline.models.layers import compile_main_phases
from pipeline.models.registry import FAMILIES
from tests.tiny_families import BATCH, FLOAT32_ALONE, GIVEN, seeded_networks, tiny_family, tiny_game

CONFIGS = Path(__file__).parents[2] / "configs"
NOT_COMPILED = ("biggan", "dcgan", "graf", "mlp", "pixelcnn", "r3gan", *GIVEN)
HALF_COMPILED = ("autoencoder",)  # the generator
LATE = 10**9  # images seen: everything has grown


def fakes_and_logits(family, networks, *, exact: bool) -> list[torch.Tensor]:
    """Of both networks: the discriminator judges images that both precisions share."""
    labels = torch.arange(BATCH)
    generated = tiny_game(family, networks, images_seen=LATE).generate(BATCH, labels, exact=exact)
    images = torch.rand(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    judged = tiny_game(family, networks, images_seen=LATE).judge(images, labels, exact=exact)
    return [generated.images, judged.logits]


@pytest.mark.parametrize("name", sorted(FAMILIES))
@torch.no_grad()
def test_low_precision_changes_both_networks_or_is_refused(name):
    if name in FLOAT32_ALONE:
        with pytest.raises(UserError, match=f"no blocks of {name}'s networks .*; allowed: float32$"):
            tiny_family(name, low_precision=torch.bfloat16)
        return
    full, low = tiny_family(name), tiny_family(name, low_precision=torch.bfloat16)
    for exact in (True, False):
        networks = seeded_networks(full), seeded_networks(low)
        for ours, theirs in zip(
            fakes_and_logits(low, networks[1], exact=exact),
            fakes_and_logits(full, networks[0], exact=exact),
            strict=True,
        ):
            assert torch.equal(ours, theirs) == exact
            torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - set(NOT_COMPILED)))
@torch.no_grad()
def test_main_phases_of_both_networks_run_compiled_and_exact_ones_do_not(name):
    family = tiny_family(name)
    networks = seeded_networks(family)
    graphs = {net: [] for net, _ in networks.items() if net == "generator" or name not in HALF_COMPILED}
    for net, found in graphs.items():
        network = networks[net]
        assert compile_main_phases(
            network, lambda graph, _, found=found: found.append(graph) or graph.forward
        )
    fakes_and_logits(family, networks, exact=True)
    assert not any(graphs.values())
    fakes_and_logits(family, networks, exact=False)
    assert all(graphs.values())


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("digits") / "data"
    assert main(["prepare", "demo:digits", str(data), "--count", "8"]) == 0
    return data


@pytest.mark.parametrize(
    ("name", "option", "allowed"),
    [
        *((name, "compile=true", "false") for name in NOT_COMPILED if name not in GIVEN),
        *((name, "precision=bfloat16", "float32") for name in FLOAT32_ALONE if name not in GIVEN),
    ],
)
def test_a_run_that_could_not_use_it_is_refused_in_a_line(name, option, allowed, digits, tmp_path, capsys):
    command = ["train", str(CONFIGS / f"{name}-32.yaml"), f"data.path={digits}", "engine.device=cpu"]
    assert main([*command, f"engine.{option}", "--run", str(tmp_path / "run")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"hrgan: error: engine.{option}: no ")
    assert f"{name}'s networks" in line or "this family's networks" in line
    assert line.endswith(f"; allowed: {allowed}")
