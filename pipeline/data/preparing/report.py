"""The report on what has become of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.contracts import Field
from pipeline.data.preparing.choosing import UNWANTED
from pipeline.data.preparing.tally import Tally
from pipeline.data.shards.rows import Level
from pipeline.images.kinds import Others
from pipeline.images.pixels import FULL_RANGE, Reading, Remark
from pipeline.words import counted, printable

_REASONS_SHOWN = 20
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95)
_CLASSES_SHOWN = 12

_REMARKS: dict[Remark, str] = {
    "transparent": "with transparent parts: they lie over {background} (--background COLOUR)",
    "alpha": "with transparent parts: kept as the fourth channel",
    "converted": "with another colour profile than sRGB: converted to sRGB",
    "profile": "with a colour profile that cannot be used: taken as sRGB",
    "clipped": "with values beyond --range: clipped",
    "frames": "with several frames: the first was taken",
}


@dataclass
class PrepareReport(Tally):
    """What has become of a source. What the tally counts is known to the process that completes the data set.

    skipped: name and reason of each file that is not in the data set. others: files of other kinds. resumed:
    how many samples were there when this call began. seconds: the duration of this call. levels: those of the
    pyramid. reading: how pixels were understood. class_counts: images by class name. one_class: the class
    that all images share, which makes a set without classes. labels_from: who says which class an image has.
    absent: how many rows without a picture were left out; unaligned: the same of landmarks. fields: what
    every image has beside it. held_out: samples of the data set beside this one. source: as it was given.
    likenesses: (name, name that it is like) of near-duplicates that were kept. stays_in: the
    folder of others' shards, which were not copied.
    """

    out: Path
    skipped: list[tuple[str, str]] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    seconds: float = 0.0
    others: Others = field(default_factory=Others)
    resumed: int = 0
    levels: tuple[Level, ...] = ()
    reading: Reading = field(default_factory=Reading)
    class_counts: Mapping[str, int] = field(default_factory=dict)
    one_class: str | None = None
    labels_from: str = ""
    absent: int = 0
    fields: Sequence[Field] = ()
    held_out: int = 0
    source: str = ""
    unaligned: int = 0
    likenesses: Sequence[tuple[str, str]] = ()
    stays_in: Path | None = None

    def lines(self) -> list[str]:
        """The report for a person."""
        labelled = f", {counted(len(self.classes), 'class', 'classes')}" if self.classes else ""
        lines = [f"{self.out}: {counted(self.count, 'image')}{labelled}, {self.seconds:.1f} s"]
        if self.stays_in is not None:
            lines.append(f"the shards stay in {self.stays_in} and are read there: keep them as they are")
        if self.resumed:
            lines.append(f"{self.resumed} of them were there when this call began")
        if self.held_out:
            lines.append(f"{counted(self.held_out, 'image')} held out, in {self.out / 'held-out'}")
        lines += self._about_classes()
        if self.fields:
            lines.append(f"beside each picture: {', '.join(map(_field_words, self.fields))}")
        if self.levels:
            sizes = ", ".join(f"{level.width}x{level.height}" for level in self.levels)
            lines.append(f"pyramid: {sizes}")
        lines += self._about_pixels()
        if self.others:
            kinds = counted(len(self.others), "file of another kind was", "files of other kinds were")
            lines.append(f"{kinds} left alone: {printable(self.others.words())}")
            if len(self.others) > self.others.suffixes:  # otherwise each is named already
                lines += _first([name for name, _ in self.others.named], len(self.others))
        return lines + self._about_skipped()

    def _about_classes(self) -> list[str]:
        lines = []
        where = f" ({printable(self.labels_from)})" if self.labels_from else ""
        if self.class_counts:
            lines.append(f"classes{where}: {printable(_class_words(self.class_counts))}")
        elif self.one_class is not None:
            lines.append(
                f"all images are of one class{where}, {printable(self.one_class)}: made without classes"
            )
        elif self.labels_from:
            lines.append(f"no classes{where}")
        if self.absent:
            lines.append(f"{counted(self.absent, 'label')} without a picture left out")
        if self.unaligned:
            lines.append(f"landmarks of {counted(self.unaligned, 'picture')} that are not in the source")
        return lines

    def _about_pixels(self) -> list[str]:
        lines = []
        if self.enlarged:
            were = "was" if self.enlarged == 1 else "were"
            lines.append(f"{self.enlarged} {were} smaller than asked and {were} enlarged")
        background = "white" if self.reading.background == (255, 255, 255) else "the background"
        lines += [
            f"{counted(self.remarks[remark], 'picture')} {words.format(background=background)}"
            for remark, words in _REMARKS.items()
            if remark in self.remarks
        ]
        narrow = narrow_range(self.values, self.reading)
        if narrow:
            lines.append(f"{counted(self.deep, 'picture')} with more than 8 bits: {narrow}")
        if self.reading.range is not None and not self.deep and self.count > self.resumed:
            lines.append("--range changed nothing: no picture has more than 8 bits")
        if self.reading.alpha and "alpha" not in self.remarks and self.count > self.resumed:
            lines.append("--alpha changed nothing: no picture has transparent parts")
        return lines + self._about_sharpness()

    def _about_sharpness(self) -> list[str]:
        if not self.sharpness:
            return []
        shares = ", ".join(f"{share:.0%} below {self.sharpness_below(share):.3g}" for share in _SHARES)
        return [f"sharpness of the images: {shares}; --min-sharpness X leaves out those below X"]

    def _about_skipped(self) -> list[str]:
        unwanted = [
            f"{name}: {reason.removeprefix(UNWANTED)}"
            for name, reason in self.skipped
            if reason.startswith(UNWANTED)
        ]
        unusable = [f"{name}: {why}" for name, why in self.skipped if not why.startswith(UNWANTED)]
        alike = [f"{name}: is like {other}" for name, other in self.likenesses]
        return [
            *_listed("could not be used", unusable),
            *_listed("left out as asked", unwanted),
            *_listed("near-duplicates kept, which --duplicates drop leaves out", alike),
        ]


def _listed(what: str, texts: Sequence[str]) -> list[str]:
    """How many there are, and the first of them, a line each."""
    return [f"{len(texts)} {what}:", *_first(texts, len(texts))] if texts else []


def _first(texts: Sequence[str], count: int) -> list[str]:
    """The first texts, a line each, and how many of `count` are not among them."""
    lines = [f"  {printable(text)}" for text in texts[:_REASONS_SHOWN]]
    return [*lines, *([f"  and {count - _REASONS_SHOWN} more"] if count > _REASONS_SHOWN else [])]


def narrow_range(values: tuple[float, float] | None, reading: Reading) -> str:
    """Advice if the pictures use less than half of the range from black to white; "" if they use more, or if
    a range was asked for."""
    if values is None or reading.range is not None:
        return ""
    lowest, highest = values
    white = FULL_RANGE[1]
    if highest - lowest >= white / 2:
        return ""
    levels = round(highest * 255 / white) - round(lowest * 255 / white) + 1
    upper = (1 << int(highest).bit_length()) - 1
    return (
        f"their values lie between {lowest:g} and {highest:g} of 0 to {white:g} and give only "
        f"{counted(levels, 'level')} of grey; --range LOW:HIGH, such as 0:{upper}, maps them to all 256"
    )


def nothing_found(skipped: Sequence[tuple[str, str]], others: Others) -> str:
    """Why a source holds no images: the end of a sentence."""
    parts = []
    if others:
        parts.append(f" but {printable(others.words())}")
    if others.form is not None:
        parts.append(f"; that looks like {others.form.name}: {others.form.advice}")
    return "".join(parts) + first_reason(skipped)


def first_reason(skipped: Sequence[tuple[str, str]]) -> str:
    """The reason why the first of the skipped files could not be used, in brackets."""
    return f" (the first of {len(skipped)}: {printable(skipped[0][0])}: {skipped[0][1]})" if skipped else ""


def _field_words(field: Field) -> str:
    if field.kind == "text":
        return f"{field.name} (at most {counted(field.shape[0], 'byte')})"
    return f"{field.name} ({field.kind} of {'x'.join(map(str, field.shape))})"


def _class_words(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} {counts[name]}" for name in list(counts)[:_CLASSES_SHOWN])
    if len(counts) <= _CLASSES_SHOWN:
        return shown
    least, most = min(counts.values()), max(counts.values())
    return f"{shown}, ... ({len(counts)} in all, of {least} to {most} images)"
