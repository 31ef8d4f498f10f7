"""A family's frozen networks: their files are read, checked and put in place before any work starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pipeline.config.run import FixtureConfig, RunConfig
from pipeline.contracts import Family, Process
from pipeline.engines.process import from_all
from pipeline.errors import UserError
from pipeline.storage.fixtures import read_fixture
from pipeline.storage.snapshots import Snapshot


def check_fixtures(config: RunConfig, family: Family) -> None:
    """Raises UserError unless the configuration names a file for each of the family's fixtures, and no
    others."""
    wanted = family.needs.fixtures
    for name in wanted:
        if name not in config.fixtures:
            raise UserError(
                f"fixtures.{name}: not set, and family {config.family.name} needs it; "
                f"allowed: fixtures.{name}.file=FILE, a .safetensors file"
            )
    for name in config.fixtures:
        if name not in wanted:
            raise UserError(
                f"fixtures.{name}: family {config.family.name} has no fixture of that name; "
                f"allowed: {', '.join(wanted) or 'none'}"
            )


def with_fixtures(config: RunConfig, family: Family, process: Process) -> RunConfig:
    """Gives `family` its fixtures, on the device, and returns `config` with the digest of each.

    Raises UserError on all ranks if a file is missing, does not match the configured digest, does not fit, or
    is not the same file on all hosts.
    """
    check_fixtures(config, family)
    if not config.fixtures:
        return config
    loaded, fault = _Loaded({}, {}), None
    try:
        loaded = load_fixtures(config.fixtures, family, process.device)
    except UserError as error:
        fault = str(error)
    for other in from_all((loaded.digests, fault), process):
        if other[1] is not None:
            raise UserError(other[1])
        for name, digest in other[0].items():
            if digest != loaded.digests[name]:
                raise UserError(
                    f"fixtures.{name}: {config.fixtures[name].file}: not the same file on all hosts; "
                    "allowed: a file that all hosts share"
                )
    family.fixtures = loaded.modules
    known = {
        name: fixture.model_copy(update={"sha256": loaded.digests[name]})
        for name, fixture in config.fixtures.items()
    }
    return config.model_copy(update={"fixtures": known})


@dataclass(frozen=True)
class _Loaded:
    modules: Mapping[str, nn.Module]
    digests: Mapping[str, str]


def load_fixtures(
    fixtures: Mapping[str, FixtureConfig],
    family: Family,
    device: torch.device,
    names: Collection[str] | None = None,
) -> _Loaded:
    """The frozen networks of these names (None: all) and the sha256 of their files."""
    modules, digests = {}, {}
    for name, make in family.needs.fixtures.items():
        if names is not None and name not in names:
            continue
        file = Path(fixtures[name].file)
        tensors, digests[name] = read_fixture(f"fixtures.{name}", file, fixtures[name].sha256)
        try:
            module = make(tensors)
        except (RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
            raise UserError(f"fixtures.{name}: {file}: does not fit: {reason}") from error
        modules[name] = module.to(device).eval().requires_grad_(False)
    return _Loaded(modules, digests)


def recall_fixtures(
    snapshot: Snapshot, family: Family, device: torch.device, *, sampling: bool = True
) -> None:
    """Gives `family`, made for a snapshot, the fixtures of the snapshot's run: those that sampling needs, or
    all.

    The UserError names the snapshot, if a file is missing or has changed.
    """
    names = family.needs.sampling if sampling else tuple(family.needs.fixtures)
    if not names:
        return
    missing = [name for name in names if name not in snapshot.fixtures]
    if missing:
        raise UserError(f"{snapshot.folder}: does not say which file its fixture {missing[0]} was")
    try:
        family.fixtures = load_fixtures(snapshot.fixtures, family, device, names).modules
    except UserError as error:
        raise UserError(f"{snapshot.folder}: {error}") from error
