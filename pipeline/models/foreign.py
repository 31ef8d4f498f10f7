"""Other projects' weights as ours: which formats are known, and whether weights fit the networks.

A format looks at the parts of a file (by name: "G_ema", "g_ema"; "" is what lies beside them), tells whether
it is its own, and gives our family, images and weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.config.families import FamilyConfig
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.registry import build_family

BATCH = 32
"""Global batch, in images, of networks whose file does not tell what they were trained with."""


class Part(Protocol):
    """A network or state dict of a file. kind: its class's name, "" without."""

    @property
    def kind(self) -> str: ...
    @property
    def tensors(self) -> Mapping[str, Tensor]: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


Parts = Mapping[str, Part]
Stranger = tuple[str, Callable[[Parts], bool]]
"""What a file is that cannot be taken, in words, and whether it is one."""


@dataclass(frozen=True)
class Imported:
    """What a file means here. family: with the fields set that the file tells, and no others. notes: on what
    it did not say."""

    family: FamilyConfig
    spec: ImageSpec
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor] | None = None
    batch_size: int = BATCH
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One project's files. convert: with the discriminator if the flag is set."""

    name: str
    fits: Callable[[Parts], bool]
    convert: Callable[[Parts, bool], Imported]


def convert(
    parts: Parts, formats: Sequence[Format], strangers: Sequence[Stranger] = (), *, discriminator: bool
) -> tuple[Format, Imported]:
    """The format and what it makes of `parts`, checked against our networks.

    Errors: UserError if no format knows the file, which says what it is if one of `strangers` does, or if
    what it holds does not fit.
    """
    for known in formats:
        if known.fits(parts):
            found = known.convert(parts, discriminator)
            _check(found)
            return known, found
    allowed = f"allowed: {', '.join(known.name for known in formats)}"
    for words, fits in strangers:
        if fits(parts):
            raise UserError(f"{words}, which is not taken here; {allowed}")
    names = sorted(
        {name or entry for name, part in parts.items() for entry in ([name] if name else part.tensors)}
    )
    shown = ", ".join(names[:4]) or "nothing"
    raise UserError(f"weights of an unknown format: it holds {ascii(shown)[1:-1]}; {allowed}")


def _check(found: Imported) -> None:
    with torch.device("meta"):
        networks = build_family(found.family, found.spec, batch_size=found.batch_size).networks()
    check_fit(networks.generator, found.generator, "generator")
    if found.discriminator is not None:
        check_fit(networks.discriminator, found.discriminator, "discriminator")


def check_fit(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Errors: UserError that names the first few tensors that are missing, unexpected or of another shape."""
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
