"""How does a command report faults, and is everything the same afterwards? It is run undisturbed, then many
times with a fault at a call drawn by the seed; each time the same command follows without a fault, and the
results are compared.

python -m tools.torture.inject_faults train --faults 100 --kills 40 --losses 40 --out out/faults
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.storage.job import JOB
from tools.torture.inject_faults.durable import MODELS, Disk, read_log
from tools.torture.inject_faults.shim import CALLS, Action, Fault, compile_shim, read_state, variables
from tools.torture.inject_faults.warm import Commands, Ended
from tools.torture.inject_faults.workloads import WORKLOADS, Workload, differences

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "ESTALE", "EROFS", "EBUSY", "EACCES")
_WRITING = ("ENOSPC", "EDQUOT", "EROFS", "EBUSY", "EACCES")  # no answer to a read
_FAILING: tuple[Action, ...] = ("once", "on")
_MOST_LINES = 6  # of what a command may say of one fault


@dataclass(frozen=True)
class FaultCase:
    """The outcome of one fault. said: how the command reported it. wrong: what is not as it should be."""

    kind: str
    what: str
    said: str
    wrong: tuple[str, ...]
    lines: tuple[str, ...]


class Bench:
    """A workload's undisturbed result in `folder`, with which disturbed ones are compared."""

    def __init__(self, commands: Commands, workload: Workload, folder: Path, seconds: float) -> None:
        self._commands, self._workload = commands, workload
        self._folder, self._seconds = folder, seconds
        self._root, self._start, self._state = folder / "case", folder / "start", folder / "state"
        workload.make(self._root, self._succeed)
        shutil.copytree(self._root, self._start)
        self._disturb(None)
        (self._root / workload.out).rename(folder / "undisturbed")
        self.counts = read_state(self._state)[1]

    def _succeed(self, arguments: Sequence[str]) -> None:
        ended = self._commands.run(arguments, self._folder / "making.txt", {}, self._seconds)
        if ended.code != 0:
            raise RuntimeError(f"hrgan {' '.join(arguments)}: exit code {ended.code}\n{ended.text}")

    def _run(self, name: str, environment: dict[str, str]) -> Ended:
        arguments = self._workload.arguments(self._root)
        return self._commands.run(arguments, self._folder / f"{name}.txt", environment, self._seconds)

    def _disturb(self, fault: Fault | None, log: Path | None = None) -> Ended:
        self._state.unlink(missing_ok=True)
        return self._run("disturbed", variables(self._root, self._state, fault, log))

    def _begin(self) -> None:
        shutil.rmtree(self._root)
        shutil.copytree(self._start, self._root)

    def case(self, fault: Fault) -> FaultCase | None:
        """Returns the outcome of a fault; None if its call never came, since threads do not always make
        equally many."""
        self._begin()
        ended = self._disturb(fault)
        if not read_state(self._state)[0]:
            return None
        said = _said(ended)
        # Where calls fail for good, nothing can be written that says so.
        wrong = self._untrue(ended) if fault.action == "once" else []
        return self._case(fault.kind, str(fault), said, wrong, ended)

    def loss(self, fault: Fault, chance: random.Random) -> FaultCase | None:
        """Returns the outcome of a power loss after the call of the fault."""
        self._begin()
        disk, log = Disk(self._root), self._folder / "log"
        log.unlink(missing_ok=True)
        ended = self._disturb(fault, log)
        if not read_state(self._state)[0]:
            return None
        disk.replay(read_log(log))
        model = chance.choice(MODELS)
        disk.lose_power(model, chance)
        return self._case(
            "power loss", f"power loss after {fault.call} {fault.number} ({model})", "killed", [], ended
        )

    def _case(self, kind: str, what: str, said: str, wrong: list[str], ended: Ended) -> FaultCase:
        lines = ended.text.splitlines()
        again = self._run("again", {})
        if again.code != 0:
            wrong = [*wrong, f"the same command again: {_said(again)}"]
            lines += ["-- again:", *again.text.splitlines()]
        wrong += differences(self._folder / "undisturbed", self._root / self._workload.out)
        return FaultCase(kind, what, said, tuple(wrong), tuple(lines))

    def _untrue(self, ended: Ended) -> list[str]:
        """Where job.json says something else than the exit code."""
        path = self._root / self._workload.out / JOB
        if not path.exists():
            return []
        state, wanted = json.loads(path.read_bytes())["state"], "finished" if ended.code == 0 else "failed"
        return [] if state == wanted else [f"job.json: {state}, should be {wanted}"]


def _said(ended: Ended) -> str:
    if ended.code is None:
        return "hang"
    if "Traceback (most recent call last)" in ended.text:
        return "traceback"
    if ended.code < 0:
        return "killed"
    if ended.code == 0:
        return "went on"
    lines = [line for line in ended.text.splitlines() if line.startswith("hrgan: error: ")]
    return f"line, exit {ended.code}" if 0 < len(lines) <= _MOST_LINES else "traceback"


def errors(counts: dict[str, int], chance: random.Random) -> Iterator[Fault]:
    """Without end: calls that fail, each kind of call and of error alike."""
    made = [call for call in CALLS if counts[call]]
    for error in itertools.cycle(ERRORS):
        call = chance.choice(made)
        if call != "read" or error not in _WRITING:
            yield Fault(call, chance.randint(1, counts[call]), chance.choice(_FAILING), error)


def kills(counts: dict[str, int], chance: random.Random) -> Iterator[Fault]:
    """Without end: calls that are a process's last."""
    made = [call for call in CALLS if counts[call] and call != "read"]
    while True:
        call = chance.choice(made)
        actions: tuple[Action, ...] = ("before", "after", "tear") if call == "write" else ("before", "after")
        action = chance.choice(actions)
        yield Fault(call, chance.randint(1, counts[call]), action)


def cases(bench: Bench, faults: int, killed: int, losses: int, seed: int) -> Iterator[FaultCase]:
    """Yields that many faults of each kind, mixed."""
    chance = random.Random(seed)
    failing, ending = errors(bench.counts, chance), kills(bench.counts, chance)
    kinds = ["fault"] * faults + ["kill"] * killed + ["loss"] * losses
    chance.shuffle(kinds)
    for kind in kinds:
        case = None
        while case is None:
            fault = next(failing if kind == "fault" else ending)
            case = bench.loss(fault, chance) if kind == "loss" else bench.case(fault)
        yield case


def table(results: Sequence[FaultCase]) -> str:
    """Returns the counts by kind of fault, in Markdown."""
    rows = [
        "| fault | cases | same to the bit | went on | clear line | traceback | hang | something wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys(case.kind for case in results)
    rows += [_row(kind, [case for case in results if case.kind == kind]) for kind in kinds]
    return "\n".join([*rows, _row("all", results)])


def _row(kind: str, results: Sequence[FaultCase]) -> str:
    said = Counter(case.said.split(",")[0] for case in results)
    same = sum(not case.wrong for case in results)
    figures = [
        len(results),
        same,
        said["went on"],
        said["line"],
        said["traceback"],
        said["hang"],
        len(results) - same,
    ]
    return f"| {kind} | {' | '.join(map(str, figures))} |"


def main() -> int:
    """Runs the faults and prints the table. The exit code is 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--faults", type=int, default=100, help="calls that fail")
    parser.add_argument("--kills", type=int, default=40, help="processes that are killed at a call")
    parser.add_argument("--losses", type=int, default=40, help="losses of power")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60, help="after which a command counts as hanging")
    parser.add_argument("--code", type=Path, default=Path(), help="the checkout whose commands run; this one")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the runs; emptied first")
    options = parser.parse_args()
    out = options.out.absolute()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    results = []
    with Commands(options.code.resolve(), compile_shim(out)) as commands:
        bench = Bench(commands, WORKLOADS[options.workload], out, options.seconds)
        print(f"calls of an undisturbed run: {bench.counts}", flush=True)
        for case in cases(bench, options.faults, options.kills, options.losses, options.seed):
            results.append(case)
            print(f"{case.what}: {case.said}{''.join(f'; {text}' for text in case.wrong)}", flush=True)
            if case.wrong or case.said in ("traceback", "hang"):
                with (out / "cases.txt").open("a") as file:
                    file.write("\n".join([f"== {case.what}: {case.said}", *case.wrong, *case.lines, "", ""]))
    print(table(results))
    return 1 if any(case.wrong or case.said in ("traceback", "hang") for case in results) else 0


if __name__ == "__main__":
    sys.exit(main())
