"""The check of a GPU: limits are kept, and what was found; every step runs on a CPU; its pack is used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ops.build import obtain
from ops.building.cache import ENVIRONMENT, MANIFEST, Cache
from ops.building.make import Made
from ops.building.recipe import cpu_recipe
from ops.building.tools import CannotBuild
from pipeline.contracts import Process
from pipeline.errors import RunFailed, UserError
from tests.tools.check_steps import dying, failing, hanging, lacking, quick, slow
from tools.gpu_check import commands, convolutions, kernels, pack, report, training
from tools.gpu_check.__main__ import main
from tools.gpu_check.runner import CheckSettings, run
from tools.gpu_check.step import Conditions, Step, StepResult, figure
from tools.gpu_check.steps import STEPS

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def results_of(steps, out, budget=100.0, **more):
    order = CheckSettings(out, CPU, budget, **more)
    return {result.step: result for result in run(steps, order, lambda result: None)}


def alive(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


def test_a_step_at_its_limit_is_killed_with_its_children_and_the_next_goes_on(tmp_path):
    found = results_of([Step("hangs", 6, "", hanging), Step("quick", 90, "", quick)], tmp_path)
    assert found["hangs"].state == "killed"
    assert 5 < found["hangs"].seconds < 90
    (row,) = found["hangs"].rows  # what it found before stays
    for _ in range(600):
        if not alive(row["value"]):
            break
        time.sleep(0.05)
    assert not alive(row["value"])
    assert found["quick"].state == "ok"
    assert found["quick"].rows[0]["value"] == 7
    assert [one["step"] for one in json.loads((tmp_path / "steps.json").read_text())["steps"]] == [
        "hangs",
        "quick",
    ]


def test_failures_and_what_is_lacking_are_told_apart(tmp_path):
    steps = [Step(f.__name__, 90, "", f) for f in (failing, lacking, dying, quick)]
    found = results_of(steps, tmp_path, budget=1000)
    assert {name: one.state for name, one in found.items()} == {
        "failing": "failed", "lacking": "left out", "dying": "failed", "quick": "ok",
    }  # fmt: skip
    assert found["failing"].why == "ArithmeticError: not finite"
    assert found["lacking"].why == "no such program"
    assert found["dying"].why == "exit code 9: see log.txt"
    assert len(found["failing"].rows) == len(found["dying"].rows) == 1
    assert "Traceback" in (tmp_path / "log.txt").read_text()


def test_time_left_over_is_the_later_steps_and_the_budget_leaves_out_the_last(tmp_path):
    steps = [Step("quick", 90, "", quick), Step("slow", 0.1, "", slow), Step("late", 30, "", quick)]
    found = results_of(steps, tmp_path, budget=100)
    assert found["slow"].state == "ok"
    assert found["slow"].seconds >= 1.5
    assert found["late"].state == "left out"
    assert found["late"].why == "beyond the budget of 100 s"


def test_a_step_beside_others_takes_none_of_their_time(tmp_path):
    steps = [Step("beside", 90, "", slow, beside=True), Step("quick", 90, "", quick)]
    found = results_of(steps, tmp_path, budget=90)
    assert list(found) == ["quick", "beside"]
    assert found["beside"].state == found["quick"].state == "ok"
    assert 1.5 <= found["beside"].seconds < 90


def test_tiny_sizes_are_the_rehearsals(tmp_path):
    step = Step("quick", 90, "", quick, {"number": 1}, {"number": 2})
    assert results_of([step], tmp_path / "a")["quick"].rows[0]["value"] == 1
    assert results_of([step], tmp_path / "b", tiny=True)["quick"].rows[0]["value"] == 2


def test_the_table_fits_into_nine_minutes():
    assert sum(step.seconds for step in STEPS if not step.beside) <= 540
    assert len({step.name for step in STEPS}) == len(STEPS)


@pytest.mark.slow
def test_every_step_runs_in_the_rehearsal(tmp_path):
    command = [sys.executable, "-m", "tools.gpu_check", "--rehearse", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    found = json.loads((tmp_path / "steps.json").read_text())["steps"]
    ends = {one["step"]: (one["state"], one["why"]) for one in found}
    without = {"peer": "no --peer", "plugins": "no --peer"}
    if shutil.which("ncu") is None:
        without["ncu"] = "ncu is not on PATH"
    wanted = {step.name: ("ok", "") for step in STEPS}
    wanted |= {name: ("left out", why) for name, why in without.items()}
    assert ends == wanted, done.stdout[-3000:] + (tmp_path / "log.txt").read_text()[-3000:]
    assert done.returncode == 0
    assert all(one["rows"] for one in found if one["state"] == "ok")
    assert (tmp_path / "report.md").read_text().count("| `python -m tools.gpu_check") == len(STEPS) - len(
        without
    )
    assert {path.name for path in tmp_path.iterdir()} == {"log.txt", "report.md", "rows.jsonl", "steps.json"}


def test_lines_of_the_ledger():
    rows = tuple(figure(f"copy {i}", 4300.04, "GB/s") for i in range(20))
    ran = StepResult("ceilings", "ok", 3.0, rows)
    died = StepResult("peer", "killed", 70.0, (figure("a|b", 1, "ms"),), "not done after 70 s")
    lines = report.ledger(
        [ran, died, StepResult("ncu", "left out", 0.0, (), "no ncu")], "python -m x", "H200"
    )
    assert len(lines) == 2
    assert all(line.count(" | ") == 4 for line in lines)
    assert "`python -m x --only ceilings` | copy 0 4300 GB/s; copy 1" in lines[0]
    assert lines[0].endswith("4 more in steps.json |")
    assert "KILLED: not done after 70 s. a/b 1 ms" in lines[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "ceiling", "--rehearse"], "--only ceiling: unknown; allowed: doctor"),
        (["--rehearse", "--budget", "0"], "--budget 0"),
        (["--rehearse", "--peer", "nobody=."], "--peer nobody=."),
        (["--rehearse", "--packed", "nowhere"], "--packed nowhere"),
        (["--pack", "x", "--present", "nowhere"], "--present nowhere"),
    ],
)
def test_wrong_words_are_a_users_error(words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        main(words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="gpu: one is here")
def test_without_a_gpu_it_says_what_to_do():
    with pytest.raises(UserError, match="--rehearse"):
        main([])


def test_busy_is_the_covered_share_of_the_span():
    share, span = training.busy([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 2.5), (9.0, 10.0)])
    assert span == 10
    assert share == pytest.approx((3 + 1 + 1) / 10)
    assert training.busy([]) == (0.0, 0.0)


def test_a_float32_that_is_not_true_is_an_error(monkeypatch):
    assert convolutions.relative_error("float32 NCHW", CPU) < 1e-6
    kinds = dict(convolutions.COMPUTATIONS)
    kinds["float32 NCHW"] = replace(kinds["float32 NCHW"], dtype=torch.bfloat16)
    monkeypatch.setattr(convolutions, "COMPUTATIONS", kinds)
    with pytest.raises(ArithmeticError, match="float32 NCHW"):
        convolutions.relative_error("float32 NCHW", CPU)


def test_waits_are_counted_by_place():
    def step():
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    trainer = SimpleNamespace(step=step, engine=SimpleNamespace(process=Process()))
    found = training.waits_of(trainer, 3)
    assert found.total() == 3
    assert next(iter(found)).startswith("test_gpu_check.py:")


_KERNEL = '"0","1","void hrgan::affine_kernel<float, 1>(Args<float>)"'
NCU = f"""some words of the program
==PROF== Connected to process 1
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
{_KERNEL},"GPU Speed Of Light","Memory Throughput","%","81.5"
{_KERNEL},"GPU Speed Of Light","Duration","us","1,234.5"
{_KERNEL},"Launch Statistics","Registers Per Thread","register/thread","40"
{_KERNEL},"Memory Workload","Memory Throughput","Tbyte/second","3.1"
"""


def test_what_ncu_says_is_read(tmp_path, monkeypatch):
    tool = tmp_path / "ncu"
    tool.write_text(f"""#!{sys.executable}
import subprocess, sys
command = sys.argv[sys.argv.index({sys.executable!r}):]
print({NCU!r}) if subprocess.run(command).returncode == 0 else sys.exit(5)
""")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sizes = {"images": 2, "channels": 8, "side": 8, "type": "float32"}
    found = {row["what"]: row["value"] for row in kernels.ncu(Conditions(CPU, tmp_path, (), sizes))}
    kernel = "0 affine_kernel<float, 1>"
    assert found == {
        f"{kernel}: Memory Throughput": 81.5,
        f"{kernel}: Duration": 1234.5,
        f"{kernel}: Registers Per Thread": 40.0,
    }
    with pytest.raises(RuntimeError, match="ncu"):  # the program fails
        list(kernels.ncu(Conditions(CPU, tmp_path, (), {**sizes, "type": "nothing"})))
    with pytest.raises(ValueError, match="no kernel of ours"):
        list(kernels.metrics("==PROF== nothing"))


def test_pytests_last_line():
    text = "collected 5 items\nFAILED a::b - 3 passed in words\n2 failed, 40 passed, 1 skipped in 3.2s\n"
    assert commands.counted(text) == {"failed": 2, "passed": 40, "skipped": 1}
    assert commands.counted("no tests ran") == {}


def test_the_pack_has_what_is_not_there_and_what_that_needs():
    whole = pack.closure(["pydantic>=2", "torch>=2"], set())
    names = {one.split("==")[0] for one in whole}
    assert {"pydantic", "pydantic-core", "annotated-types"} <= names
    assert "torch" not in names
    assert pack.closure(["pydantic>=2"], names) == set()
    less = {one.split("==")[0] for one in pack.closure(["pydantic>=2"], {"typing-extensions"})}
    assert "pydantic-core" in less
    assert "typing-extensions" not in less
    with pytest.raises(RunFailed, match="no-such-package"):
        pack.closure(["no-such-package"], set())


def test_the_pack_keeps_what_was_made_now_and_nothing_older(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    root = Path("pack/ops")
    for name in ("older", "a", "b"):
        (root / name).mkdir(parents=True)
    (root / "older.lock").touch()

    def obtain(kind, tell, **settings):
        assert settings["archs"] == ("9.0" if kind == "cuda" else None)
        return Made(Path(os.environ[ENVIRONMENT], "b" if kind == "cuda" else "a", f"{kind}.so"))

    monkeypatch.setattr(pack, "obtain", obtain)
    before = os.environ.get(ENVIRONMENT)
    pack.compiled(root, "9.0")
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]
    assert os.environ.get(ENVIRONMENT) == before


def test_a_carried_library_is_used_whichever_compiler_made_it(tmp_path, monkeypatch):
    try:
        made = obtain("cpu", lambda line: None, build=False).path
    except CannotBuild as error:
        pytest.skip(f"compiler: {error}")
    monkeypatch.setenv(ENVIRONMENT, os.environ.get(ENVIRONMENT, ""))  # put back at the end
    recipe = cpu_recipe()
    carried = tmp_path / "pack/ops" / ("0" * 32)
    carried.mkdir(parents=True)
    shutil.copy2(made, carried)
    sums = json.loads((made.parent / MANIFEST).read_text())["libraries"]
    cases = (
        ({"cxx": "another compiler"}, ["cuda"]),
        ({"torch": "0.1"}, ["cpu", "cuda"]),
        ({"broken": True}, ["cpu", "cuda"]),
    )
    for number, (change, left) in enumerate(cases):
        if "broken" in change:
            (carried / made.name).write_bytes(b"no library")
            sums = {made.name: hashlib.sha256(b"no library").hexdigest()}
        manifest = {"identity": {**recipe.identity, **change}, "libraries": sums}
        (carried / MANIFEST).write_text(json.dumps(manifest))
        root = tmp_path / f"cache-{number}"
        assert pack.adopt(tmp_path / "pack", root) == left
        found = Cache(root).read(recipe.digest)
        assert (found is not None) == ("cpu" not in left)
