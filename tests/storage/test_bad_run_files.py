"""Weights, records, claims and ends that a crash or a stranger has left, as those who read them take them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.config.run import StopConfig
from pipeline.contracts import ImageSpec, Stage
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from pipeline.generation.blocks import Blocks
from pipeline.storage.claims import Claims
from pipeline.storage.ending import ENDING, asked_to_end
from pipeline.storage.owners import place
from pipeline.storage.snapshots import open_snapshot, write_snapshot
from pipeline.storage.start import load_start
from tests.bad_files import BAD

pytestmark = pytest.mark.timeout(300, func_only=True)  # a pipe must not be waited for


def snapshot(run: Path) -> Path:
    return write_snapshot(
        run,
        {"w": torch.ones(4)},
        family=StyleGAN2Config(),
        spec=ImageSpec(32, 32, 3),
        classes=[],
        stage=Stage(32, 1.0, 16, {"generator": 0.1, "discriminator": 0.2}),
        images_seen=8,
        step=1,
        world_size=1,
        config_digest="c",
        data={},
    )


def with_header(header: bytes, size: int | None = None) -> bytes:
    return (len(header) if size is None else size).to_bytes(8, "little") + header + bytes(64)


HEADERS = {
    "empty": b"",
    "2^60 bytes": with_header(b"{}", 1 << 60),
    "2^64 - 1 bytes": with_header(b"{}", 2**64 - 1),
    "no JSON": with_header(b"x" * 64),
    "deep": with_header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "shape": with_header(b'{"a":{"dtype":"F32","shape":[1152921504606846976,16],"data_offsets":[0,64]}}'),
    "offsets": with_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[64,4]}}'),
    "type": with_header(b'{"a":{"dtype":"F99","shape":[16],"data_offsets":[0,64]}}'),
}


@pytest.mark.parametrize("name", HEADERS)
def test_weights_that_are_none_are_a_line(tmp_path, name):
    # With a manifest that agrees: nothing but the file itself says that it is bad.
    folder, data = snapshot(tmp_path), HEADERS[name]
    (folder / "generator.safetensors").write_bytes(data)
    body = json.loads((folder / "manifest.json").read_text())
    entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    body["files"]["generator.safetensors"] = entry
    (folder / "manifest.json").write_text(json.dumps(body))
    for act in (lambda: open_snapshot(folder).weights(), lambda: load_start(folder)):
        with pytest.raises(UserError, match=r"generator\.safetensors: ") as caught:
            act()
        assert len(str(caught.value).splitlines()) == 1


ODD_SOURCES = {
    "a file": lambda path: path.write_text("x"),
    "an empty folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "nothing": lambda path: None,
    "half of a snapshot": lambda path: (path / "snapshots/000000000008").mkdir(parents=True),
}


@pytest.mark.parametrize("name", ODD_SOURCES)
def test_a_source_to_start_from_that_is_none_is_a_line(tmp_path, name):
    ODD_SOURCES[name](tmp_path / "x")
    with pytest.raises(UserError, match=rf"^start\.source: .*{tmp_path / 'x'}") as caught:
        load_start(tmp_path / "x")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_record_of_a_block_counts_as_none(tmp_path, bad):
    blocks = Blocks(ShardIndex(tmp_path, (), 4, 4, 1, complete=False), 2, 4)
    record = {"block": 0, "images": [], "refused": {}, "shard": None}
    path = tmp_path / ".work/00000.json"
    path.write_text(json.dumps(record))
    assert blocks.record(0) is not None
    path.write_text(json.dumps({**record, "block": 1}))
    assert Blocks(blocks.index, 2, 4).record(0) is None  # that of another block
    BAD[bad](path)
    assert Blocks(blocks.index, 2, 4).record(0) is None


@pytest.mark.parametrize("bad", [name for name in BAD if name != "folder"])
def test_what_processes_agree_on_is_made_again_if_it_was_spoilt(tmp_path, bad):
    blocks = Blocks(ShardIndex(tmp_path, (), 4, 4, 1, complete=False), 2, 4)
    assert blocks.agree("least", ["score"], lambda: {"score": 0.5}) == {"score": 0.5}
    BAD[bad](tmp_path / ".work/least.json")
    for value in (0.25, 0.75):
        assert blocks.agree("least", ["score"], lambda value=value: {"score": value}) == {"score": 0.25}


@pytest.mark.parametrize("bad", [name for name in BAD if name != "device"])  # whose time is the machine's
def test_a_bad_claim_is_judged_by_its_age_alone(tmp_path, bad):
    claim = tmp_path / ".x.claim-0"
    claim.write_text(json.dumps({"token": "t", "host": "h", "pid": 1, "place": "p"}))
    BAD[bad](claim)
    assert Claims(tmp_path).take("x") is None
    os.utime(claim, (1, 1))
    taken = Claims(tmp_path).take("x")
    assert taken is not None
    taken.release()


def test_a_claim_by_a_number_that_no_process_can_have_is_a_dead_one(tmp_path):
    claim = {"token": "t", "host": "h", "pid": 10**15, "place": place()}
    (tmp_path / ".x.claim-0").write_text(json.dumps(claim))
    taken = Claims(tmp_path).take("x")
    assert taken is not None
    taken.release()


def test_an_end_that_nobody_asked_for_is_none(tmp_path):
    asked = {"metric": "swd", "patience_images": 2_000_000, "least_improvement": 0.0}
    body = {**asked, "best_value": 1.0, "best_images": 0, "newest_images": 9, "reason": "x"}
    config = StopConfig(metric="swd")
    (tmp_path / ENDING).write_text(json.dumps(body))
    assert asked_to_end(tmp_path, config).startswith("swd has not improved on 1, of 0 images, up to 9")
    for change in ({"best_value": "x"}, {"best_value": None}, {"newest_images": [1]}):
        (tmp_path / ENDING).write_text(json.dumps({**body, **change}))
        assert asked_to_end(tmp_path, config) is None
