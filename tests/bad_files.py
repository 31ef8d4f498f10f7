"""What a crash or a stranger may leave under the name of a small file."""

from __future__ import annotations

import json
import os
from pathlib import Path

ESCAPE = "\x1b]0;owned\x07\x1b[31m"


def written(text: str):
    return lambda path: path.write_text(text)


def leaves(path: Path, value: object) -> None:
    """The file's own JSON, or JSON lines, with `value` for each leaf; of YAML, with `value` for a section."""

    def changed(old):
        if isinstance(old, dict):
            return {key: changed(inner) for key, inner in old.items()}
        return [changed(inner) for inner in old] if isinstance(old, list) and old else value

    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    if path.suffix == ".yaml":
        path.write_text(f"length: {json.dumps(value)}\n")
    else:
        path.write_text("".join(json.dumps(changed(json.loads(line))) + "\n" for line in lines))


def instead(make):
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


BAD = {
    "empty": written(""),
    "null": written("null\n"),
    "list": written("[[1]]\n"),
    "deep": written("[" * 100_000 + "]" * 100_000 + "\n"),
    "deep objects": written('{"a":' * 50_000 + "1" + "}" * 50_000),
    "pipe": instead(os.mkfifo),
    "folder": instead(Path.mkdir),
    "device": instead(lambda path: path.symlink_to("/dev/zero")),
    "nulls": lambda path: leaves(path, None),
    "texts": lambda path: leaves(path, "x"),
    "escapes": lambda path: leaves(path, ESCAPE),
    "surrogates": lambda path: leaves(path, "\ud800"),
    "400 digits": lambda path: leaves(path, 10**400),
    "escaped key": lambda path: path.write_text(json.dumps({ESCAPE: 1}) + "\n"),
    "date": written("length: {images: 2026-99-99}\n---\n"),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) + b"\n"),
}
