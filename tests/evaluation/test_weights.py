"""Inception's weights: found, fetched, refused; never executed."""

from __future__ import annotations

import hashlib
import os
import pickle
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.evaluation.features import weights as module
from pipeline.evaluation.features.inception import InceptionExtractor
from pipeline.evaluation.features.weights import INCEPTION, LPIPS, VGG16, InceptionWeights, chosen_weights


def save(path: Path, content: object) -> str:
    torch.save(content, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_files_name_carries_its_digest() -> None:
    assert all(len(published.sha256) == 64 for published in (INCEPTION, VGG16, LPIPS))
    for published in (INCEPTION, VGG16):
        assert all(f"-{published.sha256[:8]}." in name for name in published.names)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none\.pth: Inception weights: No such file.*expected weights-inception"
    ):
        InceptionWeights(tmp_path / "none.pth").read()


def test_another_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "w.pth", {"a": torch.ones(1)})
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(UserError, match=f"sha256 is [0-9a-f]{{64}}, must be {INCEPTION.sha256}") as caught:
        InceptionWeights(tmp_path / "w.pth").read()
    assert "\n" not in str(caught.value)


class Exploding:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_the_file_does_not_run(tmp_path: Path, writer: str) -> None:
    """Even when the person vouches for the file's digest."""
    path, bomb = tmp_path / "w.pth", {"a": Exploding(tmp_path / "executed")}
    if writer == "torch":
        save(path, bomb)
    else:
        path.write_bytes(pickle.dumps(bomb))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match="not a file of plain tensors; none of its code was run"):
        InceptionWeights(path, digest).read()
    assert not (tmp_path / "executed").exists()


def test_a_file_of_something_else(tmp_path: Path) -> None:
    digest = save(tmp_path / "w.pth", [1, 2])
    with pytest.raises(UserError, match="must be tensors by name"):
        InceptionWeights(tmp_path / "w.pth", digest).read()


def test_weights_of_another_network(tmp_path: Path) -> None:
    digest = save(tmp_path / "w.pth", {"a": torch.ones(1)})
    with pytest.raises(UserError, match="names or shapes are not those of the 2015 Inception"):
        InceptionExtractor(InceptionWeights(tmp_path / "w.pth", digest))


@pytest.mark.parametrize("name", INCEPTION.names)
def test_torch_hubs_folder_is_looked_into(torch_home: Path, name: str) -> None:
    digest = save(torch_home / name, {"a": torch.ones(1)})
    assert list(InceptionWeights(sha256=digest).read()) == ["a"]


def test_offline_one_line_says_how_to_get_it(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(UserError) as caught:
        InceptionWeights().read()
    message = str(caught.value)
    assert message.startswith(str(torch_home / INCEPTION.names[0]))
    for part in (
        "name resolution",
        "curl -Lo weights-inception-2015-12-05-6726825d.pth https://github.com/",
        "--inception-weights FILE",
        "names the metrics that need no weights",
    ):
        assert part in message
    assert "\n" not in message
    assert list(torch_home.iterdir()) == []


def test_a_download_is_checked_and_kept(
    torch_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = save(tmp_path / "published.pth", {"a": torch.ones(1)})
    here = replace(INCEPTION, url=(tmp_path / "published.pth").as_uri())
    monkeypatch.setattr(module, "INCEPTION", here)
    with pytest.raises(UserError, match="download failed"):
        InceptionWeights().read()  # not the published digest
    assert list(torch_home.iterdir()) == []
    monkeypatch.setattr(module, "INCEPTION", replace(here, sha256=digest))
    assert list(InceptionWeights(sha256=digest).read()) == ["a"]
    assert (torch_home / INCEPTION.names[0]).is_file()


def test_a_digest_of_ones_own_needs_a_file_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--inception-digest: needs --inception-weights"):
        chosen_weights(None, "a" * 64)
    with pytest.raises(UserError, match="--inception-digest xyz: must be a sha256"):
        chosen_weights(tmp_path, "xyz")
    assert chosen_weights(None, None) == InceptionWeights()
    assert chosen_weights(tmp_path, "AB" * 32).sha256 == "ab" * 32
