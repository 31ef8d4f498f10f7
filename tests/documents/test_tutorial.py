"""The tutorial's own commands, in its order, on a few pictures and for a few steps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from launch.main import main
from tests.documents.reading import PAGES, ROOT, lines

SHORTER = {
    "train": ["length.images=32", "data.workers=0", "snapshots.grid=4"],
    "generate": ["--count", "4", "--batch", "4"],
    "evaluate": ["--count", "16"],
}
"""What is given last holds: the same commands, in seconds."""


def steps() -> list[list[str]]:
    """The hrgan commands of the way on a CPU: not those that need GPUs, serve or look at the machine."""
    text = (PAGES / "tutorial.md").read_text(encoding="utf-8")
    found = [shlex.split(line)[1:] for line in lines(text) if line.startswith("hrgan ")]
    on_gpus = [words for words in found if words[0] == "train" and words[1] != "quickstart"]
    assert on_gpus
    return [
        words for words in found if words not in on_gpus and words[0] not in ("board", "doctor", "configs")
    ]


def test_the_commands_of_the_tutorial_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for number in range(32):
        folder = tmp_path / "photos" / ("old" if number % 2 else "new")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (7 * number, 90, 200 - 5 * number)).save(folder / f"{number}.png")
    said = {}
    for words in steps():
        assert main([*words, *SHORTER.get(words[0], [])]) == 0, words
        said[words[0]] = "".join(capfd.readouterr())
    assert list(said) == ["prepare", "train", "runs", "generate", "evaluate"]
    # The outputs on the page have the form of those that come.
    assert re.search(r"shards: 32 images, 2 classes, [\d.]+ s", said["prepare"])
    assert "classes (folders): new 16, old 16" in said["prepare"]
    assert re.search(
        r"stylegan2: generator .* parameters; 32 images of 32x32, 2 classes; batch 16", said["train"]
    )
    assert "images seen" in said["evaluate"]
    assert "lower is better; two halves of the reals" in said["evaluate"]
    with Image.open("samples.png") as picture:
        assert picture.size == (2 * 32, 2 * 32)
    assert (tmp_path / "generated" / "card.json").is_file()
