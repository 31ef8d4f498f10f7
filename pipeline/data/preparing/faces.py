"""Where the faces of a source are, by landmarks that the user gives."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.preparing.choosing import Unwanted
from pipeline.data.sources.label_rows import open_table
from pipeline.data.sources.labels import LabelTable, parse_table
from pipeline.data.sources.naming import Pictures
from pipeline.errors import Damaged, UserError
from pipeline.images.alignment import Corners, corners_of
from pipeline.images.pixels import Unreadable
from pipeline.reading import read_bytes
from pipeline.storage.faults import refusal

LANDMARK_FILES = (
    "ffhq-dataset-v2.json, or .json, .jsonl, .csv, .tsv or .txt with a name and points in each row"
)
_MOST_BYTES = 1 << 30  # FFHQ's own file has 255 MB
_EYES = (slice(36, 42), slice(42, 48))  # of the 68 points of iBUG 300-W
_MOUTH = (48, 54)
_ALLOWED = "136 (68 points), 10 (eyes, nose, mouth's corners), 8 (eyes, mouth's corners) or 6 (eyes, mouth)"

Points = npt.NDArray[np.float64]
"""[4, 2]: x and y of the left eye, the right eye, the left and the right corner of the mouth."""


@dataclass(frozen=True)
class Faces:
    """The faces of a source. file: who says so. digest: of its content, in hex. absent: how many of its rows
    have no picture in the source. points: [N, 4, 2] for N pictures, NaN where there are none."""

    file: str
    digest: str
    absent: int
    points: npt.NDArray[np.float64]

    def corners(self, number: int, size: tuple[int, int]) -> Corners:
        """The square around the face in picture `number`, whose (width, height) is `size`. Errors: Unwanted
        if there are no landmarks for it, Unreadable if they cannot be those of a face in it."""
        points = self.points[number]
        if np.isnan(points).any():
            raise Unwanted(f"{self.file} has no landmarks for it")
        # Points far outside would ask for a picture that is mostly border, and for any amount of memory.
        if (points < -0.5 * np.array(size)).any() or (points > 1.5 * np.array(size)).any():
            raise Unreadable(f"its landmarks lie outside of its {size[0]}x{size[1]} pixels")
        if np.hypot(*(points[2:].mean(0) - points[:2].mean(0))) < 1 or np.hypot(*(points[1] - points[0])) < 1:
            raise Unreadable("its landmarks lie all in one place")
        return corners_of(points[:2], points[2:])


def read_faces(path: Path, names: Sequence[str]) -> Faces:
    """The faces of the pictures `names`, from FFHQ's own file or a table of five or more points. Errors:
    UserError, which names file and entry."""
    try:
        data = read_bytes(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"--align {path}: no such file; allowed: {LANDMARK_FILES}") from error
    except Damaged as damage:
        raise refusal(damage, f"--align {damage}") from damage
    pictures = Pictures(names)
    points = np.full((len(names), 4, 2), np.nan)
    absent = present = 0
    for where, name, found in _rows(path, data, pictures):
        number = pictures.one(name, where)
        if number is None:
            absent += 1
        else:
            points[number], present = found, present + 1
    if not present:
        raise UserError(f"--align {path}: none of its {absent} rows is of a picture in the source")
    return Faces(path.name, hashlib.sha256(data).hexdigest()[:16], absent, points)


def _rows(path: Path, data: bytes, pictures: Pictures) -> Iterator[tuple[str, Any, Points]]:
    """(where, name of a picture, its points) of each row"""
    entries = _ffhq_entries(data) if path.suffix.lower() == ".json" else None
    if entries is not None:
        yield from _ffhq_rows(str(path), entries)
        return
    try:
        table = parse_table(str(path), data)
    except UserError as error:
        raise UserError(f"--align {error}") from error
    if table is None or not table.rows:
        raise UserError(f"--align {path}: has no rows; allowed: {LANDMARK_FILES}")
    yield from _table_rows(table, pictures)


def _ffhq_entries(data: bytes) -> Mapping[str, Any] | None:
    """The content of FFHQ's file; None if it is another one."""
    if b'"in_the_wild"' not in data[: 1 << 16]:
        return None
    try:
        content = json.loads(data, object_hook=_in_short)
    except (ValueError, RecursionError):
        return None  # the table says what is wrong
    return content if isinstance(content, dict) else None


def _in_short(entry: dict[str, Any]) -> dict[str, Any]:
    """What is used of an object in FFHQ's file, which as lists of numbers takes gigabytes."""
    used = {key: entry[key] for key in entry if key in ("in_the_wild", "file_path") or key.isdigit()}
    if "face_landmarks" in entry:
        with suppress(TypeError, ValueError):
            used["face_landmarks"] = np.array(entry["face_landmarks"], np.float64)
    return used


def _ffhq_rows(file: str, entries: Mapping[str, Any]) -> Iterator[tuple[str, Any, Points]]:
    for key, entry in entries.items():
        where = f"--align {file}: entry {key:.40}"
        try:
            wild = entry["in_the_wild"]
            numbers, name = wild["face_landmarks"].ravel().tolist(), wild["file_path"]
        except (KeyError, TypeError) as error:
            raise UserError(f"{where}: must have in_the_wild.file_path and .face_landmarks") from error
        yield where, name, _points(numbers, where)


def _table_rows(table: LabelTable, pictures: Pictures) -> Iterator[tuple[str, Any, Points]]:
    key, header, rows, first = open_table(table, pictures)
    named = _named_columns(header)
    for number, row in enumerate(rows, first):
        where = f"--align {table.where}: entry {number}"
        cells = (named and [row[column] for column in named]) or [c for n, c in enumerate(row) if n != key]
        yield where, row[key], _points([_number(value, where) for value in _flat(cells)], where)


def _named_columns(header: Sequence[str] | None) -> list[int]:
    """The columns of the four points by their titles, such as lefteye_x or mouth_left; empty if these do not
    tell."""
    places: dict[str, int] = {}
    for column, title in enumerate(header or ()):
        letters = re.sub(r"[^a-z]", "", title.lower())
        part = re.search("eye|mouth", letters)
        side = re.search("left|right", letters)
        if part and side:
            places[part[0] + side[0] + (letters[-1] if letters[-1] in "xy" else "")] = column
    points = [part + side for part in ("eye", "mouth") for side in ("left", "right")]
    wanted = points if points[0] in places else [point + axis for point in points for axis in "xy"]
    return [places[place] for place in wanted] if all(place in places for place in wanted) else []


def _flat(cells: Sequence[Any]) -> Iterator[Any]:
    for cell in cells:
        if isinstance(cell, list):
            yield from _flat(cell)
        else:
            yield cell


def _number(value: Any, where: str) -> float:
    if value is None or value == "":
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {value!r:.40}: must be a number of pixels") from error


def _points(numbers: Sequence[float], where: str) -> Points:
    """The four points of a face from as many numbers as its file has; NaN if one is no finite number."""
    if len(numbers) not in (6, 8, 10, 136):
        raise UserError(f"{where}: {len(numbers)} numbers; allowed: {_ALLOWED}, x and y of each")
    points = np.array(numbers, np.float64).reshape(-1, 2)
    points[~np.isfinite(points)] = np.nan
    if len(points) == 68:
        return np.stack([*(points[eye].mean(0) for eye in _EYES), *points[list(_MOUTH)]])
    return points[{3: [0, 1, 2, 2], 4: [0, 1, 2, 3], 5: [0, 1, 3, 4]}[len(points)]]
