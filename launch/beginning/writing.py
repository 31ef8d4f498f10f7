"""The plan as a configuration with a comment for every choice."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from launch.beginning.plan import Plan
from pipeline.evaluation.metrics.registry import PLAIN
from pipeline.models.first import Reasoned, grows

_WIDTH = 108


@dataclass(frozen=True)
class Estimate:
    """images: the length of the run, and why so many. hours, memory: in words, with how they are known.
    tick_images, snapshot_images, checkpoint_images: between two lines of the log, and so on."""

    images: int
    why_images: str
    hours: str
    memory: str
    tick_images: int
    snapshot_images: int
    checkpoint_images: int


def commands(plan: Plan) -> list[str]:
    """What to type, in order."""
    prepare = ["hrgan", "prepare", plan.photos.source, str(plan.shards), "--resolution", str(plan.resolution)]
    if plan.photos.grey:
        prepare.append("--grey")
    if plan.labels != "auto":
        prepare += ["--labels", plan.labels]
    if grows(plan.family):
        prepare.append("--pyramid")
    train = ["hrgan", "train", str(plan.config), *(["--processes", str(plan.gpus)] if plan.gpus > 1 else [])]
    run = str(plan.run)
    return [
        *(" ".join(map(quote, words)) for words in (prepare, train)),
        f"hrgan board {quote(run)}",
        f"hrgan evaluate {quote(run)} --data {quote(str(plan.shards))} --metrics {','.join(PLAIN)} --watch",
        f"hrgan doctor {quote(run)}",
        f"hrgan generate {quote(run)} {quote(f'{plan.config.stem}-samples')} --count 100",
    ]


def configuration(plan: Plan, estimate: Estimate) -> str:
    """The file's text."""
    lines = [*_header(plan, estimate), *([f"inherit: {plan.first.inherit}"] if plan.first.inherit else [])]
    for name, keys in _sections(plan, estimate).items():
        lines += [f"{name}:", *_section(keys)]
        if name == "data":
            lines += _mirror()
    return "\n".join(lines) + "\n"


def _header(plan: Plan, estimate: Estimate) -> Iterator[str]:
    yield from _comment(
        f"{plan.family} at {plan.resolution}px on {plan.photos.count:,} pictures of {plan.photos.source}, "
        "planned by "
        "hrgan init. Every choice says why; all may be changed before the run begins.",
        "# ",
    )
    yield "#"
    here = len(plan.equipment.gpus)
    other = f"planned for {plan.gpus} GPUs" if plan.gpus else "planned for the CPU alone"
    planned_for = [other] if plan.gpus > here or (here and not plan.gpus) else []
    for title, lines in {
        "Commands:": commands(plan),
        "Pictures:": list(plan.photos.lines()),
        "Machine:": [*plan.equipment.lines(), *planned_for],
        "Hours:": [estimate.hours],
        "Memory:": [estimate.memory],
        "Look at:": [
            f"{plan.run}/samples, a picture at each snapshot: shapes within the first tenth, details later; "
            "hrgan doctor says what is wrong, if something is.",
        ],
        "Note:": list(plan.advice),
    }.items():
        for line in lines:
            yield from _comment(line, f"# {title:<10}", "#           ")
            title = ""


def _sections(plan: Plan, estimate: Estimate) -> Mapping[str, Reasoned]:
    sections: dict[str, Reasoned] = {
        "length": {"images": (estimate.images, f"{estimate.why_images} It may change at any start.")},
        "data": {
            "path": (str(plan.shards), "What hrgan prepare makes."),
            "resolution": (plan.resolution, plan.why_resolution),
            "labels": (plan.conditional, plan.why_labels),
            "workers": (
                max(min(plan.equipment.cores // max(plan.gpus, 1) - 1, 4), 1),
                "Loader processes for each training process.",
            ),
        },
        "family": {"name": (plan.family, plan.why_family)},
        "checkpoints": {"every_images": (estimate.checkpoint_images, "The most work that a crash can cost.")},
        "snapshots": {
            "every_images": (estimate.snapshot_images, "A picture of samples, and something to evaluate.")
        },
        "report": {"every_images": (estimate.tick_images, "Between two lines of the log.")},
    }
    for name, keys in plan.first.sections.items():
        sections[name] = {**sections.get(name, {}), **keys}
    return sections


def _section(keys: Reasoned) -> Iterator[str]:
    for key, (value, why) in keys.items():
        if why:
            yield from _comment(why, "  # ")
        yield f"  {key}: {_value(value)}"


def _mirror() -> Iterator[str]:
    yield from _comment(
        "Mirrored copies double the pictures. Right for faces, animals and landscapes; wrong for text, "
        "digits, "
        "anatomy and whatever has a left and a right.",
        "  # ",
    )
    yield "  # mirror: true"


def _comment(text: str, first: str, others: str | None = None) -> list[str]:
    plain = " ".join(text.split())
    long = len(plain) + len(first) > _WIDTH and plain.startswith("hrgan ")  # a command stays in one line
    if long:
        return [first + plain]
    return textwrap.wrap(
        plain,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=first if others is None else others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(value: Any) -> str:
    """In one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def refuse_to_overwrite(path: Path) -> str | None:
    """Why `path` cannot be written; None if it can."""
    if path.exists():
        return f"{path}: is there already; allowed: another name for OUT, or remove it"
    if path.suffix not in (".yaml", ".yml"):
        return f"{path}: must end in .yaml"
    return None
