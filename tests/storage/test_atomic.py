"""Publishing: all or nothing, whatever happens to the writer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.storage.atomic import (
    aside_of,
    is_aside,
    publish_bytes,
    publish_file,
    publish_folder,
    sweep_folder,
)

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
    assert os.listdir(tmp_path) == ["c"]


def left_by_a_kill(target: Path) -> Path:
    """What a killed writer of the file `target` has left."""
    code = """
        import os, signal, sys
        from pathlib import Path
        from pipeline.storage.atomic import publish_file
        with publish_file(Path(sys.argv[1])) as aside:
            aside.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    assert run_python(code, str(target)).returncode == -signal.SIGKILL
    (left,) = target.parent.iterdir()
    assert is_aside(left.name, target.name)
    assert not is_aside(left.name, "b")
    return left


def test_what_a_killed_writer_left_goes_with_the_next_that_publishes(tmp_path):
    left_by_a_kill(tmp_path / "a")
    publish_bytes(tmp_path / "b", b"another")
    assert len(os.listdir(tmp_path)) == 2
    publish_bytes(tmp_path / "a", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(("silent_seconds", "stays"), [(0, True), (3600, False)])
def test_of_another_machine_only_what_has_not_changed_for_long_goes(tmp_path, silent_seconds, stays):
    left = left_by_a_kill(tmp_path / "a")
    there = left.rename(left.with_name(re.sub(r"[0-9a-f]{8}-", "00000000-", left.name)))
    before = time.time() - silent_seconds
    os.utime(there, (before, before))
    publish_bytes(tmp_path / "a", b"new")
    assert there.exists() == stays


def test_what_a_living_writer_has_aside_stays(tmp_path):
    with publish_file(tmp_path / "a") as aside:
        aside.write_bytes(b"slow")
        os.utime(aside, (0, 0))
        assert run_python(PUBLISH_ONE, str(tmp_path / "a")).returncode == 0
        assert (tmp_path / "a").read_bytes() == b"quick"
    assert (tmp_path / "a").read_bytes() == b"slow"
    assert os.listdir(tmp_path) == ["a"]


PUBLISH_ONE = """
    import sys
    from pathlib import Path
    from pipeline.storage.atomic import publish_bytes
    publish_bytes(Path(sys.argv[1]), b"quick")
    """

# Two threads of each process publish one file and one folder again and again, each with a letter of its own.
PUBLISH_MANY = """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from pipeline.storage.atomic import publish_file, publish_folder

    def parts(letter):
        for _ in range(20):
            yield letter.encode() * 10_000

    def publish(root, letter):
        for _ in range(15):
            with publish_file(root / "file") as aside, aside.open("wb") as file:
                file.writelines(parts(letter))
            with publish_folder(root / "folder") as aside:
                for name in "xy":
                    (aside / name).write_bytes(b"".join(parts(letter)))

    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(publish, Path(sys.argv[1]), letter) for letter in sys.argv[2]]:
            done.result()
    """


def test_several_processes_that_publish_one_path_at_once_all_succeed_and_it_is_ones_whole(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(PUBLISH_MANY), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, letters], cwd=ROOT, **pipes) for letters in ("ab", "cd", "ef")]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "file").exists():
            data = (tmp_path / "file").read_bytes()
            assert data == data[:1] * 200_000
            seen.add(data[:1])
    assert [writer.communicate()[1] for writer in writers] == ["", "", ""]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(seen) > 1  # they were at it at the same time
    first, second = ((tmp_path / "folder" / name).read_bytes() for name in "xy")
    assert first == second == first[:1] * 200_000
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_no_room_is_one_clear_line_and_the_old_file_stays(tmp_path):
    publish_bytes(tmp_path / "a", b"old")
    done = run_python(
        """
        import resource, sys
        from pathlib import Path
        from pipeline.errors import RunFailed
        from pipeline.storage.atomic import publish_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            publish_bytes(Path(sys.argv[1]), b"x" * 5000)
        except RunFailed as error:
            print(error)
        """,
        str(tmp_path / "a"),
    )
    assert done.stdout.strip() == (
        f"{tmp_path}/a: cannot write: the file would be larger than allowed here; "
        "what was there before is untouched; the same command goes on"
    ), done.stderr
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_path_through_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a part of the path is a file, not a folder"):
        publish_bytes(tmp_path / "file" / "a", b"")


def test_a_folder_is_swept_of_what_the_dead_have_aside_and_of_nothing_else(tmp_path):
    code = """
        import os, sys
        from pathlib import Path
        from pipeline.storage.atomic import aside_of
        root = Path(sys.argv[1])
        aside_of(root / "a.json").write_text("half")
        aside_of(root / "b").mkdir()
        (aside_of(root / "b") / "inside").write_text("half")
    """
    assert run_python(code, str(tmp_path)).returncode == 0
    dead = {path.name for path in tmp_path.iterdir()}
    assert len(dead) == 2
    ours = aside_of(tmp_path / "c")
    ours.write_text("half")
    names = {ours.name, "a.json", ".hidden.partial", "x.partial"}
    for name in names - {ours.name}:
        (tmp_path / name).write_text("whole")
    elsewhere = tmp_path / ".d.00000000-1-1.partial"
    elsewhere.mkdir()
    (elsewhere / "sign").write_text("alive")
    past = time.time() - 3600
    os.utime(elsewhere, (past, past))  # a folder does not change when a file in it does
    sweep_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names, elsewhere.name}
    os.utime(elsewhere / "sign", (past, past))
    os.utime(elsewhere, (past, past))
    sweep_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names
    sweep_folder(tmp_path / "nowhere")
