"""A source that has more than pictures: cut and sized with them, checked, and resumed like them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.contracts import Field
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.arrays import unpack
from pipeline.data.shards.decode import decode_field
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.shards.verify import verify
from pipeline.data.sources import opening
from pipeline.data.sources.source import Listing, Picture, SourceKind
from pipeline.errors import UserError

FIELDS = (
    Field("pair", "image", ()),
    Field("small", "image", (4, 4, 1)),
    Field("mask", "mask", ()),
    Field("text", "text", (20,)),
    Field("latent", "array", (2, 2), "float32"),
)


class Pairs:
    """Pictures of 24x16, darker to the left, with what belongs to each."""

    title = "pairs"

    def __init__(self, count: int, **changes) -> None:
        self._changes = changes
        self.listing = Listing([f"{n}.png" for n in range(count)], [1] * count, fields=FIELDS)

    def picture(self, number: int) -> Picture:
        ramp = np.tile(np.arange(24, dtype=np.uint8) * 8, (16, 1))
        half = Image.fromarray((ramp > 90).astype(np.uint8) * 7)  # a mask's numbers, not its brightness
        extra = {
            "pair": Image.fromarray(255 - ramp),
            "small": Image.fromarray(ramp).resize((48, 32)),
            "mask": half,
            "text": f"picture {number}",
            "latent": np.full((2, 2), number, np.float32),
        }
        found = {**extra, **(self._changes if number == 1 else {})}
        return Picture(Image.fromarray(ramp), extra={k: v for k, v in found.items() if v is not None})

    def size(self, number: int) -> tuple[int, int]:
        return 24, 16


def made(monkeypatch, out, source: Pairs, workers=1, **settings) -> ShardIndex:
    kind = SourceKind("pairs", lambda given: given == "pairs", lambda given, wanted: source)
    monkeypatch.setattr(opening, "SOURCES", (kind, *opening.SOURCES))
    prepare("pairs", out, Asked(**{"resolution": 8, "channels": 1, **settings}), workers=workers)
    return ShardIndex.read(out)


@pytest.mark.parametrize("workers", [1, 2])
def test_fields_are_cut_and_sized_with_their_picture(monkeypatch, tmp_path, workers):
    index = made(monkeypatch, tmp_path, Pairs(20), workers=workers)
    assert [field.shape for field in index.fields] == [(8, 8, 1), (4, 4, 1), (8, 8), (20,), (2, 2)]
    verify(index)
    for sample in read_samples(index):
        content = {field.name: (field, sample.fields[field.name][1]) for field in index.fields}
        seen = {name: decode_field(*pair).numpy() for name, pair in content.items()}
        image = decode_field(index.fields[0], sample.image)[..., 0].numpy().astype(int)
        assert image[0, 0] > 30  # the left was cut off
        assert np.abs(image + seen["pair"][..., 0] - 255).max() <= 2
        assert set(np.unique(seen["mask"])) == {0, 7}
        assert np.array_equal(seen["mask"] > 0, image > 90)
        assert np.abs(seen["small"][0, :, 0] - image[0].reshape(4, 2).mean(1)).max() < 8
        number = int(sample.meta["source"].removesuffix(".png"))
        assert bytes(seen["text"].tolist()).rstrip(b"\0").decode() == f"picture {number}"
        assert (unpack(sample.fields["latent"][1], (2, 2), "float32") == number).all()


def test_the_same_bytes_on_any_number_of_processes_and_after_a_kill(monkeypatch, tmp_path):
    one = made(monkeypatch, tmp_path / "one", Pairs(20), shard_size=6)
    two = made(monkeypatch, tmp_path / "two", Pairs(20), shard_size=6, workers=2)
    assert one.digest == two.digest

    class Killed(Pairs):
        def picture(self, number: int) -> Picture:
            if number == last:
                raise KeyboardInterrupt
            return super().picture(number)

    last = int([sample.meta["source"] for sample in read_samples(one)][15].removesuffix(".png"))
    with pytest.raises(KeyboardInterrupt):
        made(monkeypatch, tmp_path / "three", Killed(20), shard_size=6)
    assert made(monkeypatch, tmp_path / "three", Pairs(20), shard_size=6).digest == one.digest


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mask": None}, "has no mask"),
        ({"mask": Image.new("L", (16, 16))}, "its mask is 16x16, the picture 24x16"),
        ({"mask": Image.new("RGB", (24, 16))}, "its mask has mode RGB; a mask has one channel"),
        ({"text": "x" * 21}, "its text has 21 bytes; at most 20"),
        ({"text": 3}, "its text is no text"),
        ({"latent": np.zeros((2, 2))}, r"its latent is float64 \[2, 2\], not float32 \[2, 2\]"),
        ({"pair": "x"}, "its pair is no image"),
    ],
)
def test_a_picture_with_fields_that_cannot_be_used_is_left_out(monkeypatch, tmp_path, change, reason):
    assert made(monkeypatch, tmp_path / "skip", Pairs(3, **change)).count == 2
    with pytest.raises(UserError, match=reason):
        made(monkeypatch, tmp_path / "error", Pairs(3, **change), on_unreadable="error")


def test_a_palette_is_a_mask_of_its_numbers(monkeypatch, tmp_path):
    numbers = Image.frombytes("P", (24, 16), b"\5" * (24 * 16))
    numbers.putpalette([9, 9, 9] * 256)
    index = made(monkeypatch, tmp_path, Pairs(2, mask=numbers), on_unreadable="error")
    masks = [decode_field(index.fields[2], sample.fields["mask"][1]) for sample in read_samples(index)]
    assert sorted(int(mask.max()) for mask in masks) == [5, 7]
