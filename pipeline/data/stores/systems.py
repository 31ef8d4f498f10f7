"""Stores as fsspec reads them: files in one pass from any byte on, and sizes, many at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

from pipeline.data.stores.faults import is_forbidden, status_of
from pipeline.data.stores.patience import Absent, Patience, patiently
from pipeline.data.stores.place import Remote, StoreSettings
from pipeline.errors import Damaged, UserError
from pipeline.words import keep_quiet

_PACKAGES = {"http": "fsspec and aiohttp", "s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
_TALKATIVE = ("adlfs", "azure", "gcsfs", "google")  # tracebacks of what is tried again
_PIECE = 8 << 20  # bytes of one request to a store of objects: what a failure costs
_STREAMED = 1 << 18  # bytes that are taken at once from an open connection
_AT_ONCE = 16  # requests for sizes
_FIRST_PATIENCE_SECONDS = 60.0

_systems: dict[tuple[int, str, str, StoreSettings], Any] = {}


def pieces(place: Remote, start: int, size: int) -> tuple[int, Iterator[bytes]]:
    """The bytes of a file from `start` on, which is less than its `size`: where they really begin, and they.

    A web server that knows no ranges begins at 0. A file that ends before gives what there is.
    """
    system = file_system(place)
    if place.kind == "http":
        return _streamed(system, place.url, start)
    return start, _ranges(system, place.url, start, size)


def read_store(place: Remote, most: int, tell: Callable[[str], None] = keep_quiet) -> bytes:
    """A small file as a whole. Raises Absent if there is none, Damaged if it has more than `most` bytes, and
    as `Patience.endure`. tell: as there."""
    seconds = min(place.settings.patience_seconds, _FIRST_PATIENCE_SECONDS)
    patience = Patience(place, seconds, tell=tell)
    return patiently(patience, lambda: _whole(place, most), first=True)


def sizes_in(folder: Remote, names: Sequence[str]) -> dict[str, int | None]:
    """The size in bytes of each of these files of a folder: None where the store does not say it, left out
    where there is no such file. From a store of objects by one listing; otherwise by questions for each, a
    few at a time. Raises as `Patience.endure`."""
    if folder.kind != "http":
        with suppress(_Unlistable):
            try:
                listed = patiently(Patience(folder), lambda: _listed(folder))
            except Absent:  # stores of objects have no empty folders
                return {}
            return {name: listed[name] for name in names if name in listed}
    with ThreadPoolExecutor(_AT_ONCE, "sizes") as pool:
        found = list(pool.map(lambda name: _size(folder / name), names))
    return {name: size for name, (there, size) in zip(names, found, strict=True) if there}


def file_system(place: Remote) -> Any:
    """fsspec's file system of a place. It belongs to this process: connections do not outlive a fork."""
    account = place.url.split("/")[2].rpartition("@")[2] if place.kind == "az" else ""
    key = (os.getpid(), place.kind, account, place.settings)
    if key not in _systems:
        _systems[key] = _made(place)
    return _systems[key]


def _made(place: Remote) -> Any:
    for library in _TALKATIVE:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        import fsspec

        options = _OPTIONS[place.kind](place)
        system = fsspec.filesystem(place.kind, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError as error:
        needed = _PACKAGES[place.kind]
        raise UserError(
            f"{place}: reading it needs {needed}, which is not installed: pip install 'hrgan[cloud]'"
        ) from error
    except Exception as error:  # each library says in its own way that it is told too little
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{place}: cannot be asked: {said:.160}") from error
    if place.kind == "s3":
        system.retries = 1  # `Patience` tries again, and counts
    return system


def _http(place: Remote) -> dict[str, Any]:
    import aiohttp

    silence = place.settings.silence_seconds
    limits = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
    # trust_env: proxies and ~/.netrc, as other programs have them.
    return {"client_kwargs": {"timeout": limits, "trust_env": True}}


def _s3(place: Remote) -> dict[str, Any]:
    silence = place.settings.silence_seconds
    limits = {"connect_timeout": silence, "read_timeout": silence, "retries": {"total_max_attempts": 1}}
    return {"config_kwargs": limits}


def _gs(place: Remote) -> dict[str, Any]:
    import aiohttp

    silence = place.settings.silence_seconds
    limits = aiohttp.ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
    return {"access": "read_only", "session_kwargs": {"timeout": limits}}


def _az(place: Remote) -> dict[str, Any]:
    silence = max(1, round(place.settings.silence_seconds))
    account = place.url.split("/")[2].rpartition("@")[2].partition(".")[0]
    named = {"account_name": account} if "@" in place.url.split("/")[2] else {}
    return {"connection_timeout": silence, "read_timeout": silence, **named}


_OPTIONS: dict[str, Callable[[Remote], dict[str, Any]]] = {"http": _http, "s3": _s3, "gs": _gs, "az": _az}


def _streamed(system: Any, url: str, start: int) -> tuple[int, Iterator[bytes]]:
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        # A size, which it would otherwise ask for first.
        file = system.open(url, "rb", block_size=0, size=1, headers=headers)
    except Exception as error:
        if status_of(error) == 416:  # nothing lies behind `start`
            return start, iter(())
        raise
    begins = start if file.r.status == 206 and _range_begins(file.r.headers, start) else 0
    return begins, _taken(file)


def _range_begins(headers: Any, start: int) -> bool:
    return str(headers.get("Content-Range", "")).strip().startswith(f"bytes {start}-")


def _taken(file: Any) -> Iterator[bytes]:
    with closing(file):
        while data := file.read(_STREAMED):
            yield data


def _ranges(system: Any, url: str, start: int, size: int) -> Iterator[bytes]:
    at = start
    while at <= size:  # one byte behind the end: a file that is too long must show
        try:
            data = system.cat_file(url, start=at, end=min(at + _PIECE, size + 1))
        except Exception as error:
            if status_of(error) == 416:
                return
            raise
        if not data:
            return
        yield data
        at += len(data)
        if len(data) < min(_PIECE, size - at + len(data)):
            return


def _whole(place: Remote, most: int) -> bytes:
    _, parts = pieces(place, 0, most)
    whole = bytearray()
    for part in parts:
        whole += part
        if len(whole) > most:
            raise Damaged(f"{place}: has more than {most} bytes; no more are read")
    return bytes(whole)


class _Unlistable(Exception):
    """A store that gives files but no lists of them."""


def _listed(folder: Remote) -> dict[str, int | None]:
    try:
        rows = file_system(folder).ls(folder.url, detail=True)
    except Exception as error:
        if is_forbidden(error):  # those who may read need not be allowed to list
            raise _Unlistable from error
        raise
    return {row["name"].rpartition("/")[2]: row.get("size") for row in rows}


def _size(place: Remote) -> tuple[bool, int | None]:
    system = file_system(place)
    try:
        size = patiently(Patience(place), lambda: system.info(place.url)["size"])
    except Absent:
        return False, None
    return True, None if size is None else int(size)
