"""Data sets on Hugging Face's hub: the real client, and a server on this machine."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from pipeline.data.shards.index import ShardIndex
from pipeline.errors import RunFailed, UserError
from tests.data.feeds import call, file, folder, noise, plain, stored
from tests.data.forms import from_folder, made, pictures
from tests.data.hub_server import COMMIT, Hub, running
from tests.data.tables import hub as hub_files
from tests.data.tables import saved_split
from tests.product import ROOT


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with running() as server:
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def _put(hub: Hub, name: str, root: Path) -> None:
    paths = [path for path in root.rglob("*") if path.is_file()]
    hub.files |= {f"{name}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}


def test_parquet_becomes_what_a_folder_of_its_pictures_becomes(tmp_path: Path, hub: Hub) -> None:
    data = pictures()
    hub_files(tmp_path, data)
    _put(hub, "me/cats", tmp_path / "set")
    hub.files["me/cats/assets/example.png"] = plain(1)  # on its card
    with pytest.raises(
        UserError, match=r"the splits test, train; give one of them: hf://me/cats:test, hf://me/c"
    ):
        call(tmp_path, "hf://me/cats")
    call(tmp_path, "hf://me/cats:train", workers=2)
    assert made(tmp_path / "out") == from_folder(tmp_path, data)
    assert ShardIndex.read(tmp_path / "out").origin["source"] == f"hf://me/cats@{COMMIT[:12]}:train"
    fetched = [path for path in hub.gets if "/resolve/" in path]
    assert len(fetched) == 2
    assert all("train-" in path for path in fetched)
    call(tmp_path / "again", "hf://datasets/me/cats:train")  # from the cache
    assert made(tmp_path / "again/out") == made(tmp_path / "out")
    assert [path for path in hub.gets if "/resolve/" in path] == fetched


def test_the_command_reads_the_hubs_own_settings(tmp_path: Path, hub: Hub) -> None:
    data = pictures(4)
    hub_files(tmp_path, data)
    _put(hub, "me/cats", tmp_path / "set")
    hub.private["me/cats"] = "hf_secret"
    command = [sys.executable, "-m", "launch.main", "prepare", "hf://me/cats:train", str(tmp_path / "out")]
    settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(
        [*command, "--resolution", "16"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "4 images" in done.stdout
    assert "hf_secret" not in done.stdout + done.stderr + (tmp_path / "out/index.json").read_text()
    assert made(tmp_path / "out") == from_folder(tmp_path, data)


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_other_forms(tmp_path: Path, hub: Hub) -> None:
    saved_split(tmp_path, pictures(6))
    _put(hub, "me/saved", tmp_path / "set")
    files = {f"{c}/{n}.png": file(noise(16, 16, n + ord(c))) for c in "ab" for n in range(3)}
    folder(tmp_path / "in", {**files, "README.md": b"x"})
    _put(hub, "me/files", tmp_path / "in")
    call(tmp_path / "saved", "hf://me/saved:train")
    assert made(tmp_path / "saved/out") == from_folder(tmp_path / "saved", pictures(6))
    report = call(tmp_path / "files", "hf://me/files")
    assert report.classes == ("a", "b")
    call(tmp_path / "plain", tmp_path / "in")
    assert made(tmp_path / "files/out") == made(tmp_path / "plain/out")
    for split, numbers in (("train", (0, 1)), ("test", (2,))):
        for n in numbers:
            sample = {f"{n}.png": file(noise(16, 16, n)), f"{n}.cls": b"%d" % n}
            hub.files[f"me/tars/data/{split}-{n:05d}.tar"] = _tar(sample)
    report = call(tmp_path / "tars", "hf://me/tars:train")
    assert (report.count, report.classes) == (2, ("0", "1"))
    report = call(tmp_path / "part", "hf://me/files@main/b")
    assert (report.count, report.classes) == (3, ())
    assert set(stored(tmp_path / "part/out")) == {"0.png", "1.png", "2.png"}


def _with_files(hub: Hub) -> None:
    hub.files |= {
        "me/cats/README.md": b"x",
        "me/cats/notes.json": b"{}",
        "me/two/a.zip": b"",
        "me/two/b.zip": b"",
    }
    hub.files |= {"me/out/../x.parquet": b"", "me/gate/x.parquet": b"", "me/own/x.parquet": b""}
    hub.gated.add("me/gate")
    hub.private["me/own"] = "hf_other"


WRONG = {
    "hf://cats": r"hf://cats: must be hf://OWNER/NAME\[@REVISION\]\[/PATH\]\[:SPLIT\]",
    "hf://me/cats/x:y:z": "must be hf://OWNER",
    "hf://me/-": "must be hf://OWNER|has no such data set",
    "hf://me/cats": r"hf://me/cats: holds no images but 1 .json \(notes.json\), 1 .md \(README.md\)",
    "hf://me/cats/train": "hf://me/cats/train: no such file or folder in the data set",
    "hf://me/cats@v9": "hf://me/cats@v9: the data set has no such revision",
    "hf://me/nothing": "has no such data set, or only for some; if it is private, log in for it: hf auth",
    "hf://me/own": "the hub has no such data set, or only for some; if it is private, log in for it",
    "hf://me/gate": "you must accept its terms on its page, and log in",
    "hf://me/two": r"has several \(a.zip, b.zip\); give one of them: hf://me/two/a.zip",
    "hf://me/out": "has a file '../x.parquet', which would lie outside of its folder; refused",
}


@pytest.mark.parametrize("source", WRONG)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, hub: Hub, source: str) -> None:
    _with_files(hub)
    with pytest.raises(UserError, match=WRONG[source]) as caught:
        call(tmp_path, source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.parquet", "dataset.json"])
def test_what_comes_changed_is_not_kept(tmp_path: Path, hub: Hub, name: str) -> None:
    hub.files |= {
        "me/cats/a.png": plain(1),
        "me/cats/b.png": plain(2),
        "me/cats/dataset.json": b'{"labels": null}',
    }
    changed = "b.png" if name == "x.parquet" else name
    hub.corrupt.add(f"me/cats/{changed}")
    with pytest.raises(RunFailed, match=rf"{changed}: what came is not what the hub states by its checksum"):
        call(tmp_path, "hf://me/cats")
    hub.corrupt.clear()
    assert call(tmp_path, "hf://me/cats").count == 2


def test_without_the_net_one_line_says_what_to_do(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunFailed, match=r"not give it \(.*refused.*\).*hf download me/cats --repo") as caught:
        call(tmp_path, "hf://me/cats")
    assert "\n" not in str(caught.value)


def test_a_connection_that_breaks_is_taken_up_again(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files |= {"me/cats/a.png": file(noise(300, 300))}
    hub.dies.add("me/cats/a.png")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(RunFailed, match="hf://me/cats: the hub does not give it"):
        call(tmp_path, "hf://me/cats")
    hub.dies.clear()
    assert call(tmp_path, "hf://me/cats").count == 1


def test_the_client_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs huggingface_hub, .* pip install 'hrgan\[sources\]'$"):
        call(tmp_path, "hf://me/cats")
