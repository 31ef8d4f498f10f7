"""`hrgan export`: shards as plain files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.words import counted


def export(
    shards: Annotated[str, typer.Argument(metavar="SHARDS", help="A data set of shards, on disk or by URL.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or a new file ending in .zip.")],
) -> int:
    """Write shards as plain image files, into a folder or a zip.

    Each class gets a folder. dataset.json has the labels, as stylegan2-ada-pytorch reads them, and
    metadata.jsonl has what the shards say about each image. hrgan prepare turns the files into shards again.

    \b
    Examples:
      hrgan export generated generated-files
      hrgan export generated generated.zip
    """
    from tqdm import tqdm

    from pipeline.data.shards.export import export as write
    from pipeline.data.shards.index import ShardIndex

    index = ShardIndex.read(shards)
    with tqdm(total=index.count, desc="export", unit="img", disable=not sys.stderr.isatty()) as bar:
        count = write(index, out, lambda: bar.update())
    typer.echo(f"{out}: {counted(count, 'image')}")
    return 0
