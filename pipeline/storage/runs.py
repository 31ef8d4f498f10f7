"""A run's folder: which configuration and which data it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.load import differing_keys, dump_config, read_dump
from pipeline.config.run import RunConfig, StartConfig
from pipeline.errors import Damaged, UserError
from pipeline.reading import checked, read_json
from pipeline.storage.atomic import publish_bytes
from pipeline.storage.manifest import MANIFEST, read_manifest

CONFIG = "config.yaml"
DATA = "data.json"
ALLOWED_SOURCES = "allowed: a run with a checkpoint, one of its checkpoints, or start.keep=weights"


def as_begun(config: RunConfig, run: Path) -> RunConfig:
    """`config` with what `run` has settled, or would settle if it began now: `start.transfer` and what
    follows from it, `engine.computes`, and the number that `batch.micro=auto` has come to."""
    was = _begun_with(run)
    if was is not None:
        if config.batch.micro == "auto":
            config = config.model_copy(
                update={"batch": config.batch.model_copy(update={"micro": was.batch.micro})}
            )
        return config.begun(transfer=bool(was.start.transfer)).computing(was.engine.computed)
    return config.begun(transfer=_transfers(config.start))


def _transfers(start: StartConfig) -> bool:
    if start.transfer is not None:
        return start.transfer
    if start.source is None:
        return False
    return bool(read_claim(source_run(Path(start.source)))[0].start.transfer) if start.keep == "all" else True


def claim_run(run: Path, config: RunConfig, data: Mapping[str, Any]) -> None:
    """Makes `run` the folder of this configuration and these data, or refuses if it belongs to others.

    data: the `digest` of the shard index, and what describes it; the same of a second set under `second`.
    Keys that may change between two starts (length, workers, ...) are updated on disk.
    """
    check_claim(run, config, data)
    publish_bytes(run / CONFIG, dump_config(config).encode())
    publish_bytes(run / DATA, (json.dumps(dict(data), indent=1, sort_keys=True) + "\n").encode())


def keep_settled(run: Path, config: RunConfig) -> None:
    """Keeps the number that `batch.micro=auto` has come to: it is the run's from now on."""
    publish_bytes(run / CONFIG, dump_config(config).encode())


def check_claim(run: Path, config: RunConfig, data: Mapping[str, Any]) -> None:
    """Raises UserError if `claim_run` would refuse; writes nothing."""
    _check_config(run, config)
    _check_data(run, data)


def source_run(source: Path) -> Path:
    """The run that `start.source` names with `start.keep=all`: a run's folder, or that of a run with the
    checkpoint. UserError if it is none."""
    if not source.is_dir():
        raise UserError(f"start.source: {source}: no such folder; {ALLOWED_SOURCES}")
    if not (source / MANIFEST).exists():
        run = source
    elif (kind := _kind(source)) == "checkpoint":
        run = source.resolve().parent.parent
    else:
        raise UserError(
            f"start.source: {source}: a {kind}, which has no moments and no position; {ALLOWED_SOURCES}"
        )
    if not (run / CONFIG).exists():
        raise UserError(f"start.source: {source}: no run, since {run / CONFIG} is missing; {ALLOWED_SOURCES}")
    return run


def _kind(folder: Path) -> str:
    try:
        return read_manifest(folder).kind
    except Damaged as damage:
        raise UserError(f"start.source: damaged: {damage}") from damage


def read_claim(run: Path) -> tuple[RunConfig, dict[str, Any]]:
    """What `claim_run` has written: settings and data (empty if they are not recorded)."""
    return read_dump(run / CONFIG), _claimed_data(run) or {}


def _begun_with(run: Path) -> RunConfig | None:
    """The settings that a run has begun with."""
    path = run / CONFIG
    if not path.exists():
        return None
    try:
        return read_dump(path)
    except UserError as error:
        raise UserError(
            f"{str(error).splitlines()[0]}; it holds the settings that {run} was trained with: restore it, "
            "or remove it to go on with those given"
        ) from error


def _check_config(run: Path, config: RunConfig) -> None:
    was = _begun_with(run)
    if was is None:
        return
    differing = differing_keys(was, config)
    if differing:
        raise UserError(
            f"{run}: belongs to another configuration ({'; '.join(differing)}); "
            f"allowed: the same values, {_or_another(run)}"
        )


def _check_data(run: Path, data: Mapping[str, Any]) -> None:
    known = _claimed_data(run)
    if known is None:
        return
    now, was = data_digests(data), data_digests(known)
    for key in now:
        if now[key] != was[key]:
            raise UserError(
                f"{key}: the shards are not the ones that {run} was trained on "
                f"(index digest {str(now[key])[:12]}, was {str(was[key])[:12]}); "
                f"allowed: the same shards, {_or_another(run)}"
            )


def _or_another(run: Path) -> str:
    return (
        f"or another --run folder that begins with start.source={run} "
        "(with start.keep=all it goes on from there)"
    )


def _claimed_data(run: Path) -> dict[str, Any] | None:
    path = run / DATA
    try:
        return checked(dict[str, Any], read_json(path), str(path))
    except FileNotFoundError:
        return None
    except Damaged as damage:
        raise UserError(f"{damage}; remove it to accept the data as they are") from damage


def data_digests(data: Mapping[str, Any]) -> dict[str, object]:
    """The digests of the shards' indexes by setting; None where there is no such set."""
    second = data.get("second")
    return {
        "data.path": data.get("digest"),
        "data.second": second.get("digest") if isinstance(second, Mapping) else None,
    }
