"""What demo:faces knows of its portraits: masks, contours, sentences and graphs agree with what is drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.arrays import unpack
from pipeline.data.shards.decode import decode_field
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import read_samples
from pipeline.data.shards.verify import verify
from pipeline.data.sources.faces.canvas import CODES, PARTS
from pipeline.data.sources.faces.caption import LONGEST, caption
from pipeline.data.sources.faces.portrait import drawing, portrait
from pipeline.data.sources.faces.traits import CLOTHES, HAIRS, SKINS, STYLES, traits
from pipeline.data.sources.faces.truth import OBJECTS, RELATIONS, edges, parts, relation, scene
from tests.product import ROOT

PEOPLE = [traits(4, number) for number in range(24)]
DRAWN = [drawing(person, 64) for person in PEOPLE]


def shown(codes: np.ndarray, *names: str) -> np.ndarray:
    return np.isin(codes, [CODES[name] for name in names])


def test_parts_are_those_that_a_person_has() -> None:
    for person, drawn in zip(PEOPLE, DRAWN, strict=True):
        areas = np.bincount(parts(drawn).flat, minlength=len(PARTS)) / 64**2
        always = {name: areas[CODES[name]] for name in ("background", "face", "neck", "clothes", "nose")}
        assert min(always.values()) > 0.002
        assert 0.2 < always["background"] < 0.8
        assert 0.05 < always["face"] < 0.4
        assert shown(drawn.codes, "eyes").any()
        assert shown(drawn.codes, "mouth").any()
        assert shown(drawn.codes, "beard").any() == person.beard
        assert shown(drawn.codes, "glasses").any() == person.glasses
        assert (areas[CODES["hair"]] > 0.02) == (person.style != "bald")
        assert not (areas[CODES["hair"]] and person.style == "bald")


def test_colours_below_the_mask_are_those_of_the_traits() -> None:
    for person, drawn in zip(PEOPLE, DRAWN, strict=True):
        codes = parts(drawn)
        for name, table, own in (("hair", HAIRS, person.hair), ("clothes", CLOTHES, person.clothes)):
            if not shown(codes, name).any():
                continue
            mean = drawn.pixels[shown(codes, name)].mean(0) / 255
            colour, others = np.array(table[own]), [np.array(table[other]) for other in table if other != own]
            # Light changes how bright a colour is, and little of its hue.
            far = [np.abs(mean / mean.sum() - other / other.sum()).sum() for other in (colour, *others)]
            dark = [abs(mean.sum() - other.sum()) for other in (colour, *others)]
            assert any(far[0] < f + 0.01 or dark[0] < d for f, d in zip(far[1:], dark[1:], strict=True))
            assert far[0] < 0.35
            assert dark[0] < 0.75


def test_contours_stand_where_parts_meet() -> None:
    for drawn in DRAWN[:8]:
        lines, codes = edges(drawn), parts(drawn)
        assert (lines.shape, lines.dtype) == ((64, 64), np.uint8)
        assert 0.75 < (lines > 200).mean() < 0.97  # mostly white
        meets = codes[:, :-1] != codes[:, 1:]
        beside = np.minimum(lines[:, :-1], lines[:, 1:])
        assert beside[meets].mean() < 110 < 200 < lines.mean()
    flat = replace(DRAWN[0], codes=np.zeros_like(DRAWN[0].codes))
    assert (edges(flat) == 255).all()


def test_a_line_is_a_pixel_wide() -> None:
    codes = np.zeros((256, 256), np.uint8)
    codes[:, 128:] = 1
    for side, width in ((64, 4), (128, 2), (256, 1), (32, 4)):
        lines = edges(replace(DRAWN[0], pixels=np.zeros((side, side, 3), np.uint8), codes=codes))
        assert np.isclose((255 - lines[0].astype(float)).sum() / 255 * (256 // side), width, atol=0.05)


def test_every_sentence_says_what_can_be_seen() -> None:
    wordings = set()
    for number in range(300):
        person = traits(9, number)
        text = caption(person)
        wordings.add(text.split()[0] if text.startswith(("in", "a")) else "plain")
        hair = "no hair" if person.style == "bald" else f"{person.style} {person.hair} hair"
        for words, said in (
            (hair, True),
            ("glasses", person.glasses),
            (f"{person.hair} beard", person.beard),
            ("smiling", person.smile > 0.45),
            ("serious", person.smile <= 0.45),
            (f"{person.clothes} clothes", True),
        ):
            assert (words in text) == said, (text, words)
        assert f"{person.skin} skin" in text
    assert len(wordings) == 3
    assert caption(traits(9, 5)) == caption(traits(9, 5))


def test_the_codes_are_those_that_the_documentation_lists() -> None:
    page = (ROOT / "docs/pages/data.md").read_text()
    assert ", ".join(f"{code} {name}" for code, name in enumerate(PARTS)) in page
    listed = page[page.index("An object of the graph") : page.index("What is left of a field")].replace(
        "\n", " "
    )
    assert all(f"{code} {name}" in listed for code, name in enumerate(OBJECTS) if 11 <= code <= 16)
    for words, first in ((HAIRS, 1), (SKINS, 6), (CLOTHES, 17)):
        last = first + len(words) - 1
        kind = OBJECTS[first].split()[-1]
        assert f"{first} to {last} {', '.join(words)} {kind}" in listed
    assert all(f"{code} {name}" in listed for code, name in enumerate(RELATIONS) if code)


def test_no_sentence_is_longer_than_its_field() -> None:
    person = replace(PEOPLE[0], glasses=True, beard=True)
    longest = 0
    for skin, hair, style, clothes in product(SKINS, HAIRS, STYLES, CLOTHES):
        for grain in range(3):
            for smile in (0.0, 1.0):
                some = replace(person, skin=skin, hair=hair, style=style, clothes=clothes, smile=smile)
                longest = max(longest, len(caption(replace(some, grain=grain)).encode()))
    assert LONGEST - 10 < longest <= LONGEST


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0.1, 0.1, 0.2, 0.2), (0.0, 0.0, 0.5, 0.5), "inside"),
        ((0.0, 0.0, 0.5, 0.5), (0.1, 0.1, 0.2, 0.2), "around"),
        ((0.0, 0.3, 0.1, 0.5), (0.4, 0.2, 0.6, 0.5), "left of"),
        ((0.4, 0.2, 0.6, 0.5), (0.0, 0.3, 0.1, 0.5), "right of"),
        ((0.3, 0.0, 0.5, 0.2), (0.2, 0.5, 0.5, 0.9), "above"),
        ((0.2, 0.5, 0.5, 0.9), (0.3, 0.0, 0.5, 0.2), "below"),
    ],
)
def test_relations_of_boxes(first, second, expected: str) -> None:
    assert relation(np.array(first), np.array(second)) == expected


def test_the_graph_has_the_objects_that_are_seen() -> None:
    for person, drawn in zip(PEOPLE, DRAWN, strict=True):
        known = scene(person, drawn)
        count = int((known.objects > 0).sum())
        assert (known.objects[count:] == 0).all()
        assert (known.boxes[count:] == 0).all()
        names = [OBJECTS[code] for code in known.objects[:count]]
        expected = {
            f"{person.skin} face",
            "left eye",
            "right eye",
            "nose",
            "mouth",
            f"{person.clothes} clothes",
        }
        expected |= {f"{person.hair} hair"} if person.style != "bald" else set()
        expected |= {"beard"} if person.beard else set()
        expected |= {"glasses"} if person.glasses else set()
        assert set(names) == expected
        assert ((known.boxes >= 0) & (known.boxes <= 1)).all()
        assert (known.boxes[:count, :2] < known.boxes[:count, 2:]).all()
        said = {(names[i], names[j]): RELATIONS[code] for i, code, j in known.triples if code}
        assert len(said) == count * (count - 1) // 2
        assert said["left eye", "right eye"] == "left of"
        assert said["left eye", "mouth"] == "above"
        assert said[f"{person.skin} face", "nose"] == "around"
        left, top, right, bottom = (known.boxes[names.index("mouth")] * 64).astype(int)
        mouth = shown(parts(drawn), "mouth")
        assert mouth[top : bottom + 1, left : right + 1].sum() == mouth.sum()


def test_fields_are_stored_beside_the_same_pictures(tmp_path: Path) -> None:
    asked = Asked(resolution=32, count=6, seed=3, fields=("scene", "text", "edges", "parts"))
    prepare("demo:faces", tmp_path / "with", asked, workers=1)
    prepare("demo:faces", tmp_path / "plain", replace(asked, fields=()), workers=1)
    index, plain = ShardIndex.read(tmp_path / "with"), ShardIndex.read(tmp_path / "plain")
    verify(index)
    assert plain.fields == ()
    assert [(field.name, field.shape) for field in index.fields] == [
        ("edges", (32, 32, 3)),
        ("parts", (32, 32)),
        ("text", (LONGEST,)),
        ("objects", (9,)),
        ("boxes", (9, 4)),
        ("triples", (36, 3)),
    ]
    for sample, other in zip(read_samples(index), read_samples(plain), strict=True):
        assert (sample.image, sample.label) == (other.image, other.label)
        person = traits(3, int(sample.meta["source"].removeprefix("face-")))
        drawn = drawing(person, 32)
        seen = {field.name: decode_field(field, sample.fields[field.name][1]) for field in index.fields[:3]}
        assert np.array_equal(seen["edges"][..., 0].numpy(), edges(drawn))
        assert np.array_equal(seen["parts"].squeeze(-1).numpy(), parts(drawn))
        assert bytes(seen["text"].tolist()).rstrip(b"\0").decode() == caption(person)
        assert np.array_equal(
            unpack(sample.fields["boxes"][1], (9, 4), "float32"), scene(person, drawn).boxes
        )
        assert np.array_equal(drawn.pixels, portrait(person, 32))
