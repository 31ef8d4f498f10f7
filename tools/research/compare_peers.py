"""How far our networks, and our training, are from other projects', with the same weights and inputs.

Examples:
  python -m tools.research.compare_peers --peer stylegan2-ada-pytorch=../stylegan2-ada-pytorch
  python -m tools.research.compare_peers --peer stylegan2-ada-pytorch=../stylegan2-ada-pytorch --train 16
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import UserError
from tools.bench.machine import write_rows
from tools.research import parity
from tools.research.parity import ParityRow, lockstep, name_of, offering
from tools.research.parity.lockstep import Distance
from tools.research.parity.lockstep.recorded import Record
from tools.research.parity.lockstep.recorded import save as save_lockstep
from tools.research.parity.recorded import save


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if all differences are within their limits, 1 if one is not, 2 for wrong usage."""
    options = parse(arguments)
    try:
        chosen = [checkout_of(argument) for argument in options.peer]
        if options.train is not None:
            return trained(chosen, options)
        if options.record is not None:
            return recorded(chosen, options.record)
        rows = [row for peer, checkout in chosen for row in compared(peer, checkout)]
    except UserError as error:
        print(f"compare_peers: error: {error}", file=sys.stderr)
        return 2
    write_rows(options.json, [{**asdict(row), "ok": row.ok} for row in rows])
    far = [row for row in rows if not row.ok]
    print(f"{len(rows)} comparisons, {len(far)} above their limits")
    return 1 if far else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(sorted(peers()))
    parser.add_argument("--peer", action="append", required=True, metavar="NAME=CHECKOUT",
        help=f"compare with this checkout; may be repeated; names: {names}")  # fmt: skip
    parser.add_argument("--train", type=int, metavar="STEPS",
        help="instead train so many steps beside their loop; 16 have every phase")  # fmt: skip
    parser.add_argument("--small", action="store_true",
        help="with --train: at the size that tests keep")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument("--record", type=Path, metavar="FILE",
        help="instead write outputs of the peer, or of its training, for tests")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.train is not None and options.train < 1:
        parser.error(f"--train {options.train}: at least 1 step is wanted")
    if options.small and options.train is None:
        parser.error("--small: --train STEPS is wanted with it")
    return options


def peers() -> dict[str, ModuleType]:
    """The modules of tools/research/parity that compare, by the peer's name."""
    return offering(parity, "compare")


def checkout_of(argument: str) -> tuple[ModuleType, Path]:
    """NAME=CHECKOUT to module and folder. Errors: UserError for an unknown name or another folder."""
    name, equals, folder = argument.partition("=")
    known = peers()
    if name not in known or not equals:
        raise UserError(
            f"--peer {argument}: NAME=CHECKOUT is wanted; known names: {', '.join(sorted(known))}"
        )
    checkout, landmark = Path(folder).expanduser().absolute(), known[name].LANDMARK
    if not (checkout / landmark).is_file():
        raise UserError(f"--peer {argument}: no checkout of {name} there (it has no file {landmark})")
    return known[name], checkout


def recorded(chosen: Sequence[tuple[ModuleType, Path]], file: Path) -> int:
    """Writes the cases of one peer."""
    if len(chosen) != 1 or not hasattr(chosen[0][0], "record"):
        raise UserError("--record: one peer that records is wanted, such as stylegan2-ada-pytorch")
    peer, checkout = chosen[0]
    cases = peer.record(checkout)
    save(file, name_of(peer), checkout, cases)
    print(f"{file}: {len(cases)} cases")
    return 0


def trained(chosen: Sequence[tuple[ModuleType, Path]], options: argparse.Namespace) -> int:
    """Lockstep with each peer, or its record."""
    if options.record is not None:
        return recorded_training(chosen, options.record, options.train)
    far = 0
    rows: list[dict[str, Any]] = []
    for peer, checkout in chosen:
        apart = trained_beside(name_of(peer), checkout, options.train, options.small)
        far += sum(not distance.ok for distance in apart)
        rows += [{"peer": name_of(peer), **asdict(d), "ok": d.ok} for d in apart]
    write_rows(options.json, rows)
    print(f"{len(rows)} distances, {far} above their limits")
    return 1 if far else 0


def trained_beside(name: str, checkout: Path, steps: int, small: bool) -> list[Distance]:
    """The distances of one peer, printed: with its law aligned, and as it is."""
    if name in lockstep.NOT_DRIVEN:
        print(f"{name}: its loop is not driven beside ours: {lockstep.NOT_DRIVEN[name]}")
        return []
    loop = lockstep.loops()[name]
    print(f"{name}: ours and theirs differ by law in\n" + "\n".join(f"  - {law}" for law in loop.LAWS))
    rows = []
    for aligned in (True, False):
        print(f"\n{name}, {'aligned' if aligned else 'as both are'}: theirs (ours moved by 1e-7)")
        part, _ = lockstep.lockstep(loop, checkout, steps, small=small, aligned=aligned)
        print_table(part)
        rows += part
    return rows


def print_table(distances: Sequence[Distance]) -> None:
    """A line a quantity; steps 1, 2, 4, ... and the last."""
    last = max(distance.step for distance in distances)
    steps = sorted({last, *(1 << k for k in range(last.bit_length()))})
    print(f"{'':28}" + "".join(f"{f'step {step}':>22}" for step in steps if step <= last))
    for what in dict.fromkeys(distance.what for distance in distances):
        cells = [
            f"{d.theirs:.1e} ({d.yardstick:.1e}){' ' if d.ok else '!'}"
            for d in distances
            if d.what == what and d.step in steps
        ]
        print(f"{what:28}" + "".join(f"{cell:>22}" for cell in cells))


def recorded_training(chosen: Sequence[tuple[ModuleType, Path]], file: Path, steps: int) -> int:
    """Writes where one peer's loop came to, aligned and small."""
    loops = lockstep.loops()
    if len(chosen) != 1 or name_of(chosen[0][0]) not in loops:
        raise UserError(f"--record with --train: one peer is wanted of {', '.join(sorted(loops))}")
    peer, checkout = chosen[0]
    loop: Any = loops[name_of(peer)]
    distances, digests = lockstep.lockstep(loop, checkout, steps, small=True, aligned=True)
    if far := [distance for distance in distances if not distance.ok]:
        raise UserError(f"--record {file}: {far[0].what} is too far from ours after step {far[0].step}")
    setting = loop.setting(small=True, aligned=True)
    save_lockstep(file, checkout, Record(name_of(peer), setting, digests))
    print(f"{file}: {len(digests)} digests")
    return 0


def compared(peer: ModuleType, checkout: Path) -> list[ParityRow]:
    """The rows of one peer, printed."""
    rows: list[ParityRow] = peer.compare(checkout)
    for row in rows:
        verdict = "" if row.ok else "  ABOVE ITS LIMIT"
        print(f"{row.name:42} {row.what:40} {row.difference:9.2e}  (limit {row.limit:.0e}){verdict}")
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
