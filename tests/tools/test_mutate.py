"""The mutation run: which changes are drawn, what is kept, what is said. It does without mutmut itself."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tools.torture import mutate

ROOT = Path(__file__).parents[2]
KNOWN = {f"pipeline.losses.a.x_f__mutmut_{number}": None for number in range(50)}


def test_a_sample_is_the_same_for_a_seed_and_a_larger_one_keeps_it() -> None:
    few, many = mutate.sample(KNOWN, 10, 3), mutate.sample(dict(reversed(KNOWN.items())), 20, 3)
    assert many[:10] == few
    assert len(set(many)) == 20
    assert set(mutate.sample(KNOWN, 10, 4)) != set(few)
    assert sorted(mutate.sample(KNOWN, 99, 3)) == sorted(KNOWN)


def test_each_room_has_its_code_and_its_tests() -> None:
    for room in mutate.ROOMS:
        config = configparser.ConfigParser()
        config.read_string(mutate.setting(room))
        found = config["mutmut"]
        assert (ROOT / found["source_paths"]).is_dir()
        assert (ROOT / found["pytest_add_cli_args_test_selection"]).is_dir()
        assert found["pytest_add_cli_args"].split("\n")[1:] == [
            "-p",
            "no:xdist",
            "-m",
            "not slow and not gpu",
        ]


def test_results_are_read_and_what_is_finished_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mutants/pipeline/losses"
    folder.mkdir(parents=True)
    (tmp_path / "setup.cfg").touch()
    (tmp_path / "mutants/mutmut-stats.json").touch()

    def write(codes: dict[str, int | None]) -> None:
        (folder / "a.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))

    asked: list[list[str]] = []

    def run(place: Path, names: list[str], until: float) -> str:
        asked.append(names)
        write({**mutate.results(place), **dict.fromkeys(names, 1)})
        return ""

    monkeypatch.setattr(mutate, "run", run)
    drawn = mutate.sample(KNOWN, 10, 0)
    write({**KNOWN, drawn[0]: 0, drawn[3]: 1})
    found = mutate.torture("losses", tmp_path, 10, 0, until=float("inf"))
    assert asked == [[name for name in drawn if name not in (drawn[0], drawn[3])]]
    assert found == {**dict.fromkeys(drawn, 1), drawn[0]: 0}
    mutate.torture("losses", tmp_path, 10, 0, until=float("inf"))
    assert len(asked) == 1


def test_a_row_a_room_and_then_the_survivors() -> None:
    codes = {"p.b": 0, "p.a": 33, "p.c": 1, "p.d": 3, "p.e": None, "p.f": 36, "p.g": -9}
    lines = mutate.table({"losses": codes, "storage": {}})
    assert lines[2:] == [
        "| losses | 7 | 2 | 1 | 1 | 2 | 1 |",
        "| storage | 0 | 0 | 0 | 0 | 0 | 0 |",
        "",
        "p.a",
        "p.b",
    ]


def test_wrong_words_and_a_missing_library_are_a_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^loses: no such room; allowed: evaluation, losses"):
        mutate.main(["loses"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'hrgan\[mutation\]'"):
        mutate.main(["losses"])
