"""Statistics on disk. They are found by what they were computed from, and verified when they are read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.data.stores.place import Place
from pipeline.errors import Damaged
from pipeline.reading import checked, read_json
from pipeline.storage.atomic import publish_bytes, publish_file
from pipeline.storage.claims import Claims
from pipeline.storage.manifest import digest_file
from pipeline.storage.tensors import load_tensors, save_tensors

BUILDING = "building"
"""The name of the claim, in the cache's folder, that the job which computes the statistics holds."""

WAITING = "another job is building the reals' statistics; waiting for it"
POLL_SECONDS = 2.0

_FORMAT = 1
Key = Mapping[str, Any]
Report = Callable[[str], None]


class StatisticsCache:
    """Named tensors in `folder`, by kind and key: KIND-DIGEST.safetensors, and beside it KIND-DIGEST.json,
    written last, with the whole key and the sha256 of the tensors.

    A file that fails verification is reported and counts as missing; `save` then replaces it.
    """

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder, self.report = folder, report
        self._told: set[str] = set()

    def load(self, kind: str, key: Key) -> dict[str, Tensor] | None:
        """What was saved under `kind` and `key`; None if nothing valid was."""
        path = self._path(kind, key)
        if not path.with_suffix(".json").exists():
            return None
        try:
            return self._read(path, _whole(kind, key))
        except Damaged as damage:
            line = f"cached statistics not used, computing them again: {damage}"
            if line not in self._told:
                self._told.add(line)
                self.report(line)
            return None

    def save(self, kind: str, key: Key, tensors: Mapping[str, Tensor]) -> None:
        """Publishes `tensors`, the sidecar last, so that no reader ever sees half of an entry."""
        path = self._path(kind, key)
        with publish_file(path) as aside:
            save_tensors(aside, tensors)
            sidecar = {"key": _whole(kind, key), "sha256": digest_file(aside)}
        publish_bytes(path.with_suffix(".json"), (json.dumps(sidecar, indent=1) + "\n").encode())

    def made(
        self, kind: str, key: Key, make: Callable[[], dict[str, Tensor]], claim: str = BUILDING
    ) -> dict[str, Tensor]:
        """What is saved under `kind` and `key`; if nothing is, the result of `make`, which is then saved.
        Among all jobs, one makes it under `claim` and the others wait."""
        tensors = self.load(kind, key)
        if tensors is not None:
            return tensors
        claims = Claims(self.folder)
        ours = claims.take(claim)
        if ours is None:
            self.report(WAITING)
            ours = claims.wait_for(claim, POLL_SECONDS)
        with ours:
            tensors = self.load(kind, key)  # the claim's last holder may have made it
            if tensors is None:
                tensors = make()
                self.save(kind, key, tensors)
        return tensors

    def _path(self, kind: str, key: Key) -> Path:
        text = json.dumps(_whole(kind, key), sort_keys=True)
        return self.folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}.safetensors"

    @staticmethod
    def _read(path: Path, key: Key) -> dict[str, Tensor]:
        sidecar = path.with_suffix(".json")
        about = checked(dict[str, Any], read_json(sidecar), str(sidecar))
        if about.get("key") != key:
            raise Damaged(f"{sidecar}: not made from what its name says")
        if not path.is_file() or digest_file(path) != about.get("sha256"):
            raise Damaged(f"{path}: missing, or its content does not match the sha256 beside it")
        return load_tensors(path)


def _whole(kind: str, key: Key) -> dict[str, Any]:
    return {"format": _FORMAT, "kind": kind, **key}


def cache_folder(data: Place, results: Path) -> Path:
    """DATA/statistics, so that all runs on a data set share it; if the data set is read-only or in a store,
    `statistics` in the folder of the results."""
    if isinstance(data, Path) and os.access(data, os.W_OK):
        return data / "statistics"
    return results / "statistics"
