"""Imports the weights of other projects: finds a file's format and checks that the weights fit our networks.

A format gets the parts of a file by name ("G_ema", "g_ema"; "" holds whatever is not in a part), tells
whether the file is of this format, and returns our family, image specification and weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.config.families import FamilyConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.registry import build_family

_SCALE = "scale"
"""The factor of an autoencoder's latents, among its weights and in notes."""
BATCH = 32
"""The global batch size, in images, of networks whose file does not say which one they were trained with."""


class Part(Protocol):
    """A network or state dict in a file. kind: the name of its class, or ""."""

    @property
    def kind(self) -> str: ...
    @property
    def tensors(self) -> Mapping[str, Tensor]: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


Parts = Mapping[str, Part]
Stranger = tuple[str, Callable[[Parts], bool]]
"""A description of a kind of file that cannot be imported, and a function that recognises it."""


@dataclass(frozen=True)
class Imported:
    """The content of a file as ours.

    family: a config in which only those fields are set that the file determines. notes: remarks on what the
    file did not say.
    """

    family: FamilyConfig
    spec: ImageSpec
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor] | None = None
    batch_size: int = BATCH
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """The format of one project's files. convert: converts the parts of a file, with the discriminator if the
    flag is set."""

    name: str
    fits: Callable[[Parts], bool]
    convert: Callable[[Parts, bool], Imported]


def convert(
    parts: Parts,
    formats: Sequence[Format],
    strangers: Sequence[Stranger] = (),
    *,
    discriminator: bool,
    scale: float | None = None,
) -> tuple[Format, Imported]:
    """Returns the format of a file and its converted content, which has been checked against our networks.

    scale: that of an autoencoder's latents; None for the one that its format has.
    Raises UserError if the content does not fit, or if no format recognises the file; the error then says
    what the file is, if one of `strangers` does.
    """
    for known in formats:
        if known.fits(parts):
            imported = known.convert(parts, discriminator)
            if scale is not None:
                imported = _with_scale(imported, scale)
            _check(imported)
            return known, imported
    allowed = f"allowed: {', '.join(known.name for known in formats)}"
    for words, fits in strangers:
        if fits(parts):
            raise UserError(f"{words}, which is not taken here; {allowed}")
    names = sorted(
        {name or entry for name, part in parts.items() for entry in ([name] if name else part.tensors)}
    )
    shown = ", ".join(names[:4]) or "nothing"
    raise UserError(f"weights of an unknown format: it holds {ascii(shown)[1:-1]}; {allowed}")


def _with_scale(imported: Imported, scale: float) -> Imported:
    if _SCALE not in imported.generator:
        raise UserError("--scale: these are not the weights of an autoencoder; leave the option out")
    notes = {**imported.notes, _SCALE: scale}
    return replace(imported, generator={**imported.generator, _SCALE: torch.tensor(scale)}, notes=notes)


def _check(imported: Imported) -> None:
    with torch.device("meta"):
        family = build_family(imported.family, imported.spec, batch_size=imported.batch_size)
        networks = family.networks()
    check_fit(networks.generator, imported.generator, "generator")
    if imported.discriminator is not None:
        check_fit(networks.discriminator, imported.discriminator, "discriminator")


def check_fit(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Raises UserError if tensors are missing, unexpected or of another shape; it names the first few."""
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    faults = [f"{key} is missing" for key in wanted if key not in given]
    faults += [f"{key} is unexpected" for key in given if key not in wanted]
    faults += [
        f"{key} has shape {list(given[key])}, not {list(shape)}"
        for key, shape in wanted.items()
        if key in given and given[key] != shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(f"its {name} does not fit ours: {'; '.join(faults[:3])}{more}")
