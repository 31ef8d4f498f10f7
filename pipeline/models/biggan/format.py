"""The format of BigGAN-PyTorch's weights for `hrgan import`: one state dict per file."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from pipeline.config.families import BigGANConfig
from pipeline.errors import UserError
from pipeline.models.biggan.foreign import from_ajbrock, infer
from pipeline.models.foreign import Format, Imported, Parts


def _fits(parts: Parts) -> bool:
    names = {name.removeprefix("module.") for name in parts[""].tensors}
    return {"shared.weight", "linear.weight"} <= names


def _convert(parts: Parts, discriminator: bool) -> Imported:
    if discriminator:
        raise UserError("--discriminator: its discriminator has a file of its own; leave the option out")
    state = {name: tensor.float() for name, tensor in parts[""].tensors.items()}
    try:
        fields, spec = infer(state)
        config: BigGANConfig = TypeAdapter(BigGANConfig).validate_python(fields)
    except (KeyError, IndexError, ValueError, ValidationError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"its generator does not fit biggan: {str(error).splitlines()[0]}") from error
    return Imported(config, spec, from_ajbrock(state))


AJBROCK = Format("a BigGAN-PyTorch G.pth or G_ema.pth", _fits, _convert)
