"""`hrgan import`: another project's weights as a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UserError
from pipeline.words import counted


def import_weights(
    weights: Annotated[
        Path,
        typer.Argument(metavar="WEIGHTS", help="A .pkl, .pt, .pth or .safetensors file of another project."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder for the snapshot.")],
    discriminator: Annotated[
        bool,
        typer.Option("--discriminator", help="Keep the discriminator as well, for runs that start from it."),
    ] = False,
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            min=1e-6,
            help="Of an autoencoder: the factor that gives its latents a standard deviation of 1.",
        ),
    ] = None,
) -> int:
    """Make a snapshot of another project's weights.

    It reads a .pkl of stylegan2-ada-pytorch or stylegan3 (StyleGAN2, StyleGAN3-T and -R), a .pt of
    rosinality's stylegan2-pytorch, a G_ema.pth of BigGAN-PyTorch and the .safetensors of a KL autoencoder, as
    diffusers or the authors' code name its weights. Nothing in the file is run: anything that is neither
    a tensor nor plain data is refused by name. The weights tell the shape of the networks. OUT can then be
    used like any other snapshot.

    \b
    Examples:
      hrgan import network-snapshot-025000.pkl imported/faces
      hrgan import stylegan2-ffhq-config-f.pt imported/ffhq
      hrgan import 550000.pt imported/start --discriminator
      hrgan import diffusion_pytorch_model.safetensors imported/codec --scale 0.18215
    """
    from pipeline.importing import Refused, parts_of, read_weights
    from pipeline.models.foreign import convert
    from pipeline.models.formats import FORMATS
    from pipeline.models.registry import build_family
    from pipeline.models.strangers import STRANGERS
    from pipeline.storage.snapshots import write_imported

    read = read_weights(weights)
    try:
        known, imported = convert(
            parts_of(read.value), FORMATS, STRANGERS, discriminator=discriminator, scale=scale
        )
    except (Refused, UserError) as error:
        raise UserError(f"{weights}: {error}") from error
    family = build_family(imported.family, imported.spec, batch_size=imported.batch_size)
    write_imported(
        out,
        imported.generator,
        family=imported.family,
        spec=imported.spec,
        stage=family.schedule.at(0),
        origin={"file": weights.name, "sha256": read.sha256, "format": known.name, **imported.notes},
        discriminator=imported.discriminator,
    )
    classes = imported.spec.classes
    size = f"{imported.spec.height}px" + (f", {counted(classes, 'class', 'classes')}" if classes else "")
    typer.echo(f"{out}: {imported.family.name}, {size}, from {known.name}")
    return 0
