"""How far our networks are from other projects', computed with the same weights and inputs.

Example: python -m tools.compare_peers --peer stylegan2-ada-pytorch=../stylegan2-ada-pytorch
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from pipeline.errors import UserError
from tools import parity
from tools.machine import write_rows
from tools.parity import Row
from tools.parity.recorded import save


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if all differences are within their limits, 1 if one is not, 2 for wrong usage."""
    options = parse(arguments)
    try:
        chosen = [checkout_of(argument) for argument in options.peer]
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
    parser = argparse.ArgumentParser(description=__doc__)
    names = ", ".join(sorted(peers()))
    parser.add_argument("--peer", action="append", required=True, metavar="NAME=CHECKOUT",
        help=f"compare with this checkout; may be repeated; names: {names}")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument("--record", type=Path, metavar="FILE",
        help="instead write outputs of the peer for fixed weights, for tests")  # fmt: skip
    return parser.parse_args(arguments)


def peers() -> dict[str, ModuleType]:
    """The modules of tools/parity that compare, by the peer's name."""
    modules = [
        importlib.import_module(f"{parity.__name__}.{info.name}")
        for info in pkgutil.iter_modules(parity.__path__)
    ]
    return {name_of(module): module for module in modules if hasattr(module, "compare")}


def name_of(module: ModuleType) -> str:
    """A peer's name."""
    name: str = getattr(module, "PEER", module.__name__.rpartition(".")[2])
    return name


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


def compared(peer: ModuleType, checkout: Path) -> list[Row]:
    """The rows of one peer, printed."""
    rows: list[Row] = peer.compare(checkout)
    for row in rows:
        verdict = "" if row.ok else "  ABOVE ITS LIMIT"
        print(f"{row.name:42} {row.what:40} {row.difference:9.2e}  (limit {row.limit:.0e}){verdict}")
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
