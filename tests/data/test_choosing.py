"""prepare: pictures that are left out as asked, and near-duplicates."""

from __future__ import annotations

import io
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pipeline.data.preparing import duplicates
from pipeline.data.preparing.choosing import Choice
from pipeline.data.preparing.duplicates import FINGERPRINT, fingerprint, twins
from pipeline.data.preparing.left_out import read_left_out
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.render import Made, Recipe
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.sources.source import Source
from pipeline.images.quality import frequency_bits, sharpness
from tests.data.feeds import call, file, folder, noise, plain, stored
from tests.data.feeds import fingerprint as files_of


def smooth(seed: int, side: int = 64) -> Image.Image:
    """A picture with edges at few places: no two of these are alike."""
    return noise(7, 7, seed).resize((side, side), Image.Resampling.BICUBIC)


def test_small_and_long_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    files = {"small.png": plain(1, (40, 19)), "long.png": plain(2, (90, 30)), "good.png": plain(3, (60, 30))}
    source = folder(tmp_path / "in", {**files, "bad.png": b"x"})
    report = call(tmp_path, source, choice=Choice(min_side=20, max_aspect=2))
    assert set(stored(tmp_path / "out")) == {"good.png"}
    reasons = {
        "bad.png": "not an image of a known kind",
        "long.png": "not wanted: 90x30 pixels; --max-aspect is 2",
        "small.png": "not wanted: 40x19 pixels; --min-side is 20",
    }
    assert dict(report.skipped) == dict(read_left_out(tmp_path / "out")) == reasons
    lines = report.lines()
    assert lines[lines.index("1 could not be used:") + 1] == "  bad.png: not an image of a known kind"
    assert "2 left out as asked:" in lines
    assert "  long.png: 90x30 pixels; --max-aspect is 2" in lines
    origin = ShardIndex.read(tmp_path / "out").origin
    assert (origin["min_side"], origin["max_aspect"]) == (20, 2)


def test_an_unwanted_picture_is_no_fault(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"small.png": plain(1, (9, 9)), "good.png": plain(3, (60, 30))})
    report = call(tmp_path, source, choice=Choice(min_side=20), on_unreadable="error")
    assert report.count == 1


@given(st.integers(3, 9), st.integers(3, 9), st.integers(0, 99))
def test_sharpness_is_the_variance_of_the_laplacian(height: int, width: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    kernel = {(0, 1): 1, (1, 0): 1, (1, 2): 1, (2, 1): 1, (1, 1): -4}
    values = [
        sum(weight * int(grey[y + dy, x + dx]) for (dy, dx), weight in kernel.items())
        for y in range(height - 2)
        for x in range(width - 2)
    ]
    assert sharpness(Image.fromarray(grey)) == pytest.approx(np.var(values))


def test_blurred_pictures_are_left_out_and_the_spread_is_shown(tmp_path: Path) -> None:
    picture = noise(64, 64)
    blurs = {f"{radius}.png": picture.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 1, 2, 4, 8)}
    source = folder(tmp_path / "in", {name: file(image) for name, image in blurs.items()})
    measured = {name: sharpness(image) for name, image in blurs.items()}
    report = call(tmp_path, source, resolution=64, choice=Choice(min_sharpness=0))
    (line,) = [line for line in report.lines() if line.startswith("sharpness")]
    median = float(line.split("50% below ")[1].split(",")[0])
    assert measured["2.png"] <= median <= measured["2.png"] * 1.15 + 0.1
    assert line.endswith("--min-sharpness X leaves out those below X")
    assert "min_sharpness" not in ShardIndex.read(tmp_path / "out").origin
    asked = Asked(resolution=64, choice=Choice(min_sharpness=measured["2.png"] + 0.001))
    prepare(source, tmp_path / "2", asked, workers=1)
    assert set(stored(tmp_path / "2")) == {"0.png", "1.png"}


def test_nothing_is_measured_unless_asked(tmp_path: Path) -> None:
    report = call(tmp_path, folder(tmp_path / "in", {"a.png": plain(3)}))
    assert not [line for line in report.lines() if "sharpness" in line]


def _crowd(root: Path) -> Path:
    """12 pictures; of three of them a copy, a JPEG, or one in another size, which come later by name."""
    files = {f"{n:02d}.png": file(smooth(n)) for n in range(12)}
    files["20-copy.png"] = files["03.png"]
    files["21-lossy.jpg"] = file(smooth(5), "JPEG", quality=80)
    files["22-large.png"] = file(smooth(7).resize((128, 128), Image.Resampling.LANCZOS))
    return folder(root / "in", files)


ALIKE = {"20-copy.png": "03.png", "21-lossy.jpg": "05.png", "22-large.png": "07.png"}


@pytest.mark.parametrize("workers", [1, 2])
def test_near_duplicates_are_dropped_and_named(tmp_path: Path, workers: int) -> None:
    source = _crowd(tmp_path)
    report = call(tmp_path, source, workers=workers, resolution=32, duplicates="drop")
    assert set(stored(tmp_path / "out")) == {f"{n:02d}.png" for n in range(12)}
    assert dict(report.skipped) == {
        name: f"not wanted: is like {other}; --duplicates drop" for name, other in ALIKE.items()
    }
    assert "3 left out as asked:" in report.lines()
    assert ShardIndex.read(tmp_path / "out").origin["without_duplicates"] == 2
    again = call(tmp_path, source, resolution=32, duplicates="drop")  # complete: nothing to do
    assert (again.count, again.skipped) == (12, report.skipped)


def test_near_duplicates_are_reported_and_kept(tmp_path: Path) -> None:
    source = _crowd(tmp_path)
    report = call(tmp_path, source, resolution=32, duplicates="report")
    assert dict(report.likenesses) == ALIKE
    assert "3 near-duplicates kept, which --duplicates drop leaves out:" in report.lines()
    rows = [f"{name},{other}" for name, other in ALIKE.items()]
    assert (tmp_path / "out/near-duplicates.csv").read_text().splitlines() == ["name,like", *rows]
    prepare(source, tmp_path / "keep", Asked(resolution=32), workers=1)
    assert ShardIndex.read(tmp_path / "out").digest == ShardIndex.read(tmp_path / "keep").digest


def test_the_first_that_is_wanted_stays(tmp_path: Path) -> None:
    files = {"a.png": file(smooth(1, 16)), "b.png": file(smooth(1, 64)), "c.png": file(smooth(1, 64))}
    source = folder(tmp_path / "in", {**files, "0.png": b"x"})
    call(tmp_path, source, resolution=32, duplicates="drop", choice=Choice(min_side=30))
    assert set(stored(tmp_path / "out")) == {"b.png"}


def test_plain_pictures_are_alike_by_their_very_pixels_alone(tmp_path: Path) -> None:
    files = {"a.png": plain(10), "b.png": plain(200), "c.png": plain(10)}
    report = call(tmp_path, folder(tmp_path / "in", files), duplicates="report")
    assert dict(report.likenesses) == {"c.png": "a.png"}
    assert fingerprint(Image.new("RGB", (16, 16), (9, 9, 9)))[0] == 0
    assert fingerprint(smooth(1))[0] != 0


def _bits_apart(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return (a[0] ^ b[0]).bit_count(), (a[1] ^ b[1]).bit_count()


def test_fingerprints_bear_what_people_do_to_pictures() -> None:
    same = []
    for seed in range(30):
        picture, stranger = smooth(seed, 96), smooth(seed + 100, 96)
        lossy = Image.open(io.BytesIO(file(picture, "JPEG", quality=60))).convert("RGB")
        changes = (
            lossy,
            picture.resize((48, 48)).resize((96, 96)),
            picture.point(lambda value: value * 0.8 + 30),
        )
        same += [_bits_apart(fingerprint(picture), fingerprint(changed)) for changed in changes]
        assert min(_bits_apart(fingerprint(picture), fingerprint(stranger))) > 10
    assert np.mean([first <= 2 and second <= 4 for first, second in same]) > 0.9


def test_low_frequencies_are_those_of_the_cosine_transform() -> None:
    transform = pytest.importorskip("scipy.fft").dctn
    for seed in range(20):
        picture = noise(32, 32, seed).convert("L")
        terms = transform(np.asarray(picture, np.float64), norm="ortho")[:8, :8].ravel()
        bits = frequency_bits(picture)
        np.testing.assert_array_equal(bits[1:], terms[1:] > np.median(terms[1:]))
        assert not bits[0]


def test_different_digits_are_told_apart() -> None:
    digits = pytest.importorskip("sklearn.datasets").load_digits().images[:500] * 15.9
    rows = [fingerprint(Image.fromarray(digit.astype(np.uint8)).resize((32, 32))) for digit in digits]
    assert len(twins(_prints(rows), 2)) <= 2


def _prints(rows: list[tuple[int, int]]) -> np.ndarray:
    return np.array(rows, FINGERPRINT)


def _slow_twins(rows: list[tuple[int, int]], bits: int) -> dict[int, int]:
    """By the definition, each with each."""
    kept: list[int] = []
    like: dict[int, int] = {}
    for place, row in enumerate(rows):
        if row == (0, 0):
            continue
        for other in kept:
            first, second = _bits_apart(row, rows[other])
            plain_ones = not row[0] or not rows[other][0]
            if row == rows[other] or (not plain_ones and first <= bits and second <= 2 * bits):
                like[place] = other
                break
        else:
            kept.append(place)
    return like


@given(st.data(), st.integers(0, 8))
def test_pairs_are_those_of_the_definition(data: st.DataObject, bits: int) -> None:
    hashes = st.integers(2**20, 2**64 - 2**20)
    centres = data.draw(st.lists(st.tuples(hashes, hashes), min_size=1, max_size=3))
    places = st.lists(st.integers(0, 63), max_size=5)
    rows = []
    for _ in range(data.draw(st.integers(1, 14))):
        first, second = data.draw(st.sampled_from([(0, 0), (0, 5), (0, 6), *centres]))
        if first:
            first ^= sum(1 << bit for bit in set(data.draw(places)))
            second ^= sum(1 << bit for bit in set(data.draw(places)))
        rows.append((first, second))
    assert twins(_prints(rows), bits) == _slow_twins(rows, bits)


def test_what_is_like_a_dropped_picture_alone_stays() -> None:
    base = 0x0123456789ABCDEF
    rows = [(base, 1), (base ^ 0b11, 1), (base ^ 0b1111, 1), (base ^ 0b11, 1)]
    assert twins(_prints(rows), 2) == {1: 0, 3: 0}


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_every_difference_of_so_many_bits_is_seen(bits: int) -> None:
    base = 0x0123456789ABCDEF
    rng = np.random.default_rng(0)
    chosen = [rng.choice(64, bits, replace=False) for _ in range(300)]
    chosen += [np.array(pair) for pair in combinations(range(0, 64, 3), 2)] if bits == 2 else []
    for places in chosen:
        other = base ^ sum(1 << int(place) for place in places)
        assert twins(_prints([(base, 1), (other, 1)]), bits) == {1: 0}


def test_many_pairs_take_no_quadratic_time() -> None:
    prints = np.zeros(200_000, FINGERPRINT)
    prints["first"] = np.random.default_rng(0).integers(1, 2**63, len(prints))
    prints["first"][100_000:] = prints["first"][:100_000] ^ np.uint64(5)
    began = time.process_time()
    assert len(twins(prints, 2)) == 100_000
    assert time.process_time() - began < 20  # each with each: 2e10 pairs


def test_a_call_that_was_stopped_does_not_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, asked = _crowd(tmp_path), Asked(resolution=32, duplicates="drop")
    prepare(source, tmp_path / "whole", asked, workers=1)
    monkeypatch.setattr(duplicates, "_BLOCK", 4)
    calls, make = [0], duplicates.make

    def counted(source: Source, recipe: Recipe, number: int) -> Made:
        calls[0] += 1
        if calls[0] == 10:
            raise KeyboardInterrupt
        return make(source, recipe, number)

    monkeypatch.setattr(duplicates, "make", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "out", asked, workers=1)
    calls[0] = 100
    prepare(source, tmp_path / "out", asked, workers=1)
    assert calls[0] == 100 + 15 - 8  # two blocks of four were whole
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_damaged_fingerprints_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    publish = duplicates.publish_bytes

    def cut(path: Path, data: bytes) -> None:
        kept.append(data)
        publish(path, data[:-1])

    monkeypatch.setattr(duplicates, "publish_bytes", cut)
    call(tmp_path, _crowd(tmp_path), resolution=32, duplicates="drop")
    assert ShardIndex.read(tmp_path / "out").count == 12
    assert len(kept) == 1
    assert len(kept[0]) == 15 * 16  # bytes a picture
