"""What the shards say of their latents, for a family that plays in them."""

from __future__ import annotations

from pipeline.config.families import CodecConfig, Coded
from pipeline.config.run import FixtureConfig, RunConfig
from pipeline.contracts import CODEC, MOMENTS
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError


def codec_settings(config: RunConfig) -> CodecConfig | None:
    """The codec in whose latents the family of `config` plays; None if it plays in pixels."""
    family = config.family
    return family.codec if isinstance(family, Coded) and not family.in_pixels else None


def with_latents(config: RunConfig, index: ShardIndex) -> RunConfig:
    """`config` with what `index` says of latents, where it leaves that open: their factor, channels and
    scale, and the digest of the only codec that decodes them.

    Raises UserError for a codec that did not make these latents, and if images would be mirrored beside them.
    """
    codec, latents = codec_settings(config), index.latents
    if codec is None:
        return config
    if config.data.mirror and any(field.name == MOMENTS for field in index.fields):
        raise UserError(
            f"data.mirror=true: {index.root} has latents of the images as they are, and those of mirrored "
            "images are others; allowed: false, or shards without latents, which are encoded at each step"
        )
    if latents is None:
        return config
    known = {"factor": latents.factor, "channels": latents.channels, "scale": latents.scale}
    found = {key: value for key, value in known.items() if getattr(codec, key) is None}
    family = config.family.model_copy(update={"codec": codec.model_copy(update=found)})
    fixtures = config.fixtures
    if CODEC in fixtures:
        fixtures = {**fixtures, CODEC: _same(fixtures[CODEC], latents.codec, index)}
    return config.model_copy(update={"family": family, "fixtures": fixtures})


def _same(fixture: FixtureConfig, digest: str, index: ShardIndex) -> FixtureConfig:
    if fixture.sha256 is not None and fixture.sha256.lower() != digest:
        raise UserError(
            f"fixtures.{CODEC}.sha256={fixture.sha256}: not the codec that made the latents of {index.root}; "
            f"allowed: {digest}"
        )
    return fixture.model_copy(update={"sha256": digest})
