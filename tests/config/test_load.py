"""Reading configurations: inheritance, overrides, round trips, what a run may change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from pipeline.config.load import differing_keys, digest, dump_config, identity, load_config, read_dump
from pipeline.config.run import RunConfig
from pipeline.errors import UserError

MINIMAL = "family: {name: stylegan2}\n"


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.yaml"
    path.write_text(MINIMAL)
    return path


def test_defaults_are_the_schemas(minimal: Path) -> None:
    assert load_config(minimal) == RunConfig.model_validate({"family": {"name": "stylegan2"}})


def test_file_over_inherited_over_further_inherited_and_overrides_over_all(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("seed: 1\nbatch: {size: 8, micro: 4}\nfamily: {name: stylegan2}\n")
    (tmp_path / "sub/b.yaml").write_text("inherit: ../a.yaml\nseed: 2\nfamily: {z_dim: 64}\n")
    (tmp_path / "c.yaml").write_text("batch: {size: 16}\n")
    (tmp_path / "d.yaml").write_text("inherit: [sub/b.yaml, c.yaml]\nfamily: {w_dim: 32}\n")
    config = load_config(tmp_path / "d.yaml", ["family.z_dim=16", "length.images=3k", "seed=5", "seed=6"])
    assert (config.batch.size, config.batch.micro) == (16, 4)
    assert (config.family.z_dim, config.family.w_dim) == (16, 32)
    assert (config.seed, config.length.images) == (6, 3000)


def test_lists_are_replaced_not_joined(minimal: Path) -> None:
    assert load_config(minimal, ["family.ada.kinds=[noise]"]).family.ada.kinds == ("noise",)


def test_sections_are_joined_and_any_other_value_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sections.yaml"
    path.write_text(MINIMAL + "batch: {size: 8, micro: 4}\n")
    joined = load_config(path, ["batch={micro: 2}", "batch={}"])
    assert (joined.batch.size, joined.batch.micro) == (8, 2)
    for override in ("batch=[1]", "batch=3"):
        with pytest.raises(UserError, match=r"override: batch.*: is a section, not a value; its keys: size"):
            load_config(path, [override])
        assert load_config(path, [override, "batch={size: 6}"]).batch.size == 6


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("family.adam_eps=1e-4", "family.adam_eps", 1e-4),
        ("family.adam_eps=1.e-4", "family.adam_eps", 1e-4),
        ("family.r1_gamma=.5", "family.r1_gamma", 0.5),
        ("length.images=25M", "length.images", 25_000_000),
        ("length.images=25_000", "length.images", 25_000),
        ("length.images=1e3", "length.images", 1000),
        ("length.time=1h30m", "length.time", 5400.0),
        ("length.time=null", "length.time", None),
        ("family.ada.mode=off", "family.ada.mode", "off"),
        ("data.mirror=no", "data.mirror", False),
        ("data.path=2024-01-02", "data.path", "2024-01-02"),
        ("data.path=a=b.c", "data.path", "a=b.c"),
        ("data.path='12'", "data.path", "12"),
    ],
)
def test_values_mean_what_a_person_reads(minimal: Path, override: str, key: str, value: object) -> None:
    assert identity(load_config(minimal, [override])).get(key, "free") in (value, "free")
    section, _, rest = key.partition(".")
    found: object = getattr(load_config(minimal, [override]), section)
    for name in rest.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_one_e_minus_four_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "family:\n  name: stylegan2\n  generator_rate: 1e-4\n  ada: {mode: off}\n"
    )
    config = load_config(tmp_path / "a.yaml")
    assert config.family.generator_rate == 1e-4
    assert config.family.ada.mode == "off"


@pytest.mark.parametrize(
    "path", ["1e5", "off", "null", "12", "1:30", "a: b", "日本", "~", "0x1F", "tab\there"]
)
def test_dump_reads_back_equal(tmp_path: Path, minimal: Path, path: str) -> None:
    config = load_config(minimal, ["length.time=2h", "seed=9"])
    config = config.model_copy(update={"data": config.data.model_copy(update={"path": path})})
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert read_dump(tmp_path / "config.yaml") == config
    assert yaml.safe_load(dump_config(config))["data"]["path"] == path  # any other reader agrees


def test_model_dump_round_trip(minimal: Path) -> None:
    config = load_config(minimal)
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_dump_holds_every_key(minimal: Path) -> None:
    dumped = yaml.safe_load(dump_config(load_config(minimal)))
    assert set(dumped) == {"format", *RunConfig.model_fields}
    assert dumped["family"]["adam_beta2"] == 0.99


FREE = [
    "data.path=elsewhere",
    "length.images=1",
    "length.time=1h",
    "data.workers=0",
    "data.prefetch=1",
    "checkpoints.every_images=1",
    "checkpoints.keep=9",
    "snapshots.grid=1",
    "report.tensorboard=false",
    "ops.backend=reference",
    "engine.device=cpu",
]
BOUND = [
    "seed=1",
    "data.mirror=true",
    "data.lanes=8",
    "batch.micro=8",
    "family.r1_gamma=3",
    "family.ada.p=.5",
]


def test_what_a_restart_may_change(minimal: Path) -> None:
    before, after = load_config(minimal), load_config(minimal, FREE)
    assert before != after
    assert digest(before) == digest(after)
    assert differing_keys(before, after) == []


@pytest.mark.parametrize("override", BOUND)
def test_what_a_restart_may_not_change(minimal: Path, override: str) -> None:
    before, after = load_config(minimal), load_config(minimal, [override])
    assert digest(before) != digest(after)
    (difference,) = differing_keys(before, after)
    assert difference.startswith(override.partition("=")[0] + ": ")


def test_differing_keys_show_old_and_new(minimal: Path) -> None:
    after = load_config(minimal, ["batch.size=64", "data.labels=true", "family.ada.kinds=[noise]"])
    assert differing_keys(load_config(minimal), after) == [
        "data.labels: null -> true",
        "batch.size: 32 -> 64",
        'family.ada.kinds: ["blit", "geometry", "color"] -> ["noise"]',
    ]


def test_digest_is_a_function_of_values_not_of_spelling(tmp_path: Path, minimal: Path) -> None:
    (tmp_path / "b.yaml").write_text("batch: {size: 32}\nfamily: {r1_gamma: 10, name: stylegan2}\n")
    assert digest(load_config(tmp_path / "b.yaml")) == digest(load_config(minimal))
    assert len(digest(load_config(minimal))) == 64


def test_environment_is_never_read(minimal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HRGAN_SEED", "3")
    assert load_config(minimal).seed == 0
