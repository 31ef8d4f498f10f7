"""Options of commands that compute: where, and with whose weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="Where to compute; auto takes a GPU if there is one."),
]
Processes = Annotated[
    int,
    typer.Option(
        min=1,
        help="Processes to start on this machine; one that torchrun or srun has started is one of theirs, "
        "and starts none.",
    ),
]
_DIGEST = "SHA-256 of that file, if it is not the published one"


@dataclass(frozen=True)
class InceptionFile:
    """Weights of Inception."""

    inception_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Inception weights that are not in $TORCH_HOME.")
    ] = None
    inception_digest: Annotated[
        str | None,
        typer.Option(
            metavar="SHA256",
            help=f"{_DIGEST}; figures then compare only with others measured with the same file.",
        ),
    ] = None


@dataclass(frozen=True)
class ExtractorFile:
    """Weights of a feature extractor that a person has chosen."""

    extractor_weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of dinov2, clip or clip-l14."),
    ] = None
    extractor_digest: Annotated[str | None, typer.Option(metavar="SHA256", help=f"{_DIGEST}.")] = None


@dataclass(frozen=True)
class VggFile:
    """Weights of VGG16."""

    vgg_weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="VGG16 weights (LPIPS needs them too) not in $TORCH_HOME."),
    ] = None
    vgg_digest: Annotated[str | None, typer.Option(metavar="SHA256", help=f"{_DIGEST}.")] = None


@dataclass(frozen=True)
class LpipsFile:
    """Weights of LPIPS beside VGG16's."""

    lpips_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="LPIPS weights that are not in $TORCH_HOME.")
    ] = None
    lpips_digest: Annotated[str | None, typer.Option(metavar="SHA256", help=f"{_DIGEST}.")] = None
