"""The table of differences: its measure, its limits, what it refuses."""

from __future__ import annotations

import json
import math
import sys
from types import ModuleType

import pytest
import torch

from tools.research import compare_peers
from tools.research.modules import isolated
from tools.research.parity import ParityRow, apart, whole


def test_difference_is_relative_to_their_largest_value():
    theirs = torch.tensor([[1.0, -4.0], [2.0, 0.0]])
    assert apart(theirs + torch.tensor([[0.0, 0.0], [0.0, 0.02]]), theirs) == pytest.approx(0.005)
    assert apart(theirs, theirs) == 0
    assert apart(torch.tensor([0.5]), torch.tensor([0.0])) == 0.5
    assert math.isnan(apart(torch.tensor([math.nan]), torch.tensor([1.0])))
    with pytest.raises(ValueError, match=r"ours has shape \(2,\), theirs \(1, 2\)"):
        apart(torch.zeros(2), torch.zeros(1, 2))


def test_a_whole_gradient_is_one_vector_and_what_is_no_number_is_not_ok():
    one, two = (
        (torch.tensor([3.0]), torch.tensor([3.0])),
        (torch.tensor([[4.0, 1.0]]), torch.tensor([[4.0, 0.0]])),
    )
    assert whole([one, two]) == pytest.approx(1 / 5)
    assert whole([one]) == 0
    assert not ParityRow("", "", whole([one, (torch.tensor([math.nan]), one[1])]), 1.0).ok
    with pytest.raises(ValueError, match=r"ours has shape \(1,\), theirs \(1, 2\)"):
        whole([(one[0], two[1])])


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A peer with one good and, if asked for, one bad row."""
    module = ModuleType("toy")
    module.LANDMARK, module.bad = "model.py", False
    module.compare = lambda checkout: [
        ParityRow("toy", "output", 1e-6, 1e-4),
        *([ParityRow("toy", "gradient", 2e-3, 1e-3)] if module.bad else []),
    ]
    monkeypatch.setattr(compare_peers, "peers", lambda: {"toy": module})
    (tmp_path / "model.py").touch()
    return module


def test_exit_code_and_file_say_whether_all_is_within_limits(toy, tmp_path, capsys):
    call = ["--peer", f"toy={tmp_path}", "--json", str(tmp_path / "rows.json")]
    assert compare_peers.main(call) == 0
    assert "ABOVE" not in capsys.readouterr().out
    toy.bad = True
    assert compare_peers.main(call) == 1
    assert "ABOVE ITS LIMIT" in capsys.readouterr().out
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["ok"] for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("other=x", "NAME=CHECKOUT is wanted; known names: toy"),
        ("toy", "NAME=CHECKOUT is wanted"),
        ("toy=nowhere", r"no checkout of toy there \(it has no file model.py\)"),
    ],
)
def test_wrong_peers_are_refused(toy, capsys, argument, message):
    assert compare_peers.main(["--peer", argument]) == 2
    assert capsys.readouterr().err.startswith(f"compare_peers: error: --peer {argument}: ")
    with pytest.raises(Exception, match=message):
        compare_peers.checkout_of(argument)


def test_two_checkouts_may_have_modules_of_one_name(tmp_path):
    found = []
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "their_networks.py").write_text(f"VALUE = {value}\n")
        with isolated(folder):
            import their_networks

            found.append(their_networks.VALUE)
        assert "their_networks" not in sys.modules
    assert found == [1, 2]
