"""Shards from a web server that fails: the same bits as from disk, or one line that names the cause."""

from __future__ import annotations

import email.utils
import socket
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from pipeline.data.preparing.pyramid import build_pyramid
from pipeline.data.shards.export import export
from pipeline.data.shards.index import ShardIndex
from pipeline.data.stores import patience
from pipeline.data.stores.patience import AGAIN, Patience, patiently
from pipeline.data.stores.place import Remote, StoreSettings, place_of
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import RunFailed, UserError
from tests.data import layers
from tests.data.sets import draw_global, make_set
from tests.data.test_damage import SHARD, TABLE
from tools.torture.faulty_store import PASSING, FaultyStore, at_random

DRAWS = [(48, 3)]
TARS = 4


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_SECONDS", 0.02)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store")
    make_set(out / "set", 16 * TARS)
    return out


@pytest.fixture(scope="module")
def expected(root: Path) -> torch.Tensor:
    return draw_global(ShardIndex.read(root / "set"), DRAWS)[0]


def settings(folder: Path, **more: float) -> StoreSettings:
    return StoreSettings(str(folder / "cache"), **{"patience_seconds": 30, "silence_seconds": 0.5, **more})


def opened(store: FaultyStore, folder: Path, damaged: str = "error", **more: float) -> ShardIndex:
    return ShardIndex.read(place_of(f"{store.url}/set", settings(folder, **more)), damaged=damaged)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_gives_what_a_disk_gives_and_each_shard_once(
    root: Path, expected: torch.Tensor, tmp_path: Path, workers: int
) -> None:
    with FaultyStore(root) as store:
        index = opened(store, tmp_path)
        assert index.digest == ShardIndex.read(root / "set").digest
        images, _ = draw_global(index, DRAWS, workers=workers, world=2)
        assert torch.equal(images, expected)
        later, _ = draw_global(index, [(48, 2)], workers=workers, seen=48)
        assert torch.equal(later, expected[48:])
        tars = [
            count for (method, name), count in store.requests.items() if method == "GET" and "tar" in name
        ]
        assert tars == [1] * TARS
        assert sum(count for (method, _), count in store.requests.items() if method == "HEAD") == TARS


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_changes_no_bit(root: Path, expected: torch.Tensor, tmp_path: Path, fault: str) -> None:
    """The first request for each shard goes wrong, and the second for every other one."""

    def choose(method: str, name: str, times: int) -> str | None:
        if not name.endswith(".tar") or method != "GET":
            return None
        return fault if times == 0 or (times == 1 and int(name[-5]) % 2) else None

    with FaultyStore(root, choose) as store:
        images, _ = draw_global(opened(store, tmp_path), DRAWS, workers=1)
        assert torch.equal(images, expected)
        assert store.faults[fault] >= TARS
    assert not list((tmp_path / "cache").glob("*.part"))


def test_all_of_it_at_random_and_retries_are_counted(
    root: Path, expected: torch.Tensor, tmp_path: Path
) -> None:
    from pipeline.config.run import DataConfig
    from pipeline.contracts import Process
    from pipeline.data.streaming.stream import ImageStream

    with FaultyStore(root, at_random(1, 0.5)) as store:
        AGAIN.take()  # what earlier tests of this process have left behind
        # So long that a busy machine's silence is not taken for the store's, which would be a retry too many.
        index = opened(store, tmp_path, silence_seconds=3)
        config = DataConfig(workers=1, lanes=8, mirror=True)
        with ImageStream(index, config, seed=5, process=Process(), images_seen=0, labels=True) as stream:
            images = torch.cat([batch.images for batch in stream.draw(*DRAWS[0])])
            failed = store.faults.total() - store.faults["redirect"] - store.faults["no-range"]
            assert 0 < stream.retries <= failed
    assert torch.equal(images, expected)


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    layers.make(tmp_path / "set", height=256, width=256, count=16)
    size = (tmp_path / "set" / "data-00000.tar").stat().st_size

    def choose(method: str, name: str, times: int) -> str | None:
        return "drop" if name.endswith("tar") and method == "GET" and times < 3 else None

    with FaultyStore(tmp_path, choose) as store:
        list(read_uint8(opened(store, tmp_path)))
        assert store.requests["GET", "set/data-00000.tar"] == 4
        # What has come but was not read when the connection broke is lost; begun anew each time, it would be
        # two and a half times the size.
        assert size < store.served < 1.6 * size


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        ("401", UserError, "the store refuses: status 401, Unauthorized; check the URL and the credentials"),
        ("403", UserError, "the store refuses: status 403, Forbidden; check the URL and the credentials, "),
        ("404", UserError, "is missing: the store has no such file; restore it"),
    ],
)
def test_what_does_not_pass_ends_at_once_and_names_file_and_status(
    root: Path, tmp_path: Path, status: str, kind: type[Exception], said: str
) -> None:
    def choose(method: str, name: str, times: int) -> str | None:
        return status if name.endswith(SHARD) and method == "GET" else None

    with FaultyStore(root, choose) as store:
        index, start = opened(store, tmp_path), time.monotonic()
        with pytest.raises(kind) as caught:
            draw_global(index, DRAWS, workers=1)
        assert f"{store.url}/set/{SHARD}: " in str(caught.value)
        assert said in str(caught.value)
        assert time.monotonic() - start < 10
        assert store.requests["GET", f"set/{SHARD}"] <= 2  # by the one who reads and the one ahead of it


@pytest.mark.parametrize(
    ("fault", "name", "said"),
    [
        (
            "403",
            "index.json",
            "index.json: the store refuses: status 403, Forbidden; check the URL and the cre",
        ),
        ("404", "index.json", "index.json: no such index; give the URL of a folder of shards"),
        ("403", SHARD, f"{SHARD}: the store refuses: status 403"),
        ("404", SHARD, f"{SHARD}: shard missing; index.json lists it with 16 samples"),
    ],
)
def test_an_index_or_a_look_at_the_shards_that_is_refused(
    root: Path, tmp_path: Path, fault: str, name: str, said: str
) -> None:
    with FaultyStore(root, lambda method, asked, times: fault if asked.endswith(name) else None) as store:
        with pytest.raises(UserError) as caught:
            opened(store, tmp_path)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("500", "status 500, Internal Server Error"),
        ("drop", "the connection broke off"),  # each time after half of the rest, and at last after nothing
        ("stall", "it does not answer (timed out)"),
    ],
)
def test_patience_ends_and_says_what_failed_for_how_long(
    root: Path, tmp_path: Path, fault: str, said: str
) -> None:
    def choose(method: str, name: str, times: int) -> str | None:
        return fault if method == "GET" and name.endswith(SHARD) else None

    with FaultyStore(root, choose) as store:
        index = opened(store, tmp_path, patience_seconds=1, silence_seconds=0.1)
        start = time.monotonic()
        with pytest.raises(RunFailed) as caught:
            draw_global(index, DRAWS)
        assert 1 < time.monotonic() - start < 20
        line = str(caught.value)
        assert f"{store.url}/set/{SHARD}: the store fails: {said}, for 1 seconds and" in line
        assert line.endswith("; the same command goes on when it answers")


def test_nobody_there() -> None:
    place = place_of("http://127.0.0.1:9/set", StoreSettings(patience_seconds=1))
    with pytest.raises(RunFailed, match=r"the store fails: Connect call failed|refused"):
        ShardIndex.read(place)


@pytest.mark.parametrize("kind", ["seconds", "date", "nonsense"])
def test_a_wait_that_the_store_asks_for_is_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(OSError):
        status = 429
        headers: ClassVar = {
            "retry-after": {
                "seconds": "7",
                "date": email.utils.formatdate(time.time() + 7.5, usegmt=True),
                "nonsense": "soon",
            }[kind]
        }

    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    Patience(Remote("s3://b/a", StoreSettings(patience_seconds=60))).endure(Busy())
    assert now[0] < 0.03 if kind == "nonsense" else 5 < now[0] < 8


def test_a_wait_beyond_all_patience_ends_at_once() -> None:
    class Busy(OSError):
        status, headers = 503, {"Retry-After": "3600"}

    one, start = Patience(Remote("s3://b/a", StoreSettings(patience_seconds=60))), time.monotonic()
    with pytest.raises(RunFailed, match="status 503, Service Unavailable"):
        one.endure(Busy())
    assert time.monotonic() - start < 1


def test_pauses_grow_differ_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(patience, "_FIRST_SECONDS", 0.5)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    pauses: list[list[float]] = []
    for _ in range(200):
        now[0], one = 0.0, Patience(Remote("s3://b/a", StoreSettings(patience_seconds=1e9)))
        moments = [0.0]
        for _ in range(12):
            one.endure(ConnectionResetError())
            moments.append(now[0])
        pauses.append([after - before for before, after in pairwise(moments)])
    for turn, drawn in enumerate(zip(*pauses, strict=True)):
        most = min(30.0, 0.5 * 2**turn)
        # Uniform on [0, most]: 200 draws have their mean within 6 standard errors of its half.
        assert max(drawn) <= most + 1e-6
        assert abs(sum(drawn) / 200 - most / 2) < 6 * most / (12 * 200) ** 0.5


def test_a_host_that_is_unknown_at_first_was_typed_wrongly_and_later_is_tried_again() -> None:
    def ask() -> bytes:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    place = Remote("http://host/a", StoreSettings(patience_seconds=0.1))
    with pytest.raises(UserError, match=r"^http://host/a: its host is not found \(Name.*; check the URL$"):
        patiently(Patience(place), ask, first=True)
    with pytest.raises(RunFailed, match="the store fails: its host is not found"):
        patiently(Patience(place), ask)


def test_a_mistake_in_the_program_is_not_tried_again() -> None:
    with pytest.raises(KeyError):
        Patience(Remote("s3://b/a")).endure(KeyError("x"))


@pytest.mark.parametrize(
    "case",
    [
        "cut in the middle",
        "bit flip in an image",
        "header damaged",
        "missing",
        "labels swapped",
        "another size",
        "a pickle inside",
    ],
)
def test_damage_in_a_store_is_treated_as_on_a_disk(root: Path, tmp_path: Path, case: str) -> None:
    import shutil

    shutil.copytree(root / "set", tmp_path / "set")
    TABLE[case][0](tmp_path / "set" / SHARD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disk = ShardIndex.read(tmp_path / "set", damaged="skip")
        wanted, _ = draw_global(disk, DRAWS, on_damage="skip")
        with FaultyStore(tmp_path) as store:
            index = opened(store, tmp_path, "skip")
            images, _ = draw_global(index, DRAWS, on_damage="skip")
            assert torch.equal(images, wanted)
            with pytest.raises(UserError, match=SHARD):
                draw_global(index, DRAWS)


def test_a_copy_that_went_bad_on_this_machine_is_brought_anew(
    root: Path, expected: torch.Tensor, tmp_path: Path
) -> None:
    with FaultyStore(root) as store:
        index = opened(store, tmp_path)
        draw_global(index, DRAWS)
        for copy in (tmp_path / "cache").glob("*.tar"):
            data = bytearray(copy.read_bytes())
            data[1500] ^= 1
            copy.write_bytes(data)
        assert torch.equal(draw_global(index, DRAWS)[0], expected)
        assert store.requests["GET", f"set/{SHARD}"] == 2


def test_levels_of_a_pyramid_and_files_beside(tmp_path: Path) -> None:
    build_pyramid(layers.make(tmp_path / "set"))
    (tmp_path / "set" / "README.md").write_text("About it.")
    disk = ShardIndex.read(tmp_path / "set")
    draws = [(8, 8), (8, 32), (8, 16)]
    with FaultyStore(tmp_path) as store:
        index = opened(store, tmp_path)
        for mine, theirs in zip(layers.draw(index, draws), layers.draw(disk, draws), strict=True):
            assert torch.equal(mine[0], theirs[0])
        export(index, tmp_path / "a.zip")
    export(disk, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_would_be_written_into_a_store_is_refused(root: Path, tmp_path: Path) -> None:
    with FaultyStore(root) as store:
        index = opened(store, tmp_path)
        with pytest.raises(UserError, match="a data set in a store is only read"):
            index.write()
