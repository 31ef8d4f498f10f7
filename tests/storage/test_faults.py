"""Whose fault an OSError is: a person's path, exit code 2, or a machine's, 1, and both in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import RunFailed, UserError
from pipeline.storage.atomic import make_folder, publish_bytes
from pipeline.storage.faults import explained, line_of, machine_explained, machine_fails

MACHINES = ("EIO", "ENOSPC", "EDQUOT", "ESTALE", "EROFS", "EBUSY", "ETIMEDOUT", "EMFILE", "ENOMEM")
TYPED = ("EACCES", "EPERM", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP")


def fail(name: str) -> None:
    number = getattr(errno, name)
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_that_fails_while_something_is_written_is_a_failed_run(tmp_path, name, monkeypatch):
    publish_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", lambda file: fail(name))
    with pytest.raises(RunFailed) as raised:
        publish_bytes(tmp_path / "a", b"new")
    line = str(raised.value)
    assert line.startswith(f"{tmp_path}/a: cannot write: ")
    assert line.endswith("; what was there before is untouched; the same command goes on")
    assert "\n" not in line
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", TYPED)
def test_a_path_that_cannot_be_is_its_authors(name):
    with pytest.raises(UserError, match=r"^/x: cannot read: \D+$"), explained(Path("/x"), "read"):
        fail(name)


def test_what_only_a_program_does_wrong_stays_what_it_is():
    for way in (explained, machine_explained):
        with pytest.raises(FileNotFoundError), way(Path("/x")):
            fail("ENOENT")
    with pytest.raises(PermissionError), machine_explained(Path("/x")):
        fail("EACCES")
    assert line_of(FileNotFoundError(errno.ENOENT, "No such file", "/x")) is None
    assert not machine_fails(None)
    assert not machine_fails(ValueError())


def test_folders_that_are_made_are_durable_all_the_way_down(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), real(file))
    )
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b" / "c")
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
