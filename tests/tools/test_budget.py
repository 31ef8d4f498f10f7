"""A budget with a clock that the test turns."""

from __future__ import annotations

import pytest

from tools.bench import budget as budgets
from tools.bench.budget import Budget


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(budgets.time, "monotonic", lambda: now[0])
    return now


def test_parts_share_what_is_left_and_late_ones_are_named(clock, capsys):
    budget = Budget(1, ["a", "b", "c", "d"])
    assert budget.begins("a")
    assert budget.seconds() == 15
    clock[0] += 45  # longer than its share
    assert budget.begins("b")
    assert budget.seconds() == 5
    clock[0] += 15
    assert not budget.begins("c")
    assert not budget.begins("d")
    budget.leave_out("e", "no such machine")
    budget.report()
    said = capsys.readouterr()
    assert said.out == "left out of 1 minutes (--minutes): c; d; e (no such machine)\n"
    assert said.err.splitlines() == ["[0 of 60 s] a", "[45 of 60 s] b"]


def test_rounds_end_with_the_share(clock, capsys):
    budget = Budget(1, ["a", "b"])
    assert budget.begins("a")
    seen = []
    for turn in budget.turns(7):
        seen.append(turn)
        clock[0] += 20
    assert seen == [0, 1]
    assert "2 of 7 rounds" in capsys.readouterr().err
    assert len(list(budget.turns(7, least=3))) == 3
    assert budget.begins("b")
    assert list(budget.turns(4)) == [0, 1, 2, 3]


def test_nothing_is_said_of_nothing(clock, capsys):
    budget = Budget(1, ["a"])
    assert budget.begins("a")
    budget.report()
    assert capsys.readouterr().out == ""
