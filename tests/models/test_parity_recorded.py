"""Our networks against outputs of the authors' code, recorded for weights and inputs that every machine can
make again (`tools/research/parity/filling.py`). A file of parity/ is written by
`python -m tools.research.compare_peers --peer NAME=CHECKOUT --record FILE`; a new one is tested as it
stands."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from tools.research.parity.filling import drawn
from tools.research.parity.recorded import drift, load, summary

CASES = [case for file in sorted((Path(__file__).parent / "parity").glob("*.json")) for case in load(file)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_outputs_are_those_of_the_authors_code(case):
    assert drift(case.output(), case.given) < 1e-4


def test_a_wrong_weight_shows():
    case = next(case for case in CASES if case.name.startswith("tiny"))
    network = case.ours()
    with torch.no_grad():
        next(network.parameters()).mul_(1.01)
        output = network(*case.tensors(), exact=True, **case.call)
    assert drift(output, case.given) > 1e-4


def test_drift_sees_shape_place_and_scale():
    output = drawn("x", (5, 30))
    given = summary(output)
    assert drift(output, given) == 0
    assert drift(output.t(), given) == float("inf")
    assert drift(output.flip(1), given) > 0.1
    assert drift(output * 1.001, given) == pytest.approx(0.001, rel=1e-3)


def test_numbers_follow_from_their_description():
    """SplitMix64 in whole numbers of Python."""
    start = int.from_bytes(hashlib.sha256(b"a.weight").digest()[:8], "little")
    expected = []
    for k in range(3):
        z = (start + (k + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        expected.append(((z ^ (z >> 31)) / 2**64 - 0.5) * 12**0.5 * 2 + 1)
    found = drawn("a.weight", (3,), [("bias", 7, 7), ("weight", 2, 1)])
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert float(drawn("b", (10000,)).std()) == pytest.approx(1, abs=0.02)
