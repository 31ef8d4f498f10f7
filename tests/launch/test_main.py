"""The command line: what is there, what it says to wrong usage, how it exits."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import launch.main
from launch.main import main
from pipeline.errors import RunFailed, UserError

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *(
        "init",
        "prepare",
        "train",
        "generate",
        "translate",
        "evaluate",
        "average",
        "import",
        "encode",
        "export",
    )
]
COMMANDS += ["measure-data", "runs", "board", "configs", "doctor", "explore", "submit"]
MINIMAL = "family: {name: stylegan2}\n"


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch.main", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


def _fail(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """The one line on stderr of a command that fails."""
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("hrgan: error: ")
    return captured.err.removeprefix("hrgan: error: ").rstrip("\n")


USAGE = {
    "": f"missing command; allowed: {', '.join(COMMANDS)}",
    "trian": "no such command 'trian'; did you mean 'train'? (see hrgan --help)",
    "submit": "missing command; allowed: train, evaluate, generate, prepare, encode (see hrgan submit",
    "submit trian x": "no such command 'trian'; did you mean 'train'? (see hrgan submit --help)",
    "submit train x": "missing option '--cluster' (see hrgan submit train --help)",
    "runs nosuch": "nosuch: no such folder; allowed: a run, or a folder of runs",
    "runs --watch 0": "invalid value for '--watch': ",
    "import x": "missing argument 'OUT' (see hrgan import --help)",
    "import x y": "x: cannot be read: No such file or directory; allowed: a .pkl of StyleGAN2 by",
    "--verson": "no such option: --verson; did you mean --version? (see hrgan --help)",
    "train": "missing argument 'CONFIG' (see hrgan train --help)",
    "train a.yaml --rum x": "no such option: --rum; did you mean --run? (see hrgan train --help)",
    "train a.yaml --seed 3": "no such option: --seed; settings are written key.path=value, such as",
    "train a.yaml --processes 0": "invalid value for '--processes': must be greater than or equal to 1",
    "train a.yaml --processes two": "invalid value for '--processes': must be a valid integer",
    "train a.yaml --run": "option '--run' requires an argument",
    "prepare": "missing argument 'SOURCE' (see hrgan prepare --help)",
    "prepare a b c": "got unexpected extra argument(s) (c) (see hrgan prepare --help)",
    "prepare a b --qualty 9": "no such option: --qualty; did you mean --quality? (see hrgan prepare --help)",
    "prepare a b --filter x": "invalid value for '--filter': 'x' is not one of 'box', 'bilinear', 'bicubic'",
    "prepare a b --size 3": "--size 3: must be HEIGHTxWIDTH in pixels, such as 256x192",
    "prepare a b --quality 101": "invalid value for '--quality': must be less than or equal to 100",
    "prepare nosuch b": "nosuch: no such source; allowed: a folder, .zip, .tar, ",
    "generate a b": "missing option '--count'",
    "evaluate a": "missing option '--data'",
    "evaluate nosuch --data b --metrics fidd": "--metrics: unknown metric 'fidd'; allowed: fid, kid, is, pr",
    "doctor x": "x: no such folder; allowed: the folder of a run (hrgan runs lists them)",
    "init": "missing argument 'PHOTOS' (see hrgan init --help)",
}


@pytest.mark.parametrize("arguments", USAGE)
def test_wrong_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _fail(capsys, *arguments.split()).startswith(USAGE[arguments])
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_name_file_line_and_nearest_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    assert _fail(capsys, "train", str(path)) == f"{path}: no such file"
    path.write_text(MINIMAL)
    expected = "override: batch.sizee=3: unknown key; did you mean batch.size?"
    assert _fail(capsys, "train", str(path), "batch.sizee=3") == expected
    path.write_text(MINIMAL + "batch: {sizee: 3}\n")
    assert _fail(capsys, "train", str(path)).startswith(f"{path} line 2: batch.sizee=3: unknown key")


def test_several_wrong_settings_have_a_line_each(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(MINIMAL)
    assert main(["train", str(path), "sed=1", "batch.size=0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("hrgan: error: override: ") for line in lines)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Calls of `launch.assembly.training.train`, which does nothing and returns 7."""
    calls: list[tuple[object, ...]] = []
    stand_in = ModuleType("launch.assembly.training")

    def train(*arguments: object) -> int:
        calls.append(arguments)
        return 7

    stand_in.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "launch.assembly.training", stand_in)
    return calls


def test_train_is_given_settings_run_and_processes(started: list[tuple[object, ...]], tmp_path: Path) -> None:
    path = tmp_path / "faces.yaml"
    path.write_text(MINIMAL)
    assert main(["train", str(path), "seed=4"]) == 7
    assert main(["train", str(path), "--run", "r", "batch.size=8", "--processes", "2", "seed=5"]) == 7
    (first, run, processes), (second, *rest) = started
    assert (first.seed, run, processes) == (4, Path("runs/faces"), 1)  # type: ignore[attr-defined]
    assert (second.seed, second.batch.size, *rest) == (5, 8, Path("r"), 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a.yaml: wrong"), 2, "a.yaml: wrong"),
        (RunFailed("gradients are not finite"), 1, "gradients are not finite"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full; the same command goes on"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "/x: permission denied"),
        (
            OSError(errno.ESTALE, "Stale file handle", "/x"),
            1,
            "/x: the file server knows the file no more (stale file handle); the same command goes on",
        ),
    ],
)
def test_how_commands_fail(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def examine() -> list[object]:
        raise error

    monkeypatch.setattr("launch.commands.doctor.examine", examine)
    assert _fail(capsys, "doctor", code=code) == line


def test_ctrl_c_ends_quietly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def examine() -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("launch.commands.doctor.examine", examine)
    assert main(["doctor"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def examine() -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr("launch.commands.doctor.examine", examine)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_help_lists_the_commands_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == COMMANDS
    assert "..." not in listed


@pytest.mark.parametrize("command", [*COMMANDS, "submit train", "submit evaluate", "submit generate"])
def test_every_command_shows_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([*command.split(), "-h"]) == 0
    text = capsys.readouterr().out
    examples = text.split("Examples:\n")[1].split("\n\n")[0].splitlines()
    assert all(line.strip().startswith(f"hrgan {command}") for line in examples)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from launch.main import main; main(['train', '--help'])\n"
        "heavy = {'torch', 'numpy', 'PIL', 'webdataset'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    name, version = capsys.readouterr().out.split()
    assert name == "hrgan"
    assert version[0].isdigit()


def test_as_a_program() -> None:
    done = _run("train", "nosuch.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("hrgan: error: nosuch.yaml: no such file")
    assert "Traceback" not in done.stderr


def test_the_console_script_is_this_program() -> None:
    script = Path(sys.executable).with_name("hrgan")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("hrgan ")


def test_completion_script_for_bash() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m launch.main --show-completion; exit $?"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "complete -o default -F _hrgan_completion hrgan" in done.stdout
    assert "_HRGAN_COMPLETE=complete_bash" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hrgan tr", ["train", "translate"]),
        ("hrgan ", COMMANDS),
        ("hrgan prepare a b --fo", ["--follow-links", "--format"]),
        ("hrgan prepare a b --format ", ["png", "jpg", "webp"]),
    ],
)
def test_completions_in_bash(words: str, expected: list[str]) -> None:
    done = _run(_HRGAN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    assert done.stdout.split() == expected


def test_every_command_is_registered_once() -> None:
    commands = launch.main.app.registered_commands
    names = [command.name or command.callback.__name__ for command in commands]  # type: ignore[union-attr]
    names += [group.typer_instance.info.name for group in launch.main.app.registered_groups]
    assert names == COMMANDS


def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["section"] for finding in findings} >= {"versions", "compilers", "machine", "cluster"}
    torch = next(finding for finding in findings if finding["name"] == "torch")
    assert torch["fine"] is True
