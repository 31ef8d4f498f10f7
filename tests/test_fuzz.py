"""Hostile files of every kind: each is read or refused in one line, soon and in little memory."""

from __future__ import annotations

import pytest

from tests.fuzz import KINDS, bad, outcomes
from tests.importing import hostile


@pytest.fixture(scope="module")
def found():
    """Every kind at once: the product is imported once for all of them."""
    count = {"weights": len(hostile.table()) + 16}
    return outcomes({kind: make(0, count.get(kind, 33)) for kind, (_, make) in KINDS.items()})


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_file_ends_otherwise_than_in_a_line(found, kind):
    assert bad(found[kind]) == []
    assert "line" in {outcome for _, outcome, _ in found[kind]}


@pytest.mark.slow
def test_no_weights_of_the_table_are_taken(found):
    taken = [name for name, outcome, _ in found["weights"][: len(hostile.table())] if outcome == "fine"]
    assert taken == []
