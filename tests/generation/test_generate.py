"""Generated data sets: image i from its seed alone, durable, resumable, valid."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.contracts import Fakes
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.shards.verify import verify
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from pipeline.generation.computing import FIXED_BATCH
from pipeline.generation.generate import generate_shards
from pipeline.generation.grid import generate_grid
from pipeline.generation.request import Request
from pipeline.images.pictures import compose_grid, to_uint8
from pipeline.storage.snapshots import Snapshot
from tests.evaluation.worlds import SmoothSampler, write_toy_snapshot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return write_toy_snapshot(tmp_path / "run", 8)


@pytest.fixture
def labelled(tmp_path: Path) -> Snapshot:
    return write_toy_snapshot(tmp_path / "labelled", 8, classes=("a", "b", "c"))


def generate(
    snapshot: Snapshot, out: Path, count: int = 20, shard_size: int = 8, **settings: Any
) -> ShardIndex:
    request = Request(snapshot, count, **settings)
    return generate_shards(
        request, lambda: SmoothSampler(snapshot.spec), out, shard_size=shard_size, progress=False
    )


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def test_the_batch_does_not_change_a_byte(snapshot: Snapshot, tmp_path: Path) -> None:
    made = []
    for batch in (1, 3, 8, 50):
        generate(snapshot, tmp_path / f"out{batch}", batch_size=batch)
        made.append(files(tmp_path / f"out{batch}"))
    assert made[0] == made[1] == made[2] == made[3]
    shards = ["images-00000.tar", "images-00001.tar", "images-00002.tar"]
    assert sorted(made[0]) == ["README.md", "card.json", "contact.jpg", *shards, "index.json"]


def test_the_output_is_a_data_set_of_these_images(snapshot: Snapshot, tmp_path: Path) -> None:
    index = generate(snapshot, tmp_path / "out", count=20, seed=123, truncation=0.5)
    verify(index)
    assert (index.count, index.spec) == (20, snapshot.spec)
    images, labels, keys = zip(*read_uint8(index), strict=True)
    expected = SmoothSampler(snapshot.spec).draw(range(123, 143), truncation=0.5).images
    assert torch.equal(torch.cat(images), to_uint8(expected))
    assert labels == (None,)
    assert keys[0][:2] == ["seed-000000123", "seed-000000124"]
    with ShardReader(index) as reader:
        sample = reader.read(2, 1)
    assert sample.meta == {"seed": 123 + 17, "truncation": 0.5, "snapshot": snapshot.digest}
    assert index.origin["snapshot"] == snapshot.digest
    assert index.origin["truncation"] == 0.5


def test_an_image_is_the_same_in_any_request_that_has_its_seed(snapshot: Snapshot, tmp_path: Path) -> None:
    first = torch.cat([i for i, _, _ in read_uint8(generate(snapshot, tmp_path / "a", 12, seed=0))])
    second = torch.cat([i for i, _, _ in read_uint8(generate(snapshot, tmp_path / "b", 5, seed=6))])
    assert torch.equal(first[6:11], second)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_formats(snapshot: Snapshot, tmp_path: Path, kind: str) -> None:
    index = generate(snapshot, tmp_path / "out", 9, kind=kind)
    verify(index)
    (images, _, _) = next(read_uint8(index))
    expected = to_uint8(SmoothSampler(snapshot.spec).draw(range(9)).images)
    assert (images.float() - expected).abs().mean() < (1e-9 if kind == "png" else 6)


def test_classes_in_turn(labelled: Snapshot, tmp_path: Path) -> None:
    index = generate(labelled, tmp_path / "out", 7, batch_size=2, classes=(2, 0))
    verify(index)
    assert index.classes == ("a", "b", "c")
    assert [label for _, labels, _ in read_uint8(index) for label in labels or []] == [2, 0, 2, 0, 2, 0, 2]
    assert index.origin["classes"] == ["c", "a"]


def test_classes_from_the_seed(labelled: Snapshot, tmp_path: Path) -> None:
    index = generate(labelled, tmp_path / "out", 6, seed=1)
    assert [label for _, labels, _ in read_uint8(index) for label in labels or []] == [1, 2, 0, 1, 2, 0]
    with ShardReader(index) as reader:
        assert reader.read(0, 1).meta["class"] == 2


def test_classes_by_weight_come_as_often_as_asked_and_from_the_seed(
    labelled: Snapshot, tmp_path: Path
) -> None:
    request = Request(labelled, 4000, classes=(2, 0), weights=(3.0, 1.0))
    drawn = [request.class_of(number) for number in range(4000)]
    # Three standard deviations of a binomial around 3,000 of 4,000.
    assert abs(drawn.count(2) - 3000) < 3 * (4000 * 0.75 * 0.25) ** 0.5
    assert drawn.count(0) == 4000 - drawn.count(2)
    later = Request(labelled, 10, seed=100, classes=(2, 0), weights=(3.0, 1.0))
    assert [later.class_of(number) for number in range(10)] == drawn[100:110]
    index = generate(labelled, tmp_path / "out", 6, classes=(2, 0), weights=(3.0, 1.0))
    assert [label for _, labels, _ in read_uint8(index) for label in labels or []] == drawn[:6]
    assert index.origin["class_weights"] == [3.0, 1.0]


@pytest.mark.parametrize(
    ("order", "psis"),
    [("sequence", [0.2, 0.2, 0.2, 0.5, 0.5, 1.0, 1.0]), ("mixed", [0.2, 0.5, 1.0, 0.2, 0.5, 1.0, 0.2])],
)
def test_several_truncations(snapshot: Snapshot, tmp_path: Path, order: Any, psis: list[float]) -> None:
    for batch in (1, 4):
        index = generate(
            snapshot, tmp_path / str(batch), 7, truncation=(0.2, 0.5, 1.0), order=order, batch_size=batch
        )
    assert files(tmp_path / "1") == files(tmp_path / "4")
    images = torch.cat([images for images, _, _ in read_uint8(index)])
    sampler = SmoothSampler(snapshot.spec)
    expected = [sampler.draw([seed], truncation=psi).images for seed, psi in enumerate(psis)]
    assert torch.equal(images, to_uint8(torch.cat(expected)))
    with ShardReader(index) as reader:
        assert [reader.read(0, i).meta["truncation"] for i in range(7)] == psis
    assert index.origin["truncation"] == [0.2, 0.5, 1.0]
    assert index.origin["truncation_order"] == order


def test_deterministic_batches_have_one_size_and_the_same_content_whatever_is_asked(
    snapshot: Snapshot,
) -> None:
    """On a device that rounds by batch: what is drawn together depends on the image's number alone."""

    class Watched(SmoothSampler):
        def draw(self, seeds: Any, **options: Any) -> Fakes:
            calls.append(tuple(seeds))
            return super().draw(seeds, **options)

    made = []
    for batch in (1, 5):
        calls: list[tuple[int, ...]] = []
        request = Request(snapshot, 13, device=torch.device("cuda"), deterministic=True, batch_size=batch)
        sampler = Watched(snapshot.spec)
        drawn = [request.draw(sampler, numbers).images for numbers in request.batches(range(13))]
        assert torch.equal(torch.cat(drawn), SmoothSampler(snapshot.spec).draw(range(13)).images)
        assert {len(call) for call in calls} == {FIXED_BATCH}
        assert request.origin()["computed"] == f"cuda, deterministic, batches of {FIXED_BATCH}"
        made.append(calls)
    assert made[0] == made[1]


def test_a_finished_data_set_is_left_as_it_is(snapshot: Snapshot, tmp_path: Path) -> None:
    generate(snapshot, tmp_path / "out")
    before = files(tmp_path / "out")
    generate_shards(
        Request(snapshot, 20),
        lambda: pytest.fail("loaded again"),
        tmp_path / "out",
        shard_size=8,
        progress=False,
    )
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 1}, "seed: 0 there, 1 asked"),
        ({"truncation": 0.7}, "truncation: 1.0 there, 0.7 asked"),
        ({"count": 30}, "count: 20 there, 30 asked"),
        ({"kind": "jpg"}, "format: 'png' there, 'jpg' asked"),
        ({"shard_size": 9}, "shard_size: 8 there, 9 asked"),
    ],
)
def test_other_settings_into_the_same_folder_are_named(
    snapshot: Snapshot, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    generate(snapshot, tmp_path / "out")
    with pytest.raises(UserError, match=message) as caught:
        generate(snapshot, tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)


def test_another_snapshot_into_the_same_folder_is_named(snapshot: Snapshot, tmp_path: Path) -> None:
    generate(snapshot, tmp_path / "out")
    with pytest.raises(UserError, match="snapshot: "):
        generate(write_toy_snapshot(tmp_path / "run", 16), tmp_path / "out")


def test_a_folder_of_something_else_is_refused(snapshot: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"not empty \(holds thesis.tex\)"):
        generate(snapshot, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "x"


def test_an_index_that_a_killed_process_had_begun_is_nothing_else(snapshot: Snapshot, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.index.json.01234567-89-89.partial").write_text("left by a kill")
    generate(snapshot, tmp_path / "out")
    generate(snapshot, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "--count 0: must be at least 1"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"seed": 2**63}, "--seed 9223372036854775808: must be"),
        ({"truncation": float("nan")}, "--truncation nan: must be a number"),
        ({"quality": 50}, "--quality 50: allowed: 1 to 100, for jpg and webp"),
        ({"kind": "jpg", "quality": 0}, "--quality 0: allowed: 1 to 100"),
        ({"kind": "gif"}, "--format gif: unknown; allowed: png, jpg, webp"),
    ],
)
def test_requests_that_cannot_be(snapshot: Snapshot, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Request(snapshot, **{"count": 4, **settings})


def test_an_error_while_drawing_keeps_what_is_durable(snapshot: Snapshot, tmp_path: Path) -> None:
    class Failing(SmoothSampler):
        def draw(self, seeds: Any, **options: Any) -> Fakes:
            if 15 in seeds:
                raise RuntimeError("out of memory")
            return super().draw(seeds, **options)

    request = Request(snapshot, 20, batch_size=4)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate_shards(
            request, lambda: Failing(snapshot.spec), tmp_path / "out", shard_size=5, progress=False
        )
    with pytest.raises(UserError, match="not complete, its writer was interrupted; run the same"):
        ShardIndex.read(tmp_path / "out")
    assert [p.name for p in sorted((tmp_path / "out").glob("*.tar*"))][:2] == [
        "images-00000.tar",
        "images-00001.tar",
    ]
    assert not list((tmp_path / "out").glob("*.partial"))
    generate(snapshot, tmp_path / "out", shard_size=5)
    generate(snapshot, tmp_path / "whole", shard_size=5)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def start(run: Path, out: Path, batch: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.generation.kill_me", str(run), str(out), str(batch)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


def wait_for_shards(out: Path, shards: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.tar"))) < shards and time.monotonic() < deadline:
        time.sleep(0.005)


def test_kills_in_the_middle_change_no_byte(snapshot: Snapshot, tmp_path: Path) -> None:
    """kill -9 of one process, of two, each time with other batch sizes, against one that was left alone;
    finished shards are kept, and those who are left take the others' work over."""
    run, out = tmp_path / "run", tmp_path / "out"
    process = start(run, out, 4)
    wait_for_shards(out, 2)
    process.kill()
    assert process.wait() == -9
    assert not json.loads((out / "index.json").read_bytes())["complete"]
    kept = {path: path.stat().st_mtime_ns for path in out.glob(".work/*.json")}
    assert kept
    shards = {out / f"images-{path.stem}.tar" for path in kept}
    made = {path: path.stat().st_mtime_ns for path in shards}
    pair = [start(run, out, 3), start(run, out, 5)]
    wait_for_shards(out, 5)
    pair[0].kill()
    assert (pair[0].wait(), pair[1].wait(60)) == (-9, 0)
    assert {path: path.stat().st_mtime_ns for path in shards} == made
    generate(snapshot, tmp_path / "whole", 60, shard_size=7, seed=5, kind="jpg")
    assert files(out) == files(tmp_path / "whole")
    assert sorted(p.name for p in out.iterdir() if p.name.startswith(".")) == [".lock"]
    verify(ShardIndex.read(out))


def test_a_grid_is_one_picture(snapshot: Snapshot, tmp_path: Path) -> None:
    from PIL import Image

    sampler = SmoothSampler(snapshot.spec)
    request = Request(snapshot, 7, seed=3, batch_size=4, for_shards=False)
    generate_grid(request, lambda: sampler, tmp_path / "g.png", progress=False)
    with Image.open(tmp_path / "g.png") as picture:
        found = np.asarray(picture)
    np.testing.assert_array_equal(found, compose_grid(sampler.draw(range(3, 10)).images, 3))
    generate_grid(request, lambda: sampler, tmp_path / "g.jpg", columns=7, progress=False)
    with Image.open(tmp_path / "g.jpg") as picture:
        assert picture.size == (7 * 32, 32)
    assert sorted(p.name for p in tmp_path.glob("g*")) == ["g.jpg", "g.png"]


def test_a_grid_of_classes_has_a_column_a_class(labelled: Snapshot, tmp_path: Path) -> None:
    from PIL import Image

    request = Request(labelled, 6, classes=(0, 2), for_shards=False)
    generate_grid(request, lambda: SmoothSampler(labelled.spec), tmp_path / "g.png", progress=False)
    with Image.open(tmp_path / "g.png") as picture:
        assert picture.size == (64, 96)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("g.gif", 4, "g.gif: not a picture's file name; allowed endings: .png"),
        (
            "g.webp",
            1_000_000,
            "g.webp: the picture would have 32000x32000 pixels, its format allows 16383 a side",
        ),
        ("folder.png", 4, "folder.png: is a folder"),
    ],
)
def test_grids_that_cannot_be(
    snapshot: Snapshot, tmp_path: Path, name: str, count: int, message: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    request = Request(snapshot, count, for_shards=False)
    with pytest.raises(UserError, match=message):
        generate_grid(request, lambda: pytest.fail("drew"), tmp_path / name)
