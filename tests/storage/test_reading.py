"""Small files that anybody may have written: read within bounds, or refused in one line, at once."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Damaged
from pipeline.reading import checked, open_file, parse_json, read_as, read_bytes, read_json, read_lines, shown


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Outer:
    name: str
    inner: dict[str, Inner]
    share: float = 0.5
    words: tuple[str, ...] = field(default=())


def unix_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # such a path has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


NO_FILES = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "Too many levels of symbolic links": lambda path: path.symlink_to(path.name),
    "No such device or address": unix_socket,
}


@pytest.mark.timeout(120, func_only=True)
@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_refused_at_once(tmp_path, name):
    path = tmp_path / "x.json"
    NO_FILES[name](path)
    with pytest.raises(Damaged, match=rf"x\.json: .*{name}"):
        read_json(path)


def test_a_missing_one_is_no_damage(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("nothing", "link"):
        with pytest.raises(FileNotFoundError):
            read_json(tmp_path / name)


def test_size_is_bounded_before_anything_is_read(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Damaged, match=r"has 1099511627776 bytes; at most 5 are read"):
        read_bytes(path, 5)


def test_a_file_that_tells_no_size_is_bounded_too():
    with pytest.raises(Damaged, match="at most 3 are read"):
        read_bytes(Path("/proc/self/status"), 3)


TEXTS = {
    "[" * 100_000: "nested deeper than 64",
    "[" * 65 + "]" * 65: "nested deeper than 64",
    '{"a":' * 100_000 + "1" + "}" * 100_000: "nested deeper than 64",
    "[" + "[]," * 70 + '"' + '\\"' * 1_000_000: "not valid JSON",
    "1" * 5000: "a whole number of 5000 digits",
    "-" + "9" * 20: "a whole number of 21 digits",
    "{": "not valid JSON",
    "": "not valid JSON",
    "01": "not valid JSON",
}


@pytest.mark.timeout(120, func_only=True)
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_json_that_is_refused(text):
    with pytest.raises(Damaged, match=f"^here: .*{TEXTS[text]}") as caught:
        parse_json(text, "here")
    assert len(str(caught.value)) < 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}"\\,:a'), inner),
    max_leaves=100,
)


@given(_JSON, st.booleans())
def test_json_within_the_bounds_is_what_python_reads(value, escaped):
    # More brackets in texts than levels are allowed, so that the text is looked at letter by letter.
    text = json.dumps([value, "[{" * 40, 'a\\"[' * 40], ensure_ascii=escaped)
    assert parse_json(text, "x") == json.loads(text)
    deep = "[" * 63 + text.replace("\n", " ") + "]" * 63
    if isinstance(value, list | dict):
        with pytest.raises(Damaged, match="nested deeper"):
            parse_json(deep, "x")
    else:
        assert parse_json(deep, "x") == json.loads(deep)


def test_a_schema_gives_the_types_it_says(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('\ufeff{"name": "a", "inner": {"b": {"size": 3}}, "words": ["c"]}')
    assert read_as(Outer, path) == Outer("a", {"b": Inner(3)}, 0.5, ("c",))


WRONG = {
    "inner.b.size: must be a valid integer": {"name": "a", "inner": {"b": {"size": "x"}}},
    "inner.b.size: must be a finite number": {"name": "a", "inner": {"b": {"size": float("nan")}}},
    "inner.b: must be an object": {"name": "a", "inner": {"b": [1]}},
    "name: must be a valid string": {"name": 3, "inner": {}},
    "name: field required": {"inner": {}},
    "more: unknown key": {"name": "a", "inner": {}, "more": 1},
    "must be an object": [1],
}


@pytest.mark.parametrize("said", WRONG)
def test_a_schema_names_the_key_that_is_wrong(said):
    with pytest.raises(Damaged) as caught:
        checked(Outer, WRONG[said], "x.json")
    assert str(caught.value).startswith(f"x.json: {said}")
    assert len(str(caught.value).splitlines()) == 1


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}", encoding="utf-16")
    with pytest.raises(Damaged, match=r"x\.json: not text in UTF-8"):
        read_json(tmp_path / "x.json")


def test_lines_are_bounded(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a\n\nb" + b"c" * (3 << 20) + b"\nd")
    lines = list(read_lines(path))
    assert lines[:2] == [b"a", b""]
    assert lines[-1] == b"d"
    assert max(map(len, lines)) == 1 << 20
    assert b"".join(lines[2:-1]) == b"b" + b"c" * (3 << 20)


def test_a_refused_file_is_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(Damaged):
            open_file(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_moves_no_cursor(text):
    line = shown(text)
    assert line.isprintable()
    line.encode()
    if text.isprintable():
        assert line == text


def test_what_is_shown_can_still_be_read():
    assert shown("a\x1b[31m\ud800\n\u202eé漢 b") == "a\\x1b[31m\\ud800\\n\\u202eé漢 b"
