"""Shards with latents: samples as they were, with their moments beside them; the same bytes from anybody."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.process
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.contracts import Field
from pipeline.data.encoding.encode import encode_shards
from pipeline.data.encoding.request import Request
from pipeline.data.encoding.spread import Spread
from pipeline.data.shards.decode import decode_field, decode_sample
from pipeline.data.shards.export import export
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.latents import Latents
from pipeline.data.shards.reader import read_samples
from pipeline.data.shards.verify import verify
from pipeline.errors import UserError
from tests.data.encode_me import SHARD, coder, encode, folded
from tests.data.fields import make_fields_set

COUNT = 40


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> ShardIndex:
    return make_fields_set(tmp_path_factory.mktemp("source") / "shards", COUNT)


@pytest.fixture(scope="module")
def encoded(source, tmp_path_factory) -> ShardIndex:
    request = Request(source, coder(), batch_size=4, shard_size=SHARD)
    return encode_shards(request, tmp_path_factory.mktemp("encoded") / "out", command="hrgan encode a b")


def files(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in root.iterdir() if p.suffix in (".tar", ".json", ".md", ".jpg")}


def moments_of(index: ShardIndex) -> np.ndarray:
    """Of all samples, [N, 2C, H, W], as they are stored."""
    (field,) = (field for field in index.fields if field.name == "moments")
    decoded = [decode_field(field, s.fields["moments"][1]) for s in read_samples(index)]
    return torch.stack(decoded).numpy()


def test_samples_are_as_they_were_with_their_moments_beside(source, encoded):
    verify(encoded)
    assert [shard.count for shard in encoded.shards] == [7, 7, 7, 7, 7, 5]
    assert (encoded.count, encoded.classes, encoded.spec.height) == (COUNT, source.classes, 8)
    assert encoded.fields == (*source.fields, Field("moments", "array", (24, 4, 4), "float16"))
    for ours, theirs in zip(read_samples(encoded), read_samples(source), strict=True):
        fields = dict(ours.fields)
        member, data = fields.pop("moments")
        assert member == "moments.npy"
        assert replace(ours, fields=fields) == theirs
        image = decode_sample(source, 0, theirs).permute(2, 0, 1)[None].float() / 127.5 - 1
        expected = torch.cat(folded(image), dim=1)[0]
        torch.testing.assert_close(
            decode_field(encoded.fields[-1], data).float(), expected, rtol=1e-3, atol=1e-3
        )


def test_the_scale_is_one_over_the_deviation_of_latents_drawn_from_what_is_stored(encoded):
    means, stds = np.split(moments_of(encoded).astype(np.float64), 2, axis=1)
    # The law of total variance, over all images, channels and places.
    expected = 1 / np.sqrt(means.var() + np.square(stds).mean())
    assert encoded.latents == Latents("ab" * 32, 2, 12, pytest.approx(expected, rel=1e-12))
    drawn = (means + stds * np.random.default_rng(1).normal(size=stds.shape)) * encoded.latents.scale
    assert drawn.std() == pytest.approx(1, abs=0.01)
    assert ShardIndex.read(encoded.root).latents == encoded.latents


@pytest.mark.parametrize(("asked", "scale"), [("codec", 0.25), (0.18215, 0.18215)])
def test_a_scale_that_is_known_is_taken(source, tmp_path, asked, scale):
    index = encode_shards(Request(source, coder(), scale=asked), tmp_path / "out")
    assert index.latents is not None
    assert index.latents.scale == scale
    assert index.origin["scale"] == asked


def test_latents_that_are_all_the_same_have_no_scale(source, tmp_path):
    dead = coder(
        encode=lambda images: tuple(0 * part + 0.5 * n for n, part in enumerate(folded(images)[::-1]))
    )
    assert encode_shards(Request(source, dead), tmp_path / "spread").latents.scale == pytest.approx(2)
    dead = coder(encode=lambda images: tuple(0 * part for part in folded(images)))
    with pytest.raises(UserError, match="--scale data: codecs/folded gives all images the same latents"):
        encode_shards(Request(source, dead), tmp_path / "out")
    assert encode_shards(Request(source, dead, scale=2.0), tmp_path / "told").latents.scale == 2


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6), min_size=1, max_size=6))
def test_a_spread_in_parts_is_that_of_the_whole(parts):
    parts = [np.array(part[: len(part) // 2 * 2]).reshape(-1, 1, 1) for part in parts]
    whole = sum((Spread.of(part) for part in parts), Spread())
    means = np.concatenate([np.split(part, 2)[0].ravel() for part in parts])
    stds = np.concatenate([np.split(part, 2)[1].ravel() for part in parts])
    assert whole.count == means.size
    assert whole.std == pytest.approx(np.sqrt(means.var() + np.square(stds).mean()), rel=1e-9, abs=1e-9)


def test_a_spread_far_from_zero_keeps_its_digits():
    rng = np.random.default_rng(0)
    parts = [np.concatenate([1e8 + rng.normal(size=(1, 8, 8)), np.zeros((1, 8, 8))]) for _ in range(50)]
    whole = sum((Spread.of(part) for part in parts), Spread())
    assert whole.std == pytest.approx(np.stack(parts)[:, 0].std(), rel=1e-6)


@pytest.mark.slow
def test_kills_in_the_middle_change_no_byte(source, encoded, tmp_path):
    """kill -9 of one process, then of one of two, with other batches, against one that was left alone."""
    out = tmp_path / "out"

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.data.encode_me"])  # torch is loaded once for all

    def start(batch: int) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=encode, args=(str(source.root), str(out), batch))
        process.start()
        return process

    def ended(process: multiprocessing.process.BaseProcess) -> int | None:
        process.join(60)
        return process.exitcode

    def wait_for(shards: int) -> None:
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.tar"))) < shards and time.monotonic() < deadline:
            time.sleep(0.005)

    first = start(4)
    wait_for(2)
    first.kill()
    assert ended(first) == -9
    assert not json.loads((out / "index.json").read_bytes())["complete"]
    recorded = [out / f"latents-{path.stem}.tar" for path in out.glob(".work/*.json")]
    kept = {path: path.stat().st_mtime_ns for path in recorded}
    assert kept
    pair = [start(3), start(5)]
    wait_for(4)
    pair[0].kill()
    assert [ended(process) for process in pair] == [-9, 0]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    ours, theirs = files(out), files(encoded.folder)
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"README.md", "card.json"}:  # which name the command
        assert ours[name] == theirs[name], name
    assert [p.name for p in out.iterdir() if p.name.startswith(".")] == [".lock"]


def test_the_same_command_again_changes_nothing_and_another_is_refused(source, encoded):
    before = files(encoded.folder)
    again = Request(source, coder(encode=None), batch_size=4, shard_size=SHARD)  # nothing is encoded
    assert encode_shards(again, encoded.folder).digest == encoded.digest
    assert files(encoded.folder) == before
    for change in ({"sha256": "cd" * 32}, {}):
        other = replace(again, coder=coder(**change), dtype="float16" if change else "float32")
        with pytest.raises(UserError, match="holds another data set"):
            encode_shards(other, encoded.folder)


def test_the_card_and_the_picture_show_what_was_made(encoded, source):
    card = json.loads((encoded.folder / "card.json").read_bytes())
    assert card["index_digest"] == encoded.digest
    assert card["codec"] == {"file": "codecs/folded", **encoded.latents.as_json()}
    assert (encoded.folder / "README.md").read_text().count(source.digest) == 1
    with Image.open(encoded.folder / "contact.jpg") as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (16, 7 * 8, 3)
    assert np.abs(pixels[:8] - pixels[8:]).mean() < 2  # the codec keeps all


def test_latents_are_exported_with_the_images(encoded, tmp_path):
    assert export(encoded, tmp_path / "files") == COUNT
    row = json.loads((tmp_path / "files/metadata.jsonl").read_text().splitlines()[3])
    stored = np.load(tmp_path / "files" / row["fields"]["moments"])
    assert np.array_equal(stored, moments_of(encoded)[3])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_channels": 1}, "images of 3 channels; codecs/folded encodes those of 1"),
        ({"factor": 3}, "images of 8x8 .* multiples of 3"),
        ({"channels": 1 << 16}, "fields.*shape: .* with the latents'"),
    ],
)
def test_what_a_codec_cannot_encode_is_refused(source, changes, words):
    with pytest.raises(UserError, match=words):
        Request(source, coder(**changes))


def test_latents_of_latents_are_refused(encoded):
    with pytest.raises(UserError, match="has latents already"):
        Request(encoded, coder())


def test_numbers_beyond_the_type_are_refused_by_key_and_leave_nothing_half(source, tmp_path):
    loud = coder(encode=lambda images: tuple(1e5 * part for part in folded(images)))
    with pytest.raises(
        UserError, match=r"key 00000000: its latents, up to .* float16; allowed: --dtype float32"
    ):
        encode_shards(Request(source, loud), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tar*"))
    index = encode_shards(Request(source, loud, dtype="float32"), tmp_path / "other")
    assert np.isfinite(moments_of(index)).all()


# ---- the index


def test_an_index_without_latents_keeps_its_bytes_and_its_digest(source):
    assert "latents" not in source.as_json()
    assert replace(source, latents=Latents("ab" * 32, 2, 12, 1.0)).digest != source.digest


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("codec", "abc", "latents.codec: must be 64"),
        ("codec", 3, "latents.codec: must be str"),
        ("scale", 0.0, "latents.scale: 0.0; must be a number above 0"),
        ("scale", float("inf"), "latents.scale"),
        ("scale", None, "latents.scale: must be float"),
        ("factor", 0, "latents.factor: 0; must be at least 1"),
        ("factor", 4, "are not those of its field moments"),
        ("factor", 3, "are not those of its field moments"),
        ("channels", 3, "are not those of its field moments"),
        (None, [], "latents.*must be a JSON object"),
    ],
)
def test_a_bad_record_of_latents_is_refused_by_its_key(encoded, tmp_path, key, value, words):
    content = json.loads((encoded.folder / "index.json").read_bytes())
    content["latents"] = value if key is None else {**content["latents"], key: value}
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=words):
        ShardIndex.read(tmp_path, damaged="skip")


@pytest.mark.parametrize("key", ["fields", "height", "width"])
def test_a_record_that_is_not_of_the_fields_and_the_size_is_refused(encoded, tmp_path, key):
    content = json.loads((encoded.folder / "index.json").read_bytes())
    content[key] = content["fields"][:-1] if key == "fields" else 9  # which 2 does not divide
    (tmp_path / "index.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="are not those of its field moments"):
        ShardIndex.read(tmp_path, damaged="skip")
