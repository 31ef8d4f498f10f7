"""A run's folder: which configuration and which data it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.load import differing_keys, dump_config, read_dump
from pipeline.config.run import RunConfig
from pipeline.errors import Damaged, UserError
from pipeline.reading import checked, read_json
from pipeline.storage.atomic import publish_bytes

CONFIG = "config.yaml"
DATA = "data.json"


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
    start = config.start
    return config.begun(transfer=start.source is not None if start.transfer is None else start.transfer)


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
            f"allowed: the same values, or another --run folder that begins with start.source={run}"
        )


def _check_data(run: Path, data: Mapping[str, Any]) -> None:
    path = run / DATA
    try:
        known = checked(dict[str, Any], read_json(path), str(path))
    except FileNotFoundError:
        return
    except Damaged as damage:
        raise UserError(f"{damage}; remove it to accept the data as they are") from damage
    for key, now, was in (
        ("data.path", data.get("digest"), known.get("digest")),
        ("data.second", _second(data), _second(known)),
    ):
        if now != was:
            raise UserError(
                f"{key}: the shards are not the ones that {run} was trained on "
                f"(index digest {str(now)[:12]}, was {str(was)[:12]}); "
                f"allowed: the same shards, or another --run folder that begins with start.source={run}"
            )


def _second(data: Mapping[str, Any]) -> object:
    """The digest of the second set, None if there is none."""
    second = data.get("second")
    return second.get("digest") if isinstance(second, Mapping) else None
