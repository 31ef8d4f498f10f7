"""The same pictures in tables of several formats, written by the libraries that people write them with."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.forms import CLASSES, label

datasets.disable_progress_bars()
FEATURES = datasets.Features(
    {
        "id": datasets.Value("int64"),
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=list(CLASSES)),
    }
)


def dataset(data: list[bytes]) -> datasets.Dataset:
    rows = {
        "id": [*range(len(data))],
        "image": [{"bytes": one, "path": None} for one in data],
        "label": [CLASSES.index(label(n)) for n in range(len(data))],
    }
    return datasets.Dataset.from_dict(rows, features=FEATURES)


def saved(root: Path, data: list[bytes]) -> str:
    dataset(data).save_to_disk(root / "set", num_shards=3)
    return str(root / "set")


def saved_split(root: Path, data: list[bytes]) -> str:
    whole = dataset(data)
    datasets.DatasetDict(train=whole, test=whole.select(range(3))).save_to_disk(root / "set")
    return f"{root / 'set'}:train"


def hub(root: Path, data: list[bytes]) -> str:
    (root / "set/data").mkdir(parents=True)
    whole = dataset(data)
    for n in range(2):
        part = whole.shard(2, n, contiguous=True)
        part.to_parquet(root / f"set/data/train-0000{n}-of-00002.parquet", batch_size=3)
    whole.select(range(2)).to_parquet(root / "set/data/test-00000-of-00001.parquet")
    (root / "set/README.md").write_text("# a card")
    return f"{root / 'set'}:train"


def cached(root: Path, data: list[bytes]) -> str:
    """As `load_dataset` keeps a set in its cache."""
    source = root / "x.parquet"
    dataset(data).to_parquet(source)
    loaded = datasets.load_dataset("parquet", data_files=str(source), cache_dir=str(root / "cache"))
    return str(Path(loaded["train"].cache_files[0]["filename"]).parent)


def plain_parquet(root: Path, data: list[bytes]) -> str:
    table = pa.table({"jpg": data, "class": [label(n) for n in range(len(data))]})
    pq.write_table(table, root / "x.parquet", row_group_size=4, compression="zstd")
    return str(root / "x.parquet")


def large_types(root: Path, data: list[bytes]) -> str:
    labels = pa.array([label(n) for n in range(len(data))]).dictionary_encode()
    table = pa.table({"jpg": pa.array(data, pa.large_binary()), "category": labels})
    (root / "set").mkdir()
    pq.write_table(table[:5], root / "set/a.parquet")
    pq.write_table(table[5:], root / "set/b.parquet", use_dictionary=False, compression="none")
    return str(root / "set")


def feather(root: Path, data: list[bytes]) -> str:
    table = pa.table({"jpg": data, "class": [label(n) for n in range(len(data))]})
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(root / "x.arrow", table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=4)
    return str(root / "x.arrow")
