"""Images of texts that a user gives, through the command and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from launch.main import main
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.errors import UserError
from pipeline.generation.request import Request
from pipeline.generation.said import parse_texts, said
from pipeline.storage.snapshots import Snapshot
from tests.evaluation.worlds import SmoothSampler, write_toy_snapshot
from tests.tiny_families import FIELDS, PLAIN, seeded_networks, tiny_family
from tests.tiny_snapshot import snapshot_of

RED, LONG = "a face with red hair", "someone with long hair, smiling"


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A snapshot of a model of texts."""
    return snapshot_of(tiny_family("textgan", PLAIN), tmp_path_factory.mktemp("run"))


def test_images_take_the_texts_in_turn(speaking: Snapshot, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["generate", str(speaking.folder), str(out), "--count", "5", "--device", "cpu", "--seed", "7"]
    assert main([*command, "--text", RED, "--text", LONG]) == 0
    samples = list(read_samples(ShardIndex.read(out)))
    assert [sample.meta["text"] for sample in samples] == [RED, LONG, RED, LONG, RED]
    assert len({bytes(sample.image) for sample in samples}) == 5
    family = tiny_family("textgan", PLAIN)
    sampler = family.sampler(seeded_networks(family).generator.eval())
    expected = sampler.draw_given(said([RED, LONG, RED], family.spec), [7, 8, 9]).images
    request = Request(speaking, 3, seed=7, texts=(RED, LONG))
    assert torch.equal(request.draw(sampler, range(3)).images, expected)
    assert json.loads((out / "index.json").read_text())["origin"]["texts"] == [RED, LONG]


def test_texts_from_a_file_are_its_lines(speaking: Snapshot, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text(f"{RED}\n{LONG}\n", encoding="utf-8-sig")
    assert parse_texts((), file) == (RED, LONG)
    picture = tmp_path / "faces.png"
    command = ["generate", str(speaking.folder), str(picture), "--count", "4", "--device", "cpu"]
    assert main([*command, "--texts", str(file)]) == 0
    assert picture.is_file()


def test_a_batch_of_texts_is_padded_with_zeros() -> None:
    batch = said(("ab", "é"), tiny_family("textgan", PLAIN).spec)
    assert batch.extra["text"].tolist() == [[97, 98], [195, 169]]
    assert said(("abc", "d"), PLAIN).extra["text"].tolist()[1] == [100, 0, 0]
    assert FIELDS["textgan"][0].name in batch.extra


@pytest.mark.parametrize(
    ("texts", "content", "message"),
    [
        (("a", " "), None, "--text: text 2 is empty; 1 to 65536 bytes"),
        (("a\0b",), None, "--text: text 1 has 3 bytes; .* without zeros"),
        ((), b"", "is empty; a text in each line"),
        ((), b"\xff\xfe\xff", "not text in UTF-8"),
        ((), None, "no such file"),
    ],
)
def test_texts_that_cannot_be_drawn_are_a_line(texts, content, message: str, tmp_path: Path) -> None:
    file = None if texts else tmp_path / "texts.txt"
    if file is not None and content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        parse_texts(texts, file)
    assert "\n" not in str(caught.value)


def test_a_model_that_draws_no_texts_refuses_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = write_toy_snapshot(tmp_path / "run", 8)
    with pytest.raises(UserError, match="--text: this model does not draw texts"):
        Request(toy, 2, texts=(RED,)).draw(SmoothSampler(toy.spec), range(2))
    with pytest.raises(UserError, match="--truncation: not with --text"):
        Request(toy, 2, texts=(RED,), truncation=0.5)
    command = ["generate", str(toy.folder), str(tmp_path / "x.png"), "--count", "1", "--text", RED]
    assert main([*command, "--texts", "file"]) == 2
    assert "--text and --texts: give only one" in capsys.readouterr().err
