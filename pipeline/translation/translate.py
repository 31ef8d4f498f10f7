"""Translates all inputs into a folder of pictures; the same call again goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.contracts import Translator
from pipeline.errors import Damaged, UserError
from pipeline.float32 import full_float32
from pipeline.images.codec import FormatName, encode
from pipeline.images.normalised import Unreadable
from pipeline.randomness import derive_seed
from pipeline.reading import read_bytes
from pipeline.storage.atomic import make_folder, publish_bytes
from pipeline.storage.lock import one_of_writers
from pipeline.translation.inputs import Inputs
from pipeline.translation.tiles import Tiling, translated
from pipeline.words import printable

RECORD = "translation.json"
"""Says in a folder of translations what made them."""
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class How:
    """All that the pictures depend on. snapshot: the digest of the model. inputs: that of what is listed (see
    `Inputs`). back: whether in its other direction. seed: from which, with an input's name, its noise is
    drawn."""

    snapshot: str
    inputs: str
    back: bool
    seed: int
    tiling: Tiling
    format: FormatName
    quality: int


@dataclass
class Report:
    """What became of the inputs. made, stood: how many were translated now and before. left_out: (name,
    reason) of each that could not be."""

    made: int
    stood: int
    left_out: list[tuple[str, str]]


def translate(
    translator: Translator,
    inputs: Inputs,
    out: Path,
    how: How,
    *,
    progress: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Report:
    """Writes OUT/NAME.FORMAT for each input; one that is there is not made again. Raises UserError if `out`
    holds pictures that were made in another way. say: is told of each input that is left out."""
    full_float32()
    make_folder(out)
    report = Report(0, 0, [])
    with one_of_writers(out):
        _record(out / RECORD, how)
        for name, reason in inputs.skipped:
            report.left_out.append((name, reason))
            say(f"{printable(name)}: {reason}; left out")
        for number in tqdm(range(len(inputs)), unit="image", disable=not progress):
            path = out / f"{inputs.names[number]}.{how.format}"
            if path.is_file():
                report.stood += 1
                continue
            try:
                data = _made(translator, inputs, number, how)
            except Unreadable as reason:
                report.left_out.append((inputs.sources[number], str(reason)))
                say(f"{printable(inputs.sources[number])}: {reason}; left out")
                continue
            make_folder(path.parent)
            publish_bytes(path, data)
            report.made += 1
    return report


def refuse_within(out: Path, given: str) -> None:
    """Raises UserError if `out` lies in the folder `given`: the same call again would translate what it has
    made."""
    if Path(given).is_dir() and out.resolve().is_relative_to(Path(given).resolve()):
        raise UserError(f"{out}: lies in {given}, which is to be translated; give a folder outside of it")


def _made(translator: Translator, inputs: Inputs, number: int, how: How) -> bytes:
    given = inputs.given(number)
    seed = derive_seed(how.seed, "translation", given.name)
    pixels = translated(translator, given.image, seed, how.tiling, given.holes)
    return encode(pixels.permute(1, 2, 0).contiguous().numpy(), how.format, how.quality)


def _record(path: Path, how: How) -> None:
    """Writes how the pictures are made; UserError if others were made before in another way."""
    ours = asdict(how)
    if not path.exists():
        strange = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")]
        if strange:
            raise UserError(
                f"{path.parent}: holds {printable(strange[0])}, and no translations; give another folder"
            )
        publish_bytes(path, json.dumps(ours, indent=1).encode())
        return
    try:
        theirs = json.loads(read_bytes(path, _MOST_BYTES))
    except (Damaged, ValueError) as error:
        raise UserError(f"{path}: cannot be read; give another folder") from error
    different = [key for key in ours if not isinstance(theirs, dict) or theirs.get(key) != ours[key]]
    if different:
        raise UserError(
            f"{path.parent}: holds other translations (they differ in {', '.join(different)}); give another "
            "folder, or ask for the same"
        )
