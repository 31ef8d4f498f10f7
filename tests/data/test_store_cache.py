"""The cache of a machine: one copy for all, within its limit, whole whatever happens to those who fill it."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import namedtuple
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from pipeline.data.shards.index import ShardIndex
from pipeline.data.stores import cache as module
from pipeline.data.stores import download, patience
from pipeline.data.stores.cache import ShardCache, cache_folder
from pipeline.data.stores.download import StoredFile
from pipeline.data.stores.place import Remote, StoreSettings, place_of
from pipeline.errors import Damaged, RunFailed, UserError
from pipeline.words import keep_quiet
from tests.data.sets import draw_global, make_set
from tools.torture.faulty_store import FaultyStore, at_random

_FORK = multiprocessing.get_context("fork")


def fill(root: Path, count: int = 6, size: int = 10_000) -> list[Path]:
    """Files that are all different."""
    root.mkdir(exist_ok=True)
    for n in range(count):
        (root / f"{n}.tar").write_bytes(bytes([n]) * size)
    return [root / f"{n}.tar" for n in range(count)]


def wanted(store: FaultyStore, path: Path, **settings: float) -> StoredFile:
    data = path.read_bytes()
    place = Remote(f"{store.url}/{path.name}", StoreSettings(**{"silence_seconds": 2, **settings}))
    return StoredFile(place, len(data), hashlib.sha256(data).hexdigest())


def cache_in(folder: Path, most: int = 1 << 30, tell: object = keep_quiet) -> ShardCache:
    (folder / "locks").mkdir(parents=True)
    return ShardCache(folder, most, tell)  # type: ignore[arg-type]


def kept(cache: ShardCache) -> set[str]:
    return {path.name[:8] for path in cache.folder.glob("*.tar")}


def start(target, *arguments) -> BaseProcess:
    process = _FORK.Process(target=target, args=arguments)
    process.start()
    return process


def read(cache: ShardCache, file: StoredFile) -> bytes:
    path, descriptor = cache.open(file)
    try:
        assert path.stat().st_ino == os.fstat(descriptor).st_ino
        return os.pread(descriptor, file.bytes + 1, 0)
    finally:
        os.close(descriptor)


def test_four_processes_of_a_machine_download_a_file_once(tmp_path: Path) -> None:
    paths, cache = fill(tmp_path / "store"), cache_in(tmp_path / "cache")
    with FaultyStore(tmp_path / "store") as store:
        files = [wanted(store, path) for path in paths]

        def work(turn: int) -> None:
            for file, path in zip(files[turn:] + files[:turn], paths[turn:] + paths[:turn], strict=True):
                assert read(cache, file) == path.read_bytes()

        workers = [start(work, turn) for turn in range(4)]
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert set(store.requests.values()) == {1}


def test_the_longest_unused_makes_room_and_what_is_open_stays(tmp_path: Path) -> None:
    paths, cache = fill(tmp_path / "store"), cache_in(tmp_path / "cache", 30_000)
    with FaultyStore(tmp_path / "store") as store:
        files = [wanted(store, path) for path in paths]
        names = [file.sha256[:8] for file in files]
        path, descriptor = cache.open(files[0])
        for n in (1, 2):
            read(cache, files[n])
        os.utime(cache.folder / f"{files[1].sha256}.tar", (1, 1))
        read(cache, files[1])  # now 2 is the longest unused that nobody has open
        os.utime(path, (0, 0))
        read(cache, files[3])
        assert kept(cache) == {names[0], names[1], names[3]}
        assert os.pread(descriptor, 20_000, 0) == paths[0].read_bytes()
        os.close(descriptor)
        read(cache, files[4])
        assert names[0] not in kept(cache)
        open_ones = [cache.open(file)[1] for file in files]  # more than the limit, and all of them stay
        assert len(kept(cache)) == 6
        for one in open_ones:
            os.close(one)
        read(cache, wanted(store, fill(tmp_path / "store", 7)[6]))
        assert len(kept(cache)) == 3  # and the limit holds again


def test_half_a_file_counts_as_a_whole_one_and_goes_like_one(tmp_path: Path) -> None:
    paths, cache = fill(tmp_path / "store"), cache_in(tmp_path / "cache", 30_000)
    with FaultyStore(tmp_path / "store") as store:
        files = [wanted(store, path) for path in paths]
        part = cache.folder / f"{files[5].sha256}.10000.part"
        part.write_bytes(b"\5" * 100)
        for n in range(2):
            read(cache, files[n])
        assert part.exists()
        read(cache, files[2])
        assert not part.exists()


def test_a_process_killed_in_a_download_leaves_nothing_wrong_and_another_goes_on(tmp_path: Path) -> None:
    (path,) = fill(tmp_path / "store", 1, 2_000_000)
    cache = cache_in(tmp_path / "cache")

    def choose(method: str, name: str, times: int) -> str | None:
        return "stall" if times == 0 else None

    with FaultyStore(tmp_path / "store", choose) as store:
        file = wanted(store, path, silence_seconds=60)
        loader = start(cache.open, file)
        part = cache.folder / f"{file.sha256}.2000000.part"
        while not (part.exists() and part.stat().st_size > 500_000):
            time.sleep(0.01)
        assert loader.pid is not None
        os.kill(loader.pid, signal.SIGKILL)
        loader.join()
        assert not kept(cache)
        had = part.stat().st_size
        assert read(cache, file) == path.read_bytes()
        assert store.served <= 1_000_000 + (2_000_000 - had)
        assert not part.exists()


@pytest.mark.parametrize(
    "faults",
    [
        ("corrupt",),
        ("drop", "corrupt"),
        ("drop", "no-range"),
        ("drop", "cut", "no-range"),
        ("cut", "drop", "503"),
    ],
)
def test_whatever_happens_on_the_way_the_copy_is_what_it_should_be(
    tmp_path: Path, faults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_FIRST_SECONDS", 0.02)
    (tmp_path / "store").mkdir()
    path = tmp_path / "store" / "0.tar"
    path.write_bytes(random.Random(0).randbytes(1_500_000))
    cache = cache_in(tmp_path / "cache")
    with FaultyStore(
        tmp_path / "store", lambda method, name, times: faults[times] if times < len(faults) else None
    ) as store:
        assert read(cache, wanted(store, path)) == path.read_bytes()
        assert sorted(store.faults.elements()) == sorted(faults)
        whole = faults[-1] == "no-range"  # which gives all of it
        assert store.requests.total() == len(faults) + (not whole)


def test_a_download_that_another_makes_is_not_made_ahead(tmp_path: Path) -> None:
    (path,) = fill(tmp_path / "store", 1)
    cache = cache_in(tmp_path / "cache")
    with FaultyStore(tmp_path / "store") as store:
        file = wanted(store, path)
        with module.in_turn(cache.folder / "locks" / file.sha256[:2]):
            cache.bring(file, lambda: False)
            assert not store.requests
        cache.bring(file, lambda: False)
        cache.bring(file, lambda: False)
        assert store.requests.total() == 1


def test_two_machines_of_two_ranks_with_caches_of_three_shards(tmp_path: Path) -> None:
    """Each machine has a cache; all four processes read from one store, which fails now and then."""
    disk = make_set(tmp_path / "set", 16 * 8)
    draws, settings = [(16, 20)], {"lanes": 2, "workers": 1, "world": 2}
    expected, _ = draw_global(disk, draws, lanes=2)
    size = max(shard.bytes for shard in disk.shards)

    with FaultyStore(tmp_path, at_random(3, 0.1)) as store:

        def machine(number: int) -> None:
            told = StoreSettings(str(tmp_path / f"cache-{number}"), 3.5 * size / 1e9, 60, 0.5)
            index = ShardIndex.read(place_of(f"{store.url}/set", told))
            images, _ = draw_global(index, draws, **settings)
            assert torch.equal(images, expected)

        machines = [start(machine, number) for number in range(2)]
        for one in machines:
            one.join()
        assert [one.exitcode for one in machines] == [0, 0]
        gets = {name: count for (method, name), count in store.requests.items() if name.endswith("tar")}
        assert sum(gets.values()) > 2 * 8  # shards went, and came again
    for number in range(2):
        left = [path.stat().st_size for path in (tmp_path / f"cache-{number}").glob("*.tar")]
        assert sum(left) <= 6 * size  # three, or those that all processes had open at once


def test_a_full_disk_makes_the_cache_smaller_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    paths, cache = fill(tmp_path / "store"), cache_in(tmp_path / "cache", tell=lines.append)

    def usage(folder: Path) -> object:
        used = sum(path.stat().st_size for path in Path(folder).glob("*.tar"))
        return namedtuple("usage", "free")(max(25_000 - used, 0))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with FaultyStore(tmp_path / "store") as store:
        for path in paths:
            read(cache, wanted(store, path))
            assert len(kept(cache)) <= 2
    (line,) = lines
    assert line == (
        f"{cache.folder}: its disk has 0.0 GB for the cache of shards, less than data.cache_gb=1.07374; "
        "it keeps less"
    )


def _full_beyond(monkeypatch: pytest.MonkeyPatch, folder: Path, most: int) -> None:
    real = download._write

    def write(file, data: bytes) -> None:
        if sum(path.stat().st_size for path in folder.glob("*")) + len(data) > most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, data)

    monkeypatch.setattr(download, "_write", write)


def test_a_disk_that_fills_up_in_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    paths, cache = fill(tmp_path / "store"), cache_in(tmp_path / "cache", tell=lines.append)
    with FaultyStore(tmp_path / "store") as store:
        _full_beyond(monkeypatch, cache.folder, 25_000)
        for path in paths:
            assert read(cache, wanted(store, path)) == path.read_bytes()
        assert lines == [
            f"{cache.folder}: the disk is full; the cache of shards keeps less than data.cache_gb"
        ]
        _full_beyond(monkeypatch, cache.folder, 5_000)
        with pytest.raises(RunFailed) as caught:
            read(cache, wanted(store, fill(tmp_path / "store", 7)[6]))
    assert str(caught.value) == (
        f"{cache.folder}: cannot keep 6.tar: the disk is full; free some room, or set data.cache to a folder "
        "on another disk; the same command goes on"
    )


def test_the_folder_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HRGAN_CACHE", raising=False)
    (tmp_path / "home").mkdir()
    usual = tmp_path / "home" / ".cache" / "hrgan" / "shards"
    assert cache_folder(StoreSettings(), lines.append) == usual
    monkeypatch.setenv("HRGAN_CACHE", str(tmp_path / "a"))
    assert cache_folder(StoreSettings(), lines.append) == tmp_path / "a"
    assert cache_folder(StoreSettings(cache=str(tmp_path / "b")), lines.append) == tmp_path / "b"
    assert not lines
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/c: cannot write: a part of the path is a file"):
        cache_folder(StoreSettings(cache=str(tmp_path / "file" / "c")), lines.append)


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that cannot be written; returns the folder for temporary files."""
    monkeypatch.delenv("HRGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_a_home_that_cannot_be_written(no_home: Path) -> None:
    lines: list[str] = []
    folder = cache_folder(StoreSettings(), lines.append)
    assert folder == no_home / f"hrgan-shards-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    (line,) = lines
    assert f"shards are kept in {folder} (data.cache sets another folder)" in line


def test_a_temporary_folder_that_another_has_laid_out(no_home: Path, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (no_home / f"hrgan-shards-{os.getuid()}").symlink_to(tmp_path / "others")
    with pytest.raises(UserError, match=r"belongs to another user; set data\.cache to a folder of your own"):
        cache_folder(StoreSettings(), keep_quiet)


def test_what_the_store_holds_instead_is_believed_for_an_hour(tmp_path: Path) -> None:
    (path,) = fill(tmp_path / "store", 1)
    cache = cache_in(tmp_path / "cache")
    with FaultyStore(tmp_path / "store") as store:
        file = replace(wanted(store, path), sha256="0" * 64)
        kept_path = cache.folder / f"{file.sha256}.damaged"
        for asked, age in ((2, 0), (2, 3000), (4, 4000)):  # twice, to tell it from what the way there does
            if age:
                os.utime(kept_path, (time.time() - age,) * 2)
            found, descriptor = cache.open(file, as_it_is=True)
            os.close(descriptor)
            assert found == kept_path
            assert found.read_bytes() == path.read_bytes()
            assert store.requests.total() == asked
        with pytest.raises(
            Damaged, match=r"the store holds another file: sha256 .*\.\.\., the index says 00000"
        ):
            cache.open(file)


def test_who_waited_for_another_has_all_patience_left(tmp_path: Path) -> None:
    (path,) = fill(tmp_path / "store", 1)
    cache = cache_in(tmp_path / "cache")
    with FaultyStore(tmp_path / "store", lambda method, name, times: "500" if times < 2 else None) as store:
        file = wanted(store, path, patience_seconds=1.5)
        lock = cache.folder / "locks" / file.sha256[:2]

        def hold() -> None:
            with module.in_turn(lock):
                (tmp_path / "held").write_text("")
                time.sleep(2)

        other = start(hold)
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        assert read(cache, file) == path.read_bytes()
        other.join()
