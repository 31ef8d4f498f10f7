"""What is said of an imported snapshot: where it is from, and nothing that its file does not tell."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from launch.main import main
from pipeline.exploration.vectors import load_vectors, save_vectors, vectors_path
from pipeline.storage.manifest import digest_folder, read_manifest
from pipeline.storage.snapshots import open_snapshot
from tests.importing.writing import ALIKE, our_networks, write_ada


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A folder with faces.pkl and, imported from it, `out`."""
    folder = tmp_path_factory.mktemp("imported")
    write_ada(folder / "faces.pkl", our_networks())
    assert main(["import", str(folder / "faces.pkl"), str(folder / "out")]) == 0
    return folder


def test_the_manifest_tells_what_the_file_tells_and_null_for_the_rest(imported):
    manifest = read_manifest(imported / "out")
    assert (manifest.images_seen, manifest.step, manifest.world_size) == (None, None, None)
    details = manifest.details
    told, unknown = details["family"], details["unknown"]
    shapes = {key: ALIKE[key] for key in ALIKE if key != "minibatch_stddev_group"}  # which D alone tells
    assert {key: told[key] for key in shapes} == shapes
    assert told["name"] == "stylegan2"
    assert {"r1_gamma", "style_mixing", "generator_rate", "minibatch_stddev_group", "ada"} <= set(unknown)
    assert all(told[key] is None for key in unknown)
    assert told["clamp"] is None  # the file says so: none
    assert "clamp" not in unknown
    assert details["data"] is None
    assert details["stage"]["resolution"] == 16
    assert details["stage"]["batch_size"] is details["stage"]["rates"] is details["stage"]["ema_beta"] is None


def test_it_computes_with_the_defaults_all_the_same(imported):
    snapshot = open_snapshot(imported / "out")
    defaults = type(snapshot.family)()
    assert snapshot.family.r1_gamma == defaults.r1_gamma
    assert (snapshot.batch_size, snapshot.stage.resolution, snapshot.stage.fade) == (32, 16, 1.0)
    assert (snapshot.images_seen, snapshot.age) == (None, "imported from faces.pkl")


def test_cards_tables_and_vectors_name_the_file(imported, tmp_path, capsys):
    out = imported / "out"
    shards = tmp_path / "shards"
    assert main(["generate", str(out), str(shards), "--count", "16", "--device", "cpu"]) == 0
    card = json.loads((shards / "card.json").read_text())["snapshot"]
    assert card["images_seen"] is None
    assert card["imported"]["file"] == "faces.pkl"
    assert (card["family"]["w_dim"], card["family"]["r1_gamma"]) == (12, None)
    assert ", imported from faces.pkl (" in next(shards.glob("*.md")).read_text()
    capsys.readouterr()
    words = ["evaluate", str(out), "--data", str(shards), "--count", "16", "--device", "cpu"]
    assert main([*words, "--metrics", "swd"]) == 0
    heads, row, *_ = capsys.readouterr().out.splitlines()[-3:]
    assert heads.split()[0] == "snapshot"
    assert row.split()[0] == "faces.pkl"
    result = json.loads((imported / "metrics-out.json").read_text())
    assert (result["images_seen"], result["source"]) == (None, "faces.pkl")
    save_vectors(tmp_path / "a.png", {}, open_snapshot(out))
    about = load_vectors(vectors_path(tmp_path / "a.png")).about
    assert (about["images_seen"], about["source"]) == (None, "faces.pkl")


def test_what_earlier_versions_imported_loads_and_counts_as_the_same_import(imported, tmp_path):
    """They wrote position 0 and all of our defaults."""
    new = open_snapshot(imported / "out")
    old = tmp_path / "old"
    old.mkdir()
    (old / "generator.safetensors").write_bytes((imported / "out/generator.safetensors").read_bytes())
    details = {
        "family": new.family.model_dump(mode="json"),
        "spec": asdict(new.spec),
        "classes": list(new.classes),
        "stage": asdict(new.stage),
        "data": {},
        "origin": new.manifest.details["origin"],
    }
    files = {name: asdict(entry) for name, entry in digest_folder(old).items()}
    body = {"kind": "snapshot", "images_seen": 0, "step": 0, "world_size": 1, "config_digest": ""}
    body |= {"format": 1, "code": {}, "files": files, "details": details}
    (old / "manifest.json").write_text(json.dumps(body))
    snapshot = open_snapshot(old)
    assert (snapshot.family, snapshot.stage, snapshot.spec) == (new.family, new.stage, new.spec)
    assert (snapshot.images_seen, snapshot.age) == (None, "imported from faces.pkl")
    assert snapshot.weights().keys() == new.weights().keys()
    before = (old / "manifest.json").read_bytes()
    assert main(["import", str(imported / "faces.pkl"), str(old)]) == 0
    assert (old / "manifest.json").read_bytes() == before
