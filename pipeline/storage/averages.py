"""Averages that snapshots keep beside their generator, and the folder of those that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.config.run import WIDEST
from pipeline.errors import Damaged
from pipeline.reading import checked, shown
from pipeline.storage.faults import refusal
from pipeline.storage.manifest import MANIFEST, read_manifest, verify
from pipeline.storage.positions import numbered_folders
from pipeline.storage.tensors import open_tensors

AVERAGES = "averages"
"""The folder in a run of what is made of its averages; also the key of a snapshot's details."""
GENERATOR = "generator.safetensors"
"""The file of a snapshot's generator, from which its averages are kept as differences."""


@dataclass(frozen=True)
class Kind:
    """What kind of average it is: its width, and the images seen where it began."""

    width: float
    since: int


@dataclass(frozen=True)
class KeptAverage:
    """An average as a snapshot keeps it, in a file of its own.

    differences: parameters by name, less those of the snapshot's generator, in float16. So they take half the
    bytes, and rounding is a share of how far the average is from another, not of the weights.
    """

    kind: Kind
    differences: Mapping[str, Tensor]

    @property
    def file(self) -> str:
        return f"average-{self.kind.width:g}.safetensors"

    @property
    def about(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return asdict(self.kind)


def kept_average(kind: Kind, weights: Mapping[str, Tensor], generator: Mapping[str, Tensor]) -> KeptAverage:
    """What a snapshot of `generator` keeps of the average with these parameters. A tensor that float16 cannot
    hold stays float32."""
    return KeptAverage(kind, {name: _halved(value - generator[name]) for name, value in weights.items()})


def _halved(value: Tensor) -> Tensor:
    half = value.half()
    return half if bool(half.isfinite().all()) else value


@dataclass(frozen=True)
class StoredAverage:
    """An average in a snapshot on disk. images_seen: the position of the snapshot. sha256: the digests of the
    average's file and the generator's."""

    folder: Path
    file: str
    kind: Kind
    images_seen: int
    sha256: tuple[str, str]

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Each parameter's name and value, float32 on the CPU, one after another in memory, after checking
        the files' sha256. UserError if they are damaged."""
        try:
            verify(self.folder, (self.file, GENERATOR))
            with (
                open_tensors(self.folder / GENERATOR) as generator,
                open_tensors(self.folder / self.file) as own,
            ):
                names: list[str] = own.keys()
                for name in names:
                    yield name, generator.get_tensor(name) + own.get_tensor(name).float()
        except Damaged as damage:
            raise refusal(damage, f"damaged snapshot: {damage}") from damage


def stored_averages(run: Path, report: Callable[[str], None] = lambda line: None) -> list[StoredAverage]:
    """All averages in the snapshots of a run, by position and width. Damaged snapshots are reported and
    skipped; files that are gone, as a person may have wanted, are skipped."""
    stored = []
    for folder in numbered_folders(run / "snapshots"):
        try:
            stored += _in_snapshot(folder)
        except Damaged as damage:
            report(shown(f"snapshot passed over: {damage}"))
    return stored


def _in_snapshot(folder: Path) -> list[StoredAverage]:
    manifest = read_manifest(folder)
    where = f"{folder / MANIFEST}: details: {AVERAGES}"
    told = checked(dict[str, Kind], manifest.details.get(AVERAGES) or {}, where)
    seen, files = manifest.images_seen or 0, manifest.files
    stored = []
    for file, kind in sorted(told.items(), key=lambda item: item[1].width):
        if not (0 < kind.width < WIDEST and 0 <= kind.since < seen and {file, GENERATOR} <= files.keys()):
            raise Damaged(f"{where}: {file!r:.80}: width {kind.width}, since {kind.since}")
        if Path(file).name == file and (folder / file).is_file():
            digests = (files[file].sha256, files[GENERATOR].sha256)
            stored.append(StoredAverage(folder, file, kind, seen, digests))
    return stored


def average_folder(run: Path, width: float) -> Path:
    """The folder of the averages of one width. It is laid out like a run: snapshots/<images>, and what
    evaluation adds."""
    return run / AVERAGES / f"{width:g}"
