"""Publishing: all or nothing, whatever happens to the writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.storage.atomic import publish_bytes, publish_file, publish_folder

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_file_appears_whole_and_nothing_stays_beside_it(tmp_path):
    publish_bytes(tmp_path / "deep" / "a.json", b"one")
    publish_bytes(tmp_path / "deep" / "a.json", b"two")
    assert (tmp_path / "deep" / "a.json").read_bytes() == b"two"
    assert os.listdir(tmp_path / "deep") == ["a.json"]


def test_an_error_in_the_writer_leaves_the_old_file(tmp_path):
    publish_bytes(tmp_path / "a", b"old")

    def fail_midway() -> None:
        with publish_file(tmp_path / "a") as aside:
            aside.write_bytes(b"half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_replaces_a_folder(tmp_path):
    for text in ("one", "two"):
        with publish_folder(tmp_path / "c") as aside:
            (aside / "x").write_text(text)
    assert (tmp_path / "c" / "x").read_text() == "two"
    assert os.listdir(tmp_path) == ["c"]


def test_a_killed_writer_leaves_the_old_and_the_next_one_succeeds(tmp_path):
    publish_bytes(tmp_path / "c" / "x", b"old")
    done = run_python(
        """
        import os, signal, sys
        from pathlib import Path
        from pipeline.storage.atomic import publish_folder
        with publish_folder(Path(sys.argv[1])) as aside:
            (aside / "x").write_text("new")
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        str(tmp_path / "c"),
    )
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "c" / "x").read_bytes() == b"old"
    with publish_folder(tmp_path / "c") as aside:
        assert list(aside.iterdir()) == []
        (aside / "x").write_text("newer")
    assert (tmp_path / "c" / "x").read_text() == "newer"


def test_no_room_is_one_clear_line_and_the_old_file_stays(tmp_path):
    publish_bytes(tmp_path / "a", b"old")
    done = run_python(
        """
        import resource, sys
        from pathlib import Path
        from pipeline.errors import UserError
        from pipeline.storage.atomic import publish_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            publish_bytes(Path(sys.argv[1]), b"x" * 5000)
        except UserError as error:
            print(error)
        """,
        str(tmp_path / "a"),
    )
    assert done.stdout.strip() == (
        f"{tmp_path}/a: cannot write: the file would be larger than allowed here; "
        "what was there before is untouched"
    ), done.stderr
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_path_through_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a part of the path is a file, not a folder"):
        publish_bytes(tmp_path / "file" / "a", b"")
