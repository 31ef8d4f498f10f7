"""The stream: the same global batches for any ranks, workers and start; mirror; workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from pipeline.config.run import DataConfig
from pipeline.contracts import Process
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.lanes import Order
from pipeline.data.streaming.numbered import read_uint8
from pipeline.data.streaming.stream import ImageStream
from pipeline.data.streaming.workers import WorkerDied
from pipeline.errors import UserError
from pipeline.randomness import derive_seed
from tests.data.sets import draw_global, make_set, numbers

TOTAL = 90
DRAWS = [(8, 2), (24, 1), (4, 3), (64, 2)]  # batch size and times change in mid-run


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    return make_set(tmp_path_factory.mktemp("set"), TOTAL)


@pytest.fixture(scope="module")
def expected(index: ShardIndex) -> torch.Tensor:
    """The images of DRAWS by position, straight from the order, without any of the stream's code."""
    order = Order([shard.count for shard in index.shards], seed=5, lanes=8)
    stored = torch.cat([images for images, _, _ in read_uint8(index)])
    rows = []
    for position in range(sum(size * times for size, times in DRAWS)):
        _, shard, member = order.locate(position)
        image = stored[shard * 16 + member].float() / 127.5 - 1
        rows.append(image.flip(-1) if order.mirrored(position) else image)
    return torch.stack(rows)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_global_batches_do_not_depend_on_ranks_or_workers(
    index: ShardIndex, expected: torch.Tensor, world: int, workers: int
) -> None:
    images, _ = draw_global(index, DRAWS, world=world, workers=workers)
    assert torch.allclose(images, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("world", "workers", "seen"), [(1, 0, 8), (2, 1, 40), (4, 2, 52), (1, 3, 63), (2, 0, 1)]
)
def test_a_restart_anywhere_gives_the_same_images(
    index: ShardIndex, expected: torch.Tensor, world: int, workers: int, seen: int
) -> None:
    images, _ = draw_global(index, [(12, 3)], world=world, workers=workers, seen=seen)
    assert torch.allclose(images, expected[seen : seen + 36], atol=1e-6)


def test_each_image_once_an_epoch_far_into_a_run(index: ShardIndex) -> None:
    images, _ = draw_global(index, [(TOTAL // 2, 4)], workers=1, seen=1000 * TOTAL)
    for epoch in numbers(images).split(TOTAL):
        assert sorted(epoch.tolist()) == list(range(TOTAL))


@pytest.mark.parametrize(
    ("world", "workers", "seen"), [(1, 0, 0), (2, 1, 0), (4, 0, 0), (1, 1, 32), (2, 0, 64)]
)
def test_the_other_order_is_at_the_same_position(
    index: ShardIndex, expected: torch.Tensor, world: int, workers: int, seen: int
) -> None:
    """On any ranks, after a restart, and beside the first, which it leaves as it is."""
    order = Order([shard.count for shard in index.shards], seed=derive_seed(5, "others"), lanes=8)
    stored = [shard * 16 + member for _, shard, member in map(order.locate, range(seen, 2 * TOTAL))]
    config = DataConfig(workers=workers, lanes=8, mirror=True)
    streams = [
        ImageStream(index, config, seed=5, process=Process(r, world), images_seen=seen, labels=True)
        for r in range(world)
    ]
    found: dict[str, list[torch.Tensor]] = {"main": [], "others": []}
    for _ in range(3):
        for name, draws in found.items():
            parts = [(s if name == "main" else s.others).draw(16)[0].images for s in streams]
            draws.append(torch.stack(parts, 1).flatten(0, 1))
    for stream in streams:
        stream.close()
    assert torch.allclose(torch.cat(found["main"]), expected[seen : seen + 48], atol=1e-6)
    assert numbers(torch.cat(found["others"])).tolist() == stored[:48]


def test_fewer_samples_than_lanes_and_than_the_batch(tmp_path: Path) -> None:
    small = make_set(tmp_path, 3)
    images, _ = draw_global(small, [(9, 1)], lanes=64)
    assert sorted(numbers(images).tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_mirror_flips_left_to_right_and_can_be_off(index: ShardIndex) -> None:
    images, _ = draw_global(index, [(64, 1)])
    left_darker = images[:, 2, 0, 0] < images[:, 2, 0, -1]
    assert 0 < left_darker.sum() < 64
    images, _ = draw_global(index, [(64, 1)], mirror=False)
    assert bool((images[:, 2, 0, 0] < images[:, 2, 0, -1]).all())


def test_labels_only_if_asked_and_only_if_there(index: ShardIndex, tmp_path: Path) -> None:
    with ImageStream(
        index, DataConfig(workers=0), seed=1, process=Process(), images_seen=0, labels=False
    ) as stream:
        assert stream.draw(4)[0].labels is None
    bare = make_set(tmp_path, 4, labelled=False)
    with pytest.raises(UserError, match=r"data\.labels: true, but the shards have no labels"):
        ImageStream(bare, DataConfig(), seed=1, process=Process(), images_seen=0, labels=True)


def test_a_batch_that_ranks_cannot_share_is_refused(index: ShardIndex) -> None:
    with (
        ImageStream(
            index, DataConfig(), seed=1, process=Process(0, 4), images_seen=0, labels=False
        ) as stream,
        pytest.raises(UserError, match=r"batch\.size: 6 images cannot be shared equally by 4 processes"),
    ):
        stream.draw(6)


def _stream(index: ShardIndex, workers: int = 2) -> ImageStream:
    config = DataConfig(workers=workers, prefetch=1)
    return ImageStream(index, config, seed=1, process=Process(), images_seen=0, labels=True)


def test_a_killed_worker_is_a_clear_error(index: ShardIndex) -> None:
    with _stream(index) as stream:
        stream.draw(4)
        for child in _loaders(os.getpid()):
            child.kill()
        with pytest.raises(WorkerDied, match=r"hrgan-loader-\d killed by SIGKILL"):
            stream.draw(64, times=100)


def test_workers_ignore_the_signals_of_a_scheduler(index: ShardIndex) -> None:
    with _stream(index) as stream:
        stream.draw(4)
        for child in _loaders(os.getpid()):
            for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
                child.send_signal(name)
        for _ in range(10):
            stream.draw(64)
    assert not _loaders(os.getpid())


_CHILD = """
import sys, time
from tests.data.test_stream import _stream
from pipeline.data.shards.index import ShardIndex
stream = _stream(ShardIndex.read(sys.argv[1]))
stream.draw(4)
print("ready", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("kill", [True, False])
def test_workers_end_with_their_parent(index: ShardIndex, kill: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(index.root), "60" if kill else "0"], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        if kill:
            parent.stdout.readline()
            workers = _loaders(parent.pid)
            assert len(workers) == 2
            parent.kill()
            _, alive = psutil.wait_procs(workers, timeout=20)
            assert not alive
        assert parent.wait(timeout=120) == (-signal.SIGKILL if kill else 0)


def _loaders(parent: int) -> list[psutil.Process]:
    time.sleep(0.05)
    return [child for child in psutil.Process(parent).children() if child.status() != psutil.STATUS_ZOMBIE]


def test_read_uint8_in_stored_order(index: ShardIndex) -> None:
    parts = list(read_uint8(index, start=5, stop=60, batch_size=16))
    assert [len(keys) for _, _, keys in parts] == [16, 16, 16, 7]
    images = torch.cat([images for images, _, _ in parts])
    assert images.dtype == torch.uint8
    assert images.shape == (55, 3, 8, 8)
    assert images[:, 0, 0, 0].tolist() == list(range(5, 60))
    assert [label for _, labels, _ in parts for label in labels or []] == [n % 10 for n in range(5, 60)]
    assert [key for _, _, keys in parts for key in keys] == [f"{n:08d}" for n in range(5, 60)]


@pytest.mark.gpu
def test_a_gpu_gets_the_same_batches(index: ShardIndex, expected: torch.Tensor) -> None:
    process = Process(device=torch.device("cuda", 0))
    config = DataConfig(workers=2, lanes=8)
    with ImageStream(index, config, seed=5, process=process, images_seen=0, labels=True) as stream:
        images = torch.cat([batch.images for size, times in DRAWS for batch in stream.draw(size, times)])
    assert images.device.type == "cuda"
    assert images.is_contiguous()
    assert torch.allclose(images.cpu(), expected, atol=1e-6)
