"""Our training against where the authors' code came to, from the same weights, reals and random numbers. A
file of parity/lockstep/ is written by `python -m tools.research.compare_peers --peer NAME=CHECKOUT
--train STEPS --record FILE`; a new one is tested as it stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tools.research.parity import whole
from tools.research.parity.filling import drawn
from tools.research.parity.lockstep import allowed
from tools.research.parity.lockstep.recorded import Record, digest, drift, load

FILES = sorted((Path(__file__).parent / "parity" / "lockstep").glob("*.json"))
SLACK = 1.5  # of a distance that is told by a few products


def far(record: Record) -> list[str]:
    """What is further from theirs than rounding takes it."""
    return [
        f"{kept.what} after step {kept.step}: {found:.1e}"
        for kept, found in record.drifts()
        if not found <= SLACK * allowed(kept.what, kept.yardstick)
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_training_goes_where_the_authors_code_went(file):
    record = load(file)
    assert {kept.step for kept in record.digests} >= {1, 2, 4}
    assert far(record) == []


CHANGES = {
    "r1_gamma": (1.01, "discriminator, exp_avg after step 1"),
    "path_length_weight": (2.02, "generator, exp_avg after step 1"),
    "path_length_shrink": (1, "generator, exp_avg after step 1"),
    "r1_every": (5, "discriminator after step 1"),
    "generator_rate": (0.003, "generator after step 1"),
    "adam_beta2": (0.991, "generator, exp_avg_sq after step 1"),
    "w_avg_decay": (0.994, "w_avg after step 1"),
    "path_length_decay": (0.0101, "path-length mean after step 1"),
    "ema_ramp": (5.0, "average after step 2"),
    "ada": ({"mode": "adaptive", "p": 0.3, "every": 2, "adjust_images": 404}, "ada p after step 2"),
}

ALIAS_FREE_CHANGES = {
    "magnitude_half_life_images": (201, "magnitudes after step 1"),
    "blur_sigma": (1.61, "discriminator, exp_avg after step 1"),
    "blur_images": (17, "discriminator, exp_avg after step 2"),
}
LAWS = [
    *(("stylegan2", key, *change) for key, change in CHANGES.items()),
    *(("stylegan3", key, *change) for key, change in ALIAS_FREE_CHANGES.items()),
]


@pytest.mark.parametrize(
    ("family", "key", "value", "where"), LAWS, ids=[f"{family}-{key}" for family, key, *_ in LAWS]
)
def test_another_law_shows_at_once(family, key, value, where):
    record = load(FILES[0].with_name(f"{family}.json"))
    if key == "ada":
        value = {**record.setting.family[key], **value}
    changed = {**record.setting.family, key: value}
    early = [kept for kept in record.digests if kept.step <= int(where[-1])]
    found = far(replace(record, setting=replace(record.setting, family=changed), digests=early))
    assert where in [line.partition(":")[0] for line in found]


def test_products_tell_the_distance_of_whole_vectors():
    theirs = {"a": drawn("x", (40, 50)), "b": drawn("y", (300,))}
    moved = {name: tensor + 0.01 * drawn(f"{name}.far", tensor.shape) for name, tensor in theirs.items()}
    kept = digest(1, "weights", theirs, 0.0)
    assert kept.length == pytest.approx(torch.cat([t.flatten() for t in theirs.values()]).norm())
    assert drift(theirs, kept) == 0
    exact = whole((moved[name], tensor) for name, tensor in theirs.items())
    assert exact == pytest.approx(0.01, rel=0.1)
    assert drift(moved, kept) == pytest.approx(exact, rel=0.8)
    assert drift({"a": theirs["a"].t(), "b": theirs["b"]}, kept) > 0.1
