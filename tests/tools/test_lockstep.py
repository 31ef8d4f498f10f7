"""Two loops side by side: what is compared, what is fed, and what the tool says of it."""

from __future__ import annotations

import json
from types import ModuleType, SimpleNamespace

import pytest
import torch

from pipeline.contracts import Batch
from tools.research import compare_peers
from tools.research.parity import lockstep
from tools.research.parity.lockstep import allowed, apart
from tools.research.parity.lockstep.ours import Draw, Given, LoopSetting, Ours, TurnInputs
from tools.research.parity.lockstep.recorded import load
from tools.research.parity.lockstep.stylegan2 import Drawn, noise_shapes
from tools.research.parity.lockstep.supply import Supply

FAMILY = {"name": "mlp", "z_dim": 4, "width": 8}
SETTING = LoopSetting(
    FAMILY, {"height": 4, "width": 4, "channels": 1, "classes": 0}, 4, (), ("discriminator", "generator")
)


def test_our_loop_takes_the_given_order_and_notes_what_each_turn_used():
    ours = Ours(SETTING)
    turns = ours.step()
    assert [turn.name for turn in turns] == ["discriminator", "generator"]
    assert [[draw.kind for draw in turn.draws] for turn in turns] == [["normal"], ["normal"]]
    levels = (turns[0].reals.images + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    again = Ours(SETTING).step()
    assert torch.equal(again[1].draws[0].values, turns[1].draws[0].values)
    assert not torch.equal(turns[0].draws[0].values, turns[1].draws[0].values)


def test_moving_weights_moves_each_by_as_much_as_was_asked_for():
    state, moved = Ours(SETTING).state(), Ours(SETTING, 1e-3).state()
    assert apart(moved["generator"], state["generator"]) == pytest.approx(1e-3, rel=0.1)
    assert apart(moved["discriminator"], state["discriminator"]) == pytest.approx(1e-3, rel=0.1)


def test_given_numbers_follow_from_their_name_and_have_their_laws():
    given, again = Given("a", 3), Given("a", 3)
    assert torch.equal(given.normal(5), again.normal(5))
    assert not torch.equal(given.normal(5), again.draws[0].values)
    many = Given("b", 4000)
    normal, uniform = many.normal(2), many.uniform(2)
    assert abs(float(normal.mean())) < 0.05
    assert float(normal.std()) == pytest.approx(1, abs=0.05)
    assert float((normal.abs() < 1).float().mean()) == pytest.approx(0.683, abs=0.02)
    assert 0 <= float(uniform.min()) < 0.01 < 0.99 < float(uniform.max()) < 1
    assert set(many.integers(3, 1).flatten().tolist()) == {0, 1, 2}
    assert len(set(many.integers(1000).tolist())) == 1  # a number a sample is one of the batch
    assert many.first(2).normal(2).shape == (2, 2)
    assert len(many.draws) == 5


def test_supply_answers_in_order_and_refuses_what_was_not_asked_for():
    supply = Supply()
    with supply.feeding():
        assert torch.randn(2, 3).shape == (2, 3)  # nothing was put in yet: torch's own
        supply.put("normal", torch.arange(6.0))
        supply.put("uniform", torch.tensor(0.25))
        supply.put("integers", torch.tensor([7]))
        supply.put("normal", torch.tensor([1.0, 2.0]))
        assert torch.randn([2, 3]).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert float(torch.rand([])) == 0.25
        assert int(torch.empty([], dtype=torch.int64).random_(1, 9)) == 7
        assert torch.randn_like(torch.zeros(2)).tolist() == [1, 2]
        supply.put("normal", torch.zeros(2))
        with pytest.raises(RuntimeError, match=r"asks for uniform numbers of shape \(2,\); next are normal"):
            torch.rand(2)
        with pytest.raises(RuntimeError, match="none are left"):
            torch.randn(1)
        supply.put("normal", torch.zeros(3))
        with pytest.raises(RuntimeError, match=r"unused: \[\('normal', \(3,\)\)\]"):
            supply.finish()
    assert torch.randn(2).shape == (2,)


def test_an_operation_gets_its_value_before_whether_it_fires():
    uniforms, normals = torch.arange(7.0)[None] / 10, torch.arange(4.0)[None]
    draws = [Draw("uniform", uniforms), Draw("normal", normals)]
    supply = Supply()
    Drawn(TurnInputs("", Batch(torch.zeros(1)), draws)).augmented(supply, ["geometry"])
    found = [supply.take(kind, (n,)).tolist() for kind, n in (
        ("normal", 1), ("uniform", 1), ("uniform", 1), ("uniform", 1), ("normal", 1), ("uniform", 1),
        ("uniform", 1), ("uniform", 1), ("normal", 2), ("uniform", 1),
    )]  # fmt: skip
    expected = [[0], [0.0], [1 - 0.2], [0.1], [1], [0.3], [1 - 0.5], [0.4], [2, 3], [0.6]]
    assert [pytest.approx(values) for values in expected] == found
    supply.finish()
    assert noise_shapes(16) == [(4, 4), (8, 8), (8, 8), (16, 16), (16, 16)]


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A peer whose loop is ours once more; from the second step on with another rate, if asked for."""
    module, loop = ModuleType("toy"), SimpleNamespace(wrong=False, LAWS=("nothing",))
    module.LANDMARK, module.compare = "model.py", None

    def run(checkout, setting, *, aligned, step, after):
        theirs, done = Ours(setting), False
        while not done:
            step()
            theirs.step()
            if loop.wrong:
                with torch.no_grad():
                    theirs.networks.generator.out.weight.mul_(1.0001)
            done = after(theirs.state())

    loop.run, loop.setting = run, lambda small, aligned: SETTING
    monkeypatch.setattr(compare_peers, "peers", lambda: {"toy": module})
    monkeypatch.setattr(lockstep, "loops", lambda: {"toy": loop})
    (tmp_path / "model.py").touch()
    return loop


def test_table_exit_code_and_file_say_whether_both_go_the_same_way(toy, tmp_path, capsys):
    call = ["--peer", f"toy={tmp_path}", "--train", "3", "--json", str(tmp_path / "rows.json")]
    assert compare_peers.main(call) == 0
    said = capsys.readouterr().out
    assert "differ by law in\n  - nothing" in said
    assert [line.split() for line in said.splitlines() if line.strip().startswith("step")] == [
        ["step", "1", "step", "2", "step", "3"]
    ] * 2
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["theirs"] for row in rows} == {0}
    assert {row["step"] for row in rows} == {1, 2, 3}
    assert {row["yardstick"] > 0 for row in rows} == {True}
    toy.wrong = True
    assert compare_peers.main(call) == 1
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert not any(row["ok"] for row in rows if row["aligned"] and row["what"] == "generator")
    assert all(row["ok"] for row in rows if not row["aligned"])


def test_what_is_recorded_is_where_their_loop_came_to(toy, tmp_path, capsys):
    file = tmp_path / "toy.json"
    call = ["--peer", f"toy={tmp_path}", "--train", "3", "--record", str(file)]
    assert compare_peers.main(call) == 0
    record = load(file)
    assert {kept.step for kept in record.digests} == {1, 2, 3}
    assert max(drift for _, drift in record.drifts()) == 0
    file.unlink()
    toy.wrong = True
    assert compare_peers.main(call) == 2
    assert "generator is too far from ours after step 1" in capsys.readouterr().err
    assert not file.exists()


def test_a_peer_that_is_not_driven_says_why(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lockstep, "NOT_DRIVEN", {"toy": "it has no loop"})
    assert compare_peers.main(["--peer", f"toy={tmp_path}", "--train", "3"]) == 0
    assert "toy: its loop is not driven beside ours: it has no loop" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--train", "0"], ["--small"]])
def test_wrong_options_are_refused(toy, tmp_path, capsys, words):
    with pytest.raises(SystemExit) as ended:
        compare_peers.main(["--peer", f"toy={tmp_path}", *words])
    assert ended.value.code == 2
    assert "wanted" in capsys.readouterr().err


def test_every_peer_has_a_loop_or_a_reason():
    loops = lockstep.loops()
    assert compare_peers.peers().keys() == loops.keys() | lockstep.NOT_DRIVEN.keys()
    for loop in loops.values():
        assert all(isinstance(law, str) for law in loop.LAWS)


def test_a_single_gradient_may_jump_and_what_adds_up_may_not():
    assert allowed("generator", 0.0) == pytest.approx(1e-6)
    assert allowed("generator", 1e-6) == pytest.approx(1e-5)
    assert allowed("generator, exp_avg", 0.0) == 1e-3
    assert allowed("generator, exp_avg_sq", 0.0) == 1e-5
