"""Formats on disk: each states its version, a newer one is refused in a line, older ones are brought up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.load import dump_config, load_config, read_dump
from pipeline.config.run import RunConfig
from pipeline.errors import Damaged, UserError
from pipeline.evaluation.results import Result, read_result
from pipeline.storage.job import JOB, Job, read_job, write_job
from pipeline.versions import Stored

STEPS = {
    1: lambda body: {**body, "b": body["a"] + 1},
    2: lambda body: {"c": body["a"] + body["b"]},
}


@given(st.integers(-5, 5))
def test_an_older_version_goes_through_every_step(number: int) -> None:
    stored = Stored(3, STEPS, unstated=2)
    assert stored.current({"format": 1, "a": number}, "x") == {"c": 2 * number + 1}
    assert stored.current({"a": number, "b": 1}, "x") == {"c": number + 1}
    assert stored.current(stored.stamped({"c": number}), "x") == {"c": number}


def test_a_content_is_not_changed_and_no_object_is_left_to_the_schema() -> None:
    content = {"format": 1, "a": 1}
    Stored(3, STEPS).current(content, "x")
    assert content == {"format": 1, "a": 1}
    assert Stored(1).current([1], "x") == [1]


@pytest.mark.parametrize("stated", [0, -1, True, "1", 1.0, None, [1]])
def test_what_never_was_a_version_is_damage(stated: Any) -> None:
    with pytest.raises(Damaged, match=r"^x: unknown format \(this version reads format 2\)$"):
        Stored(2, {1: dict}).current({"format": stated}, "x")
    with pytest.raises(Damaged, match="unknown format"):
        Stored(1).current({}, "x")


def _config(folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_text(dump_config(RunConfig.model_validate({"family": {"name": "stylegan2"}})))
    return path


def _job(folder: Path) -> Path:
    write_job(folder, Job("running"))
    return folder / JOB


def _result(folder: Path) -> Path:
    path = folder / "8.json"
    path.write_bytes(Result(8, "f" * 64, {"swd": {"value": 1.5}}).to_bytes())
    return path


FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "configuration": (_config, read_dump),
    "job": (_job, lambda path: read_job(path.parent)),
    "result": (_result, read_result),
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_states_its_version_and_one_without_is_the_first(tmp_path: Path, name: str) -> None:
    write, read = FILES[name]
    path = write(tmp_path)
    content, whole = yaml.safe_load(path.read_text()), read(path)
    assert content.pop("format") == 1
    path.write_text(json.dumps(content))
    assert read(path) == whole
    path.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(UserError) as refusal:
        read(path)
    said = str(refusal.value)
    assert said.startswith(str(path))
    assert "format 2, of a newer version of hrgan; this one reads format 1: use that version" in said
    assert "\n" not in said


def test_a_version_in_a_configuration_is_shown_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("seed: 1\nformat: 7\n")
    with pytest.raises(UserError, match=r"a\.yaml line 2: format 7, of a newer version"):
        load_config(path)
    path.write_text("format: one\n")
    with pytest.raises(UserError, match=r"a\.yaml line 1: unknown format"):
        load_config(path)
