"""Our loader beside those of others, on the same files: images/s and core-ms an image.

- bare: as many processes as there are workers, each decoding its share from memory with our decoder, no more.
- ours: until a batch stands in one uint8 block, in exact order, each sample checked.
- zip: a torch DataLoader over a zip of the same files, each worker with a handle of its own, decoded by PIL.
- webdataset: its own pipeline over our shards: shuffle, decode("rgb8"), which is PIL's, batched in workers.
- mosaicml-streaming: its StreamingDataset, shuffled, over MDS of the same files, decoded by PIL; where it is
  importable.

All give uint8 batches of 32 from two workers, and run one after the other in every round.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import random
import statistics
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler

from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.images.codec import NAMES, FormatName
from tools.bench.budget import Budget, add_minutes
from tools.bench.loader import BATCH, WORKERS, Cost, bare, blocks, now, photographs, since
from tools.bench.machine import write_rows

_ENDLESS = 1 << 20  # images, more than any round takes
_AHEAD = 2  # batches that each worker of others decodes ahead, as torch has it


def main() -> None:
    """Measures all rows, prints them, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved measurements of each loader")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024], help="pixels a side")
    parser.add_argument("--formats", nargs="+", choices=NAMES, default=["jpg", "png"], help="of the files")
    add_minutes(parser, 2)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    parts = {
        f"{side}px, {format}": (side, format) for side in arguments.sizes for format in arguments.formats
    }
    budget = Budget(arguments.minutes, list(parts))
    if importlib.util.find_spec("streaming") is None:
        budget.leave_out("mosaicml-streaming", "not installed: pip install mosaicml-streaming")
    for name, (side, format) in parts.items():
        if budget.begins(name):
            for row in loader_rows(side, format, budget.turns(arguments.rounds)):
                print(row["op"], row["size"], row["note"], sep=" | ", flush=True)
                rows.append(row)
    budget.report()
    write_rows(arguments.json, rows)


def loader_rows(side: int, format: FormatName, rounds: Iterable[int]) -> list[dict[str, Any]]:
    """Returns a row per loader for files of one size and format, with medians of interleaved rounds."""
    with tempfile.TemporaryDirectory() as folder:
        index = photographs(Path(folder, "shards"), side, 512 if side <= 256 else 96, format)
        images = BATCH * (32 if side <= 256 else 8)
        loaders = contestants(index, Path(folder), images)
        costs: dict[str, list[Cost]] = {name: [] for name in loaders}
        for _ in rounds:
            for name, measure in loaders.items():
                costs[name].append(measure().each(images))
    wall = {name: statistics.median(cost.wall for cost in values) for name, values in costs.items()}
    cpu = {name: statistics.median(cost.cpu for cost in values) for name, values in costs.items()}
    return [_row(name, side, format, wall, cpu) for name in loaders]


def contestants(index: ShardIndex, folder: Path, images: int) -> dict[str, Callable[[], Cost]]:
    """Returns what measures each loader on the files of `index`, copies of which go to `folder`."""
    files = [(f"{sample.key}.{sample.extension}", sample.image) for sample in read_samples(index)]
    archive = _zipped(folder / "files.zip", files)
    found: dict[str, Callable[[], Cost]] = {
        "bare": lambda: bare(index, images),
        "ours": lambda: blocks(index, images),
        "torch DataLoader over a zip": lambda: drawn(_over_zip(archive), images),
        "webdataset": lambda: drawn(_webdataset(index), images),
    }
    if importlib.util.find_spec("streaming") is not None:
        mds = _as_mds(folder / "mds", files)
        found["mosaicml-streaming"] = lambda: drawn(_mosaic(mds), images)
    return found


def drawn(batches: Iterable[torch.Tensor], images: int) -> Cost:
    """Returns what `images` cost in batches of uint8, after those that the workers decode ahead."""
    source = iter(batches)
    for _ in range(WORKERS * _AHEAD):  # as many of each worker, here and below
        next(source)
    began = now()
    for _ in range(images // BATCH):
        batch = next(source)
        assert len(batch) == BATCH
        assert batch.dtype == torch.uint8
    cost = since(began)
    del source  # ends the workers
    return cost


class ZipImages(Dataset[torch.Tensor]):
    """The pictures of a zip, [H, W, C] uint8, decoded by PIL."""

    def __init__(self, path: Path) -> None:
        self._path, self._archive = path, None
        with zipfile.ZipFile(path) as archive:
            self._names = sorted(archive.namelist())

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> torch.Tensor:
        archive: Any = self._archive
        if archive is None:  # first in a worker: a handle that was forked would share its position
            archive = self._archive = zipfile.ZipFile(self._path)  # type: ignore[assignment]
        return torch.from_numpy(_by_pil(archive.read(self._names[number])))


def _by_pil(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture)


def _over_zip(path: Path) -> Iterable[torch.Tensor]:
    images = ZipImages(path)
    sampler = RandomSampler(images, replacement=True, num_samples=_ENDLESS)
    return DataLoader(
        images, BATCH, sampler=sampler, num_workers=WORKERS, prefetch_factor=_AHEAD, drop_last=True
    )


def _webdataset(index: ShardIndex) -> Iterator[torch.Tensor]:
    import webdataset

    urls = [str(index.root / shard.name) for shard in index.shards]
    images = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), nodesplitter=webdataset.split_by_node)
        .repeat()
        .shuffle(256)
        .decode("rgb8")
        .to_tuple("png;jpg;webp")
        .batched(BATCH, partial=False)
    )
    loader = webdataset.WebLoader(images, batch_size=None, num_workers=WORKERS, prefetch_factor=_AHEAD)
    for (batch,) in loader:
        yield torch.as_tensor(batch)


def _as_mds(folder: Path, files: list[tuple[str, bytes]]) -> Path:
    from streaming import MDSWriter

    with MDSWriter(out=str(folder), columns={"image": "bytes"}) as writer:
        for _, data in files:
            writer.write({"image": data})
    return folder


def _mosaic(folder: Path) -> Iterator[torch.Tensor]:
    from streaming import Stream, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()

    class Images(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> Any:
            return torch.from_numpy(_by_pil(super().__getitem__(at)["image"]))

    images = Images(
        streams=[Stream(local=str(folder), repeat=64)], shuffle=True, batch_size=BATCH,
        shuffle_seed=random.randrange(1 << 30),
    )  # fmt: skip
    yield from DataLoader(images, BATCH, num_workers=WORKERS, prefetch_factor=_AHEAD, drop_last=True)


def _zipped(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def _row(name: str, side: int, format: str, wall: dict[str, float], cpu: dict[str, float]) -> dict[str, Any]:
    ratio, cpu_ratio = wall["bare"] / wall[name], cpu["bare"] / cpu[name]
    return {
        "op": f"{name}, {WORKERS} workers",
        "size": f"{side}px {format}",
        "mode": "fwd",
        "ms": wall[name],
        "vs_reference": ratio,
        "vs_peer": wall["ours"] / wall[name],
        "floor_ms": wall["bare"],
        "cpu_ms": cpu[name],
        "cpu_vs_reference": cpu_ratio,
        "note": f"{1e3 / wall[name]:.0f} images/s, {ratio:.2f} of bare; {cpu[name]:.2f} core-ms an image, "
        f"{cpu_ratio:.2f} of bare",
    }


if __name__ == "__main__":
    main()
