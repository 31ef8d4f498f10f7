"""A second, unpaired set: an order of its own at the same position, on any number of ranks, from anywhere."""

from __future__ import annotations

import pytest
import torch

from launch.assembly.dataset import open_data, stream_of, trained_spec
from pipeline.config.run import RunConfig
from pipeline.contracts import SECOND, Needs, Process
from tests.data.fields import make_fields_set
from tests.data.sets import make_set, numbers
from tests.tiny_families import tiny_config
from tests.toy_families import TwoWays

FIRST, OTHER = 40, 27


class Asking(TwoWays):
    needs = Needs(second=True, fields=("mask", f"{SECOND}.labels", f"{SECOND}.text"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    make_fields_set(folder / "first", FIRST)
    make_fields_set(folder / "second", OTHER)
    make_set(folder / "plain", 5, labelled=False)
    return folder


def config_of(folder, second="second", **data) -> RunConfig:
    paths = {"path": str(folder / "first"), "second": str(folder / second)}
    settings = {"workers": 0, "lanes": 4, "mirror": True, "labels": False, **paths, **data}
    return RunConfig(family=tiny_config("mlp"), data=settings, batch={"size": 6}, seed=5)


def drawn(config, batches=9, *, world=1, seen=0, others=0):
    """Numbers of the images of both sets, and the second set's labels and texts, of global batches of 6."""
    sets = open_data(config)
    family = Asking(None, trained_spec(config, sets), batch_size=6)
    parts = []
    for rank in range(world):
        with stream_of(config, sets, family, Process(rank, world), seen) as stream:
            order = stream
            for _ in range(others):
                order = order.others
            parts.append(order.draw(6, batches))
    return [
        torch.cat(
            [torch.stack([take(b) for b in of_ranks], 1).flatten() for of_ranks in zip(*parts, strict=True)]
        )
        for take in (
            lambda b: numbers(b.images),
            lambda b: numbers(b.extra[SECOND]),
            lambda b: b.extra[f"{SECOND}.labels"],
            lambda b: b.extra[f"{SECOND}.text"][:, 7:9].long().sum(1),
            lambda b: b.extra["mask"][:, 0, 3, 3].long(),
        )
    ]


def test_each_set_comes_once_an_epoch_of_its_own(folder):
    first, second, labels, texts, masks = drawn(config_of(folder))
    assert sorted(first[:FIRST].tolist()) == list(range(FIRST))
    for epoch in range(2):
        assert sorted(second[epoch * OTHER : (epoch + 1) * OTHER].tolist()) == list(range(OTHER))
    assert torch.equal(labels, second % 10)
    assert torch.equal(masks, first)
    assert torch.equal(texts, torch.tensor([sum(f"{n}".encode()) for n in second.tolist()]))


def test_the_same_images_twice_come_in_two_orders(folder):
    first, second, *_ = drawn(config_of(folder, "first"))
    assert not torch.equal(first, second)
    assert (first == second).float().mean() < 0.2


@pytest.mark.parametrize("others", [0, 1, 2])
@pytest.mark.parametrize(("world", "workers"), [(2, 0), (3, 1)])
def test_the_same_on_any_number_of_ranks_from_anywhere(folder, world, workers, others):
    straight = drawn(config_of(folder), others=others)
    again = drawn(config_of(folder, workers=workers), world=world, others=others)
    later = drawn(config_of(folder), 5, seen=24, world=world, others=others)
    for one, two, three in zip(straight, again, later, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one[24:], three)


def test_orders_differ(folder):
    orders = [drawn(config_of(folder), others=n)[1] for n in range(3)]
    assert not any(torch.equal(a, b) for i, a in enumerate(orders) for b in orders[:i])


def test_the_spec_says_what_the_second_set_has(folder):
    config = config_of(folder)
    fields = {field.name: field.shape for field in trained_spec(config, open_data(config)).fields}
    assert fields["mask"] == fields["second.mask"] == (8, 8)
    assert fields["second.labels"] == ()
    plain = trained_spec(config_of(folder, "plain"), open_data(config_of(folder, "plain")))
    assert not any(field.name.startswith(SECOND) for field in plain.fields)


@pytest.mark.filterwarnings("ignore:.*skipped, as is all damage")
def test_damage_of_either_set_is_counted(folder, tmp_path):
    make_fields_set(tmp_path / "first", 8)
    make_fields_set(tmp_path / "second", 8)
    for name in ("first", "second"):
        path = tmp_path / name / "data-00000.tar"
        data = bytearray(path.read_bytes())
        data[data.index(b"00000003.png") + 512 + 60] ^= 0xFF
        path.write_bytes(data)
    config = config_of(tmp_path, on_damage="skip")
    sets = open_data(config)
    family = Asking(None, trained_spec(config, sets), batch_size=8)
    with stream_of(config, sets, family, Process(), 0) as stream:
        batch = stream.draw(8)[0]
        assert stream.damaged == 2 * stream._first.damaged > 0  # in as many epochs of each
        assert 3 not in numbers(batch.images)
        assert 3 not in numbers(batch.extra[SECOND])
