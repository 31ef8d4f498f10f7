"""Reads hostile files with the product that PYTHONPATH leads to, each in a process of its own.

`python -P fuzz_probe.py FOLDER SECONDS MEGABYTES` prints an outcome and a reason for each file KIND/NAME of
FOLDER, sorted: "fine" or "line"; "traceback", "crash", "hang" or "lines". SECONDS are of its processor time,
so that a busy machine changes nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import select
import signal
import sys
import traceback
from pathlib import Path

SIDE = 24
_ASLEEP = 60  # times the seconds, by the clock, that a process may wait for nothing


def image(path: Path) -> str | None:
    from pipeline.contracts import ImageSpec
    from pipeline.data.shards.decode import decode
    from pipeline.errors import Damaged

    try:
        decode(path.read_bytes(), path.suffix[1:], ImageSpec(SIDE, SIDE, 3))
    except Damaged as damage:
        return str(damage)
    return None


def picture(path: Path) -> str | None:
    from pipeline.images.normalised import Unreadable, load

    try:
        load(path.read_bytes())
    except Unreadable as reason:
        return str(reason)
    return None


def shard(path: Path) -> str | None:
    from pipeline.data.shards.index import ShardIndex
    from pipeline.data.shards.reader import read_samples
    from pipeline.data.shards.rows import Shard
    from pipeline.data.shards.samples import keys
    from pipeline.data.shards.verify import verify_shard
    from pipeline.errors import Damaged, UserError

    classes = tuple("abcdefghij")
    index = ShardIndex(path.parent, (Shard(path.name, 6, path.stat().st_size, "0" * 64),), 8, 8, 3, classes)
    said = None
    for read in (lambda: keys(path), lambda: list(read_samples(index)), lambda: verify_shard(index, 0)):
        try:
            read()
        except (UserError, Damaged) as error:
            said = str(error)
    return said


def archive(path: Path) -> str | None:
    from pipeline.data.sources.opening import source_kind
    from pipeline.data.sources.source import Wanted
    from pipeline.errors import UserError
    from pipeline.images.normalised import Unreadable

    try:
        source = source_kind(str(path)).open(str(path), Wanted())
    except UserError as error:
        return str(error)
    said = [reason for _, reason in source.listing.skipped]
    for number in range(len(source.listing.names)):
        try:
            source.picture(number)
        except Unreadable as reason:
            said.append(str(reason))
    return said[0] if said else None


def weights(path: Path) -> str | None:
    from launch.main import main

    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main(["import", str(path), str(path.with_suffix(".out"))])
    return said.getvalue().rstrip("\n") if code else None


PROBES = {
    **dict.fromkeys(("png", "jpg", "webp"), image),
    **dict.fromkeys(("tar", "zip"), archive),
    "picture": picture,
    "shard": shard,
    "weights": weights,
}


def _child(kind: str, path: Path, seconds: int, megabytes: int, out: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what crashes speaks there
    try:
        said = PROBES[kind](path)
        outcome = "fine" if said is None else "lines" if "\n" in said or len(said) > 2000 else "line"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome, said = "traceback", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    os.write(out, f"{outcome}\t{(said or '')[:300]}".replace("\n", " ").encode("utf-8", "replace"))


def outcome(kind: str, path: Path, seconds: int, megabytes: int) -> str:
    """What became of one file."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        _child(kind, path, seconds, megabytes, write)
        os._exit(0)
    os.close(write)
    waited = bool(select.select([read], [], [], _ASLEEP * seconds)[0])
    said = os.read(read, 4096).decode() if waited else ""
    os.close(read)
    if not waited:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not waited or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)):
        return f"hang\tafter {seconds} s"
    return said or f"crash\tsignal {os.WTERMSIG(status)}"


def main() -> None:
    folder, seconds, megabytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    import torch

    torch.set_num_threads(1)
    for kind in sorted(path.name for path in folder.iterdir()):
        _warm(kind)
        for path in sorted((folder / kind).iterdir()):
            print(kind, outcome(kind, path, seconds, megabytes), sep="\t", flush=True)


def _warm(kind: str) -> None:
    """Imports what a probe imports, once, on a file that is none."""
    with contextlib.suppress(OSError), contextlib.redirect_stderr(io.StringIO()):
        if kind != "shard":
            PROBES[kind](Path("/nonexistent.png"))
        import pipeline.data.shards.verify  # noqa: F401


if __name__ == "__main__":
    main()
