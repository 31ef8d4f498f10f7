"""`hrgan translate`: pictures of any size and source, once each, whatever stops it."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

from launch.main import main
from pipeline.contracts import Field, ImageSpec, Stage, Translator
from pipeline.images.normalised import load
from pipeline.models.registry import build_family
from pipeline.storage.snapshots import write_snapshot
from pipeline.translation.tiles import Tiling, tiling_of, translated
from tests.models.test_every_family import stir
from tests.tiny_families import seeded_networks, tiny_config

COLOURS = ImageSpec(16, 16, 3)
MAPS = ImageSpec(16, 16, 3, fields=(Field("map", "mask", (16, 16)),))


def made(name: str, spec: ImageSpec = COLOURS, **changes):
    """(family, its generator with weights that make pictures)"""
    family = build_family(tiny_config(name, **changes), spec, batch_size=8)
    networks = seeded_networks(family)
    stir(networks)
    return family, networks.generator.eval().requires_grad_(False)


def translator_of(name: str, **changes) -> Translator:
    family, generator = made(name, **changes)
    sampler = family.sampler(generator)
    assert isinstance(sampler, Translator)
    return sampler


def snapshot_of(tmp_path: Path, name: str, spec: ImageSpec = COLOURS, **changes) -> Path:
    family, generator = made(name, spec, **changes)
    write_snapshot(
        tmp_path / "run",
        generator.state_dict(),
        family=family.config,
        spec=family.spec,
        classes=[],
        stage=Stage(16, 1.0, 8, {}),
        images_seen=16,
        step=2,
        world_size=1,
        config_digest="x",
        data={},
    )
    return tmp_path / "run"


def picture(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def sizes(out: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(out.rglob("*.png")):
        with Image.open(path) as picture:
            found[str(path.relative_to(out))] = picture.size
    return found


@pytest.mark.parametrize(
    "changes", [{"generator": "srresnet"}, {"generator": "rrdb"}], ids=lambda c: c["generator"]
)
def test_tiles_change_nothing_where_they_overlap_by_what_a_pixel_sees(changes):
    translator = translator_of("superres", scale=2, **changes)
    for weight in translator.generator.parameters():
        weight.mul_(4)  # so that what is far has a visible effect
    reach = translator.translation.reach
    image = torch.rand(3, 38, 54, generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = translated(translator, image, 5, Tiling(0, 0))
    assert whole.shape == (3, 76, 108)
    tiles = translated(translator, image, 5, tiling_of(translator, 16, reach))
    assert (whole.int() - tiles.int()).abs().max() <= 1
    apart = translated(translator, image, 5, Tiling(16, 0))
    assert not torch.equal(whole, apart)


def test_models_that_see_the_whole_image_get_it_whole():
    assert tiling_of(translator_of("inpainting"), None, None).tile == 0
    assert tiling_of(translator_of("superres"), None, None).tile > 0
    assert tiling_of(translator_of("inpainting"), 64, 8) == Tiling(64, 8)
    # Squares begin where the model's own grid does.
    assert tiling_of(translator_of("inpainting", halvings=2), 30, 7) == Tiling(32, 8)


def test_pictures_of_any_size_keep_their_names_and_a_bad_one_is_left_out(tmp_path, capsys):
    run = snapshot_of(tmp_path, "superres", scale=2)
    photos = tmp_path / "photos"
    for name, size in {"a.jpg": (17, 9), "b/c.png": (40, 33), "b/c.bmp": (8, 8)}.items():
        picture(photos / name, *size)
    picture(photos / "grey.png", 12, 12, "L")
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    out = tmp_path / "out"
    command = ["translate", str(run), str(photos), str(out), "--tile", "16", "--device", "cpu"]
    assert main(command) == 0
    expected = {"a.png": (34, 18), "b/c.png.png": (80, 66), "b/c.bmp.png": (16, 16), "grey.png": (24, 24)}
    assert sizes(out) == expected
    said = capsys.readouterr()
    assert "broken.png" in said.err
    assert "1 left out" in said.out
    # What is missing is made again to the same bytes, and nothing else is touched.
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.png")}
    (out / "a.png").unlink()
    assert main(command) == 0
    assert "3 of them made before" in capsys.readouterr().out
    for path, (content, changed) in before.items():
        assert path.read_bytes() == content
        assert (path.stat().st_mtime_ns == changed) == (path.name != "a.png")


def test_one_picture_and_an_archive_give_the_same(tmp_path):
    run = snapshot_of(
        tmp_path, "pix2pix", ImageSpec(16, 16, 3, fields=(Field("input", "image", (16, 16, 3)),))
    )
    photo = picture(tmp_path / "photo.png", 21, 30)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(photo, "photo.png")
    for given, out in ((photo, "one"), (tmp_path / "all.zip", "many")):
        assert main(["translate", str(run), str(given), str(tmp_path / out), "--device", "cpu"]) == 0
    assert sizes(tmp_path / "one") == {"photo.png": (21, 30)}
    one, many = (tmp_path / name / "photo.png" for name in ("one", "many"))
    assert one.read_bytes() == many.read_bytes()


def test_both_directions_of_a_model_that_has_two(tmp_path, capsys):
    run = snapshot_of(tmp_path, "cyclegan")
    photo = picture(tmp_path / "photo.png", 12, 10)
    for more in ([], ["--back"]):
        out = tmp_path / f"out{len(more)}"
        assert main(["translate", str(run), str(photo), str(out), *more, "--device", "cpu"]) == 0
    assert (tmp_path / "out0/photo.png").read_bytes() != (tmp_path / "out1/photo.png").read_bytes()
    (tmp_path / "other").mkdir()
    other = snapshot_of(tmp_path / "other", "superres")
    assert main(["translate", str(other), str(photo), str(tmp_path / "x"), "--back", "--device", "cpu"]) == 2
    assert "has learnt one direction" in capsys.readouterr().err


def test_holes_are_filled_and_the_rest_stays(tmp_path):
    run = snapshot_of(tmp_path, "inpainting")
    picture(tmp_path / "photos/a.png", 26, 19)
    mask = np.zeros((19, 26), np.uint8)
    mask[4:12, 5:20] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks/a.png")
    command = ["translate", str(run), str(tmp_path / "photos"), str(tmp_path / "out"), "--device", "cpu"]
    assert main([*command, "--holes", str(tmp_path / "masks")]) == 0
    before, after = (np.asarray(load((tmp_path / d / "a.png").read_bytes())) for d in ("photos", "out"))
    same = (before == after).all(axis=2)
    assert same[mask == 0].all()
    assert same[mask > 0].mean() < 0.1


def test_label_maps_are_read_as_codes(tmp_path):
    run = snapshot_of(tmp_path, "pix2pix", MAPS, given="map", codes=4, edges=True)
    codes = np.random.default_rng(0).integers(0, 4, (16, 16), np.uint8)
    results = []
    for folder, values in (("last", codes), ("high", np.where(codes == 3, np.uint8(255), codes))):
        (tmp_path / folder).mkdir()
        Image.fromarray(values).save(tmp_path / folder / "a.png")
        out = tmp_path / f"{folder}-out"
        assert main(["translate", str(run), str(tmp_path / folder), str(out), "--device", "cpu"]) == 0
        results.append((out / "a.png").read_bytes())
    assert results[0] == results[1]  # as in training


def test_what_cannot_be_translated_is_a_line(tmp_path, capsys):
    (tmp_path / "enlarging").mkdir()
    enlarging = snapshot_of(tmp_path / "enlarging", "superres")
    (tmp_path / "filling").mkdir()
    filling = snapshot_of(tmp_path / "filling", "inpainting")
    (tmp_path / "drawing").mkdir()
    drawing = snapshot_of(tmp_path / "drawing", "mlp")
    photo = picture(tmp_path / "photos/a.png", 8, 8).parent
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    cases = [
        ((drawing, photo, "out"), "makes images of chance, not of images"),
        ((filling, photo, "out"), "this model fills holes; --holes names masks"),
        ((enlarging, photo, "out", "--holes", photo), "this model fills no holes"),
        ((enlarging, photo, "taken"), "holds mine.txt, and no translations"),
        ((enlarging, tmp_path / "absent", "out"), "no such source"),
        ((enlarging, tmp_path / "empty", "out"), "holds no images"),
    ]
    for (run, given, out, *more), said in cases:
        command = [run, given, tmp_path / out, *more, "--device", "cpu"]
        assert main(["translate", *map(str, command)]) == 2, said
        assert said in capsys.readouterr().err
    assert main(["generate", str(enlarging), str(tmp_path / "made"), "--count", "1", "--device", "cpu"]) == 2
    assert "hrgan translate takes pictures" in capsys.readouterr().err
    done = ["translate", str(enlarging), str(photo), str(tmp_path / "done"), "--device", "cpu"]
    assert main(done) == 0
    assert main([*done, "--tile", "8"]) == 2
    assert "holds other translations (they differ in tiling)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("inpainting", {"halvings": 3}),
        ("cyclegan", {"halvings": 2}),
        ("superres", {"generator": "rrdb", "scale": 2}),
        ("superres", {"generator": "srresnet", "scale": 4}),
    ],
)
def test_no_picture_is_too_small(name, changes):
    translator = translator_of(name, **changes)
    how = translator.translation
    for height, width in ((1, 1), (3, 21), (17, 4)):
        image, holes = torch.zeros(3, height, width), torch.ones(1, height, width) if how.holes else None
        pixels = translated(translator, image, 1, Tiling(0, 0), holes)
        assert pixels.shape == (3, height * how.scale, width * how.scale)


def test_what_fills_the_centre_of_one_size_takes_nothing_else(tmp_path, capsys):
    run = snapshot_of(tmp_path, "inpainting", generator="encoder", holes="centre")
    inner, outer = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    inner[4:12, 4:12], outer[3:9, 4:9] = 255, 255
    (tmp_path / "masks").mkdir()
    for name, mask in {"good": inner, "beyond": outer, "wide": np.full((16, 32), 255, np.uint8)}.items():
        picture(tmp_path / f"photos/{name}.png", mask.shape[1], mask.shape[0])
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    command = ["translate", run, tmp_path / "photos", tmp_path / "out", "--holes", tmp_path / "masks"]
    assert main([*map(str, command), "--device", "cpu"]) == 0
    assert sizes(tmp_path / "out") == {"good.png": (16, 16)}
    said = capsys.readouterr().err
    assert "wide.png: is 32x16 pixels; this model takes 16x16 alone; left out" in said
    assert "beyond.png: has a mask with holes within 4 pixels of the border" in said


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, capsys):
    run = snapshot_of(tmp_path, "superres")
    photo = picture(tmp_path / "photo.png", 8, 8).read_bytes()
    for name in ("../../escaped", str(tmp_path / "absolute")):
        place = tmp_path / f"keys{len(name)}"
        with lmdb.open(str(place)) as database, database.begin(write=True) as transaction:
            transaction.put(name.encode(), photo)
            transaction.put(b"good", photo)
        before = sorted(tmp_path.rglob("*.png"))
        command = ["translate", run, place, tmp_path / "a/b/out", "--device", "cpu"]
        assert main(list(map(str, command))) == 2
        assert "points outside" in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*.png")) == before


def test_other_pictures_or_masks_of_the_same_names_need_another_folder(tmp_path, capsys):
    run = snapshot_of(tmp_path, "inpainting")
    for day, size in (("monday", 16), ("tuesday", 24)):
        picture(tmp_path / day / "a.png", size, size)
        (tmp_path / f"masks-{day}").mkdir()
        Image.fromarray(np.full((size, size), 255, np.uint8)).save(tmp_path / f"masks-{day}/a.png")
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(tmp_path / "other.png")

    def translate(day: str, masks: str) -> int:
        command = ["translate", run, tmp_path / day, tmp_path / "out", "--holes", tmp_path / masks]
        return main([*map(str, command), "--device", "cpu"])

    assert translate("monday", "masks-monday") == 0
    for day, masks in (("tuesday", "masks-tuesday"), ("monday", "other.png")):
        assert translate(day, masks) == 2
        assert "holds other translations (they differ in inputs)" in capsys.readouterr().err


def test_every_picture_gets_a_name_of_its_own_and_none_is_forgotten(tmp_path, capsys):
    run = snapshot_of(tmp_path, "superres", scale=2)
    photos = tmp_path / "photos"
    for name, side in {"a.png": 4, "a.jpg": 5, "a.png.jpg": 6, os.fsdecode(b"caf\xe9.png"): 7}.items():
        picture(photos / name, side, side)
    (photos / "linked.png").symlink_to(picture(tmp_path / "beside.png", 8, 8))
    command = ["translate", str(run), str(photos), str(tmp_path / "out"), "--device", "cpu"]
    assert main(command) == 0
    assert sorted(width for width, _ in sizes(tmp_path / "out").values()) == [8, 10, 12, 14]
    said = capsys.readouterr()
    assert "linked.png: is a link out of the folder" in said.err
    assert "4 images, 1 left out" in said.out


def test_what_would_be_confused_is_refused(tmp_path, capsys):
    (tmp_path / "enlarging").mkdir()
    enlarging = snapshot_of(tmp_path / "enlarging", "superres")
    (tmp_path / "filling").mkdir()
    filling = snapshot_of(tmp_path / "filling", "inpainting")
    (tmp_path / "opaque").mkdir()
    opaque = snapshot_of(tmp_path / "opaque", "superres", ImageSpec(16, 16, 4), degradation="bicubic")
    photos = picture(tmp_path / "photos/a.png", 8, 8).parent
    for ending in ("png", "jpg"):
        picture(tmp_path / f"masks/a.{ending}", 8, 8, "L")
    assert main(["prepare", "demo:digits", str(tmp_path / "shards"), "--count", "20"]) == 0
    cases = [
        ((enlarging, photos, photos / "out"), "which is to be translated; give a folder outside"),
        ((opaque, photos, tmp_path / "out"), "takes images of 4 channels; pictures are read as 1 or 3"),
        ((enlarging, photos, photos), "which is to be translated; give a folder outside"),
        ((filling, photos, tmp_path / "out", "--holes", tmp_path / "masks"), "two masks of one name"),
        ((enlarging, tmp_path / "shards", tmp_path / "out"), "hrgan export makes pictures of it"),
    ]
    for command, said in cases:
        assert main(["translate", *map(str, command), "--device", "cpu"]) == 2
        assert said in capsys.readouterr().err
