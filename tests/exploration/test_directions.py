"""Directions: closed forms, and a space in which the answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.exploration.directions import between_classes, between_groups, factorised, on_layers
from pipeline.exploration.groups import Groups, labelled_groups, listed_groups, read_labels, scored_groups
from pipeline.exploration.subject import Subject


def test_sefa_is_the_singular_vectors() -> None:
    """Against numpy's SVD of the stacked weights, which never forms A^T A."""
    numbers = torch.Generator().manual_seed(3)
    weights = [torch.randn(n, 6, generator=numbers) for n in (5, 9)]
    found, values = factorised(weights, 4)
    _, singular, vectors = np.linalg.svd(torch.cat(weights).numpy().astype(np.float64))
    np.testing.assert_allclose(values, singular[:4] ** 2, rtol=1e-5)
    np.testing.assert_allclose(np.abs((found.numpy() * vectors[:4]).sum(1)), 1, atol=1e-5)
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


def test_no_unit_vector_changes_more() -> None:
    weight = torch.randn(20, 6, generator=torch.Generator().manual_seed(4))
    (best,), (value,) = factorised([weight], 1)
    others = torch.nn.functional.normalize(torch.randn(500, 6), dim=1)
    assert ((others @ weight.T).square().sum(1) <= value * (1 + 1e-6)).all()
    assert float((weight @ best).square().sum()) == pytest.approx(float(value), rel=1e-5)


def test_arithmetic_is_the_mean_of_all_differences(subject: Subject) -> None:
    groups = Groups((1, 2, 3), (7, 8), "test")
    found = between_groups(subject, groups, (4,), 1.0)
    w = subject.space.draw([1, 2, 3, 7, 8], classes=[4] * 5).latents.double()
    every = torch.stack([w[i] - w[j] for i in range(3) for j in (3, 4)]).mean(0)
    torch.testing.assert_close(found.double(), every, atol=1e-6, rtol=1e-5)


def test_a_class_less_another_over_the_same_seeds(subject: Subject) -> None:
    found = between_classes(subject, 6, 1, range(4), 1.0)
    six = subject.space.draw(range(4), classes=[6] * 4).latents
    one = subject.space.draw(range(4), classes=[1] * 4).latents
    torch.testing.assert_close(found, (six - one).mean(0), atol=1e-6, rtol=1e-5)


def test_layers_that_are_not_asked_for_stay() -> None:
    kept = on_layers(torch.ones(2, 4, 3), (1, 3))
    assert kept.sum(dim=(0, 2)).tolist() == [0, 6, 0, 6]


# ---- groups


def test_labels_of_a_csv_and_of_a_json(tmp_path: Path) -> None:
    table, mapping = tmp_path / "l.csv", tmp_path / "l.json"
    table.write_text("seed,label\n3, smile\n4,neutral\n9,smile\n10,frown\n")
    mapping.write_text(json.dumps({"3": "smile", "4": "neutral", "9": "smile", "10": "frown"}))
    for path in (table, mapping):
        groups = labelled_groups(path, "smile", None)
        assert (groups.plus, groups.minus) == ((3, 9), (4, 10))
        assert labelled_groups(path, "smile", "frown").minus == (10,)


def test_scores_are_ranked(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({str(seed): (seed * 7) % 10 for seed in range(10)}))
    groups = scored_groups(path, 0.2)  # scores 0, 7, 4, 1, 8, 5, 2, 9, 6, 3
    assert (set(groups.plus), set(groups.minus)) == ({7, 4}, {0, 3})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "1,x", "allowed: a .csv with lines of seed,label"),
        ("a.csv", "", "labels 0 seeds"),
        ("a.csv", "seed,label\n", "labels 0 seeds"),
        ("a.csv", "1,x\n2\n", "row 2 has 1 columns, not 2"),
        ("a.csv", "1,x\ntwo,y\n", "row 2: 'two' is not a seed"),
        ("a.csv", "1,x\n1,y\n", "row 2: seed 1 is labelled twice"),
        ("a.csv", "99999999999999999999,x\n", "is not a seed"),
        ("a.json", "[1, 2]", "allowed: a .csv"),
        ("a.json", '{"1": {}}', "allowed: a .csv"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[" * 100_000, "nested deeper than 64"),
        ("a.csv", "\x00\n", "no seed|labels 0 seeds|row 1|not CSV"),
    ],
)
def test_files_that_are_no_labels(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_labels(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe1")
    (tmp_path / "d.csv").mkdir()
    for name, message in (("b.csv", "UTF-8"), ("none.csv", "No such file"), ("d.csv", "is a folder")):
        with pytest.raises(UserError, match=message):
            read_labels(tmp_path / name)


def test_groups_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("1,x\n2,x\n")
    with pytest.raises(UserError, match=r"--plus y: .*gives no seed that label; its labels: x"):
        labelled_groups(tmp_path / "l.csv", "y", None)
    with pytest.raises(UserError, match=r"--minus others: .*gives no seed that label"):
        labelled_groups(tmp_path / "l.csv", "x", None)
    with pytest.raises(UserError, match="seed 3 is in both groups"):
        listed_groups("0-3", "3-5")
    with pytest.raises(UserError, match="'x' is not a score"):
        scored_groups(tmp_path / "l.csv", 0.5)
    (tmp_path / "s.csv").write_text("1,2\n2,2\n")
    with pytest.raises(UserError, match="scores that differ"):
        scored_groups(tmp_path / "s.csv", 0.5)
    with pytest.raises(UserError, match=r"--share 0.7: allowed"):
        scored_groups(tmp_path / "s.csv", 0.7)
