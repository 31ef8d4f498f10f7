"""Samples with more than image and label: written, verified, read in exact order, mirrored, exported."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

import numpy as np
import pytest
import torch

from pipeline.config.run import DataConfig
from pipeline.contracts import Field, Process
from pipeline.data.preparing.pyramid import build_pyramid
from pipeline.data.shards.arrays import pack
from pipeline.data.shards.export import export
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.shards.rewrite import keep_samples
from pipeline.data.shards.sink import ShardSink
from pipeline.data.shards.verify import verify
from pipeline.data.streaming.numbered import read_uint8
from pipeline.data.streaming.stream import ImageStream
from pipeline.errors import UserError
from tests.data.fields import FIELDS, beside, grey, make_fields_set
from tests.data.sets import make_set, numbers, png

NAMES = [field.name for field in FIELDS]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return make_fields_set(tmp_path_factory.mktemp("fields"), 50)


def drawn(
    index, *, world=1, workers=0, seen=0, names=NAMES, mirror=True, batches=4, others=False, skip=False
):
    """The global batches of 12, put together from all ranks."""
    config = DataConfig(lanes=4, workers=workers, mirror=True, on_damage="skip" if skip else "error")
    streams = [
        ImageStream(
            index, config, seed=5, process=Process(r, world), images_seen=seen, labels=True, fields=names
        )
        for r in range(world)
    ]
    parts = [(s.others if others else s).draw(12, batches) for s in streams]
    for stream in streams:
        stream.close()
    whole = []
    for turn in range(batches):
        each = [part[turn] for part in parts]
        whole.append({"images": interleaved([b.images for b in each])})
        whole[-1]["labels"] = interleaved([b.labels for b in each])
        whole[-1] |= {name: interleaved([b.extra[name] for b in each]) for name in each[0].extra}
    return {name: torch.cat([batch[name] for batch in whole]) for name in whole[0]}


def interleaved(parts):
    return torch.stack(parts, 1).flatten(0, 1)


def test_every_field_comes_with_its_image_and_is_mirrored_with_it(index):
    batch = drawn(index)
    n = numbers(batch["images"])
    assert len(n.unique()) > 40
    assert list(batch)[2:] == NAMES
    flipped = batch["images"][:, 2, 0, 0] > 0  # the bright half lies left
    assert 0 < flipped.sum() < len(n)

    pair = ((batch["pair"] + 1) * 127.5).round().long()
    assert batch["pair"].dtype == torch.float32
    assert pair.shape == (48, 1, 4, 6)
    assert torch.equal(pair[:, 0, :, 2], n[:, None].expand(-1, 4))
    assert torch.equal(pair[:, 0, 0, 0] == 255, ~flipped)
    assert torch.equal(pair[:, 0, 0, 5] == 255, flipped)

    mask = batch["mask"]
    assert (mask.dtype, mask.shape) == (torch.uint8, (48, 1, 8, 8))
    assert torch.equal(mask[:, 0, 3, 3].long(), n)
    assert torch.equal(mask[:, 0, 7, 7] == 255, flipped)

    text = [bytes(row).rstrip(b"\0").decode() for row in batch["text"].tolist()]
    assert text == [f"sample {k}" for k in n.tolist()]
    assert batch["text"].shape == (48, 12)
    assert batch["latent"].dtype == torch.float16
    assert torch.equal(batch["latent"], n[:, None, None] + torch.arange(3.0).expand(48, 2, 3).half())
    assert torch.equal(batch["tokens"].long(), n[:, None] + torch.arange(5))


@pytest.mark.parametrize(("world", "workers"), [(1, 2), (2, 0), (3, 1)])
@pytest.mark.parametrize("others", [False, True])
def test_the_same_on_any_number_of_ranks_and_workers_from_anywhere(index, world, workers, others):
    straight = drawn(index, others=others)
    again = drawn(index, world=world, workers=workers, others=others)
    assert straight.keys() == again.keys()
    assert all(torch.equal(straight[name], again[name]) for name in straight)
    later = drawn(index, world=world, seen=24, batches=2, others=others)
    assert all(torch.equal(straight[name][24:], later[name]) for name in straight)


def test_images_and_labels_are_those_of_a_set_without_fields(index, tmp_path):
    bare = drawn(make_set(tmp_path, 50), names=())
    ours = drawn(index, names=["mask"])
    assert list(ours) == ["images", "labels", "mask"]
    assert all(torch.equal(bare[name], ours[name]) for name in bare)
    images, labels, keys = next(read_uint8(index, 3, 5))
    assert (images.shape, labels, keys) == ((2, 3, 8, 8), [3, 4], ["00000003", "00000004"])


def test_a_field_that_is_not_there_is_refused_by_name(index):
    with pytest.raises(UserError, match=r"no field depth, which the family needs; they have pair, mask"):
        drawn(index, names=["mask", "depth"])


def test_an_index_without_fields_is_byte_for_byte_what_it_was(tmp_path):
    """The digests are those of version 1, which knows no fields."""
    with ShardSink(tmp_path, name="data", height=8, width=8, channels=3, classes="ab") as sink:
        for n in range(3):
            sink.write(f"{n}", b"pixels %d" % n, "png", n % 2, {"n": n})
    found = [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()[:16]
        for name in ("index.json", "data-00000.tar")
    ]
    assert found == BEFORE


BEFORE = ["eb7cd2fbc686b8d6", "acceeab06060be82"]


def test_the_index_round_trips_and_old_versions_refuse_it(index):
    content = json.loads((index.root / "index.json").read_text())
    assert content["version"] == 2
    assert content["fields"][3] == {"name": "latent", "kind": "array", "shape": [2, 3], "dtype": "float16"}
    assert ShardIndex.read(index.root).fields == FIELDS == index.spec.fields
    verify(index)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name", "Mask"), r"fields\[1\].name: 'Mask'; must be"),
        (("name", "png"), r"fields\[1\].name: 'png'"),
        (("name", "second"), r"fields\[1\].name: 'second'"),
        (("name", "a.b"), r"fields\[1\].name"),
        (("name", "pair"), r"fields\[1\].name: pair is listed twice"),
        (("name", 3), r"fields\[1\].name: must be str"),
        (("kind", "video"), r"fields\[1\].kind: 'video'; allowed: image, mask, text, array"),
        (("shape", [8]), r"fields\[1\].shape: \[8\]; not that of mask"),
        (("shape", [8, 0]), r"fields\[1\].shape"),
        (("shape", [8, True]), r"fields\[1\].shape: must be whole numbers"),
        (("shape", [8, 1 << 40]), r"fields\[1\].shape"),
        (("shape", [1 << 16, 1 << 16]), r"bytes a sample; at most"),
        (("dtype", "object"), r"fields\[1\].dtype: 'object'; allowed for mask: uint8"),
        (None, "fields: must be list"),
    ],
)
def test_a_wrong_field_names_file_and_key(index, tmp_path, change, message):
    content = json.loads((index.root / "index.json").read_text())
    if change is None:
        content["fields"] = {"mask": 1}
    else:
        content["fields"][1][change[0]] = change[1]
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as refusal:
        ShardIndex.read(tmp_path, damaged="skip")
    assert str(refusal.value).startswith(str(tmp_path / "index.json"))


def test_the_sink_takes_just_the_fields_and_only_what_can_be_read(tmp_path):
    with pytest.raises(UserError, match=r"fields\[0\].dtype: 'object'"):
        ShardSink(
            tmp_path / "a",
            name="d",
            height=8,
            width=8,
            channels=3,
            fields=[Field("x", "array", (2,), "object")],
        )
    wrong = {
        "fields .* must be": {"pair": grey(4, 6, 1)},
        "neither PNG, JPEG nor WebP": {**beside(1), "pair": b"GIF89a"},
        "its image is 6x5": {**beside(1), "pair": grey(5, 6, 1)},
        "13 bytes; at most 12": {**beside(1), "text": b"x" * 13},
        "not UTF-8": {**beside(1), "text": b"\xff"},
        "holds float32": {**beside(1), "latent": pack(np.zeros((2, 3), np.float32))},
        "not a .npy file": {**beside(1), "latent": b"junk"},
    }
    for message, extra in wrong.items():
        with (
            pytest.raises(ValueError, match=message),
            ShardSink(tmp_path / "b", name="d", height=8, width=8, channels=3, fields=FIELDS) as sink,
        ):
            sink.write("0", png(0), "png", None, {}, extra)


def test_an_interrupted_set_goes_on_only_with_the_same_fields(tmp_path):
    def sink(fields):
        return ShardSink(tmp_path, name="d", height=8, width=8, channels=3, fields=fields, shard_size=1)

    with suppress(KeyError), sink(FIELDS[:2]) as begun:
        begun.write("0", png(0), "png", None, {}, {name: beside(0)[name] for name in ("pair", "mask")})
        raise KeyError
    with pytest.raises(UserError, match=r"holds another data set \(fields: "):
        sink(FIELDS[:1])
    assert sink(FIELDS[:2]).finished == 1


def corrupted(index, tmp_path, member: bytes, change) -> ShardIndex:
    """A copy in which the content of the first shard's member has been changed."""
    for path in index.root.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / index.shards[0].name
    data = bytearray(shard.read_bytes())
    at = data.index(member) + 512
    change(data, at)
    shard.write_bytes(data)
    return ShardIndex.read(tmp_path)


@pytest.mark.filterwarnings("ignore:.*skipped, as is all damage")
@pytest.mark.parametrize("member", ["mask.png", "txt", "latent.npy"])
def test_a_field_of_another_sample_is_damage_at_that_sample(index, tmp_path, member):
    def change(data, at):
        data[at + 7] ^= 1

    broken = corrupted(index, tmp_path, f"00000002.{member}".encode(), change)
    with pytest.raises(UserError, match=r"key 00000002: image, label and key do not belong together"):
        list(read_samples(broken))
    with pytest.raises(UserError, match="key 00000002"):
        verify(broken)
    found = drawn(broken, skip=True, batches=8)
    n = numbers(found["images"])
    assert 2 not in n
    assert torch.equal(found["mask"][:, 0, 3, 3].long(), n)


def test_a_missing_field_is_damage(index, tmp_path):
    def change(data, at):
        data[at - 512 : at - 512 + len(b"00000002.latent.npy")] = b"00000002.tokens.npy"
        header = data[at - 512 : at]
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        data[at - 512 : at] = header

    broken = corrupted(index, tmp_path, b"00000002.latent.npy", change)
    with pytest.raises(UserError, match=r"key 00000002: must have one latent.npy"):
        list(read_samples(broken))


def test_fields_that_the_index_does_not_list_are_damage(index, tmp_path):
    content = json.loads((index.root / "index.json").read_text())
    content |= {"version": 1}
    del content["fields"]
    for shard in index.shards:
        (tmp_path / shard.name).write_bytes((index.root / shard.name).read_bytes())
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"'00000000.latent.npy' of a kind that is not allowed"):
        list(read_samples(ShardIndex.read(tmp_path)))


def test_export_puts_fields_beside_their_images(index, tmp_path):
    assert export(index, tmp_path / "out") == 50
    folder = tmp_path / "out" / "3-d"
    for name, member in (("mask", "mask.png"), ("text", "txt"), ("latent", "latent.npy")):
        assert (folder / f"00000013.{member}").read_bytes() == beside(13)[name]
    rows = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert rows[13]["fields"]["pair"] == "3-d/00000013.pair.png"


def test_a_shard_written_again_keeps_its_fields(tmp_path):
    index = make_fields_set(tmp_path, 6)
    shard = keep_samples(index, "data-00000.tar", {"00000001", "00000004"})
    again = ShardIndex(**{**vars(index), "shards": (shard,)})
    assert [sample.fields["text"][1] for sample in read_samples(again)] == [b"sample 1", b"sample 4"]


def test_lower_resolutions_are_of_images_alone(index, tmp_path):
    make_fields_set(tmp_path, 6)
    found = build_pyramid(tmp_path, workers=1)
    config = DataConfig(workers=0, lanes=2)
    with ImageStream(found, config, seed=1, process=Process(), images_seen=0, labels=True) as stream:
        assert stream.draw(2, resolution=4)[0].images.shape == (2, 3, 4, 4)
    fields = ["mask"]
    with (
        ImageStream(
            found, config, seed=1, process=Process(), images_seen=0, labels=True, fields=fields
        ) as stream,
        pytest.raises(UserError, match=r"its fields \(mask\) cannot be had at 4 pixels; allowed: 8"),
    ):
        stream.draw(2, resolution=4)
