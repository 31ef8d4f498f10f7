"""A run that goes on from another's checkpoint under settings of its own (`start.keep=all`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.load import differing_keys
from pipeline.config.run import RunConfig
from pipeline.errors import Damaged, UserError
from pipeline.storage.checkpoints import Checkpoint, CheckpointStore
from pipeline.storage.lineage import Lineage, Origin
from pipeline.storage.manifest import MANIFEST
from pipeline.storage.runs import ALLOWED_SOURCES, data_digests, read_claim, source_run


@dataclass(frozen=True)
class Fork:
    """A checkpoint that another run goes on from.

    run: the folder of the run that wrote it. config, data: what that run was claimed for.
    """

    run: Path
    checkpoint: Checkpoint
    config: RunConfig
    data: Mapping[str, Any]

    def lineage_under(self, config: RunConfig, data: Mapping[str, Any]) -> Lineage:
        """The lineage of the run that goes on from here with `config` and `data`, as `claim_run` has them."""
        run, checkpoint = str(self.run.resolve()), self.checkpoint
        here = Origin(run, checkpoint.digest, checkpoint.images_seen, self._changed(config, data))
        return (*checkpoint.lineage, here)

    def _changed(self, config: RunConfig, data: Mapping[str, Any]) -> tuple[str, ...]:
        changed = differing_keys(self.config, config)
        before, now = self.config.length.images, config.length.images
        if before != now:
            changed.append(f"length.images: {before} -> {now}")
        old, new = data_digests(self.data), data_digests(data)
        changed += [
            f"{key}: shards {str(old[key])[:12]} -> {str(new[key])[:12]}"
            for key in new
            if old[key] != new[key]
        ]
        return tuple(changed)


def find_fork(config: RunConfig, run: Path, tell: Callable[[str], None]) -> Fork:
    """The checkpoint that `start.source` names for `run`: itself, or the newest whole one of a run. Each
    damaged one that is passed over is named to `tell`.

    Errors: UserError if there is none to go on from, or if `length.images` is not beyond it.
    """
    assert config.start.source is not None, "start.keep=all has a source"
    source = Path(config.start.source)
    from_run = source_run(source)
    if from_run.resolve() == run.resolve():
        raise UserError(f"start.source: {source}: the run itself; allowed: another run")
    checkpoint = _checkpoint(source, tell)
    seen = checkpoint.images_seen
    if config.length.images <= seen:
        raise UserError(
            f"length.images={config.length.images}: {checkpoint.folder} has seen {seen} images, which "
            f"start.keep=all counts; allowed: more than {seen}"
        )
    was, data = read_claim(from_run)
    if was.family.name != config.family.name:
        raise UserError(
            f"family.name={config.family.name}: {from_run} is a {was.family.name}; "
            f"allowed with start.keep=all: {was.family.name}"
        )
    return Fork(from_run, checkpoint, was, data)


def _checkpoint(source: Path, tell: Callable[[str], None]) -> Checkpoint:
    store = CheckpointStore(source, keep=1)
    if (source / MANIFEST).exists():
        try:
            return store.verified(source)
        except Damaged as damage:
            raise UserError(f"start.source: damaged: {damage}") from damage
    newest = store.newest(lambda line: tell(f"start.source: {line}"))
    if newest is None:
        raise UserError(f"start.source: {source}: holds no whole checkpoint; {ALLOWED_SOURCES}")
    return newest
