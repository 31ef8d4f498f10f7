"""Transfer learning: a run that begins with the weights of another, as far as they fit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.storage.start import StartWeights
from pipeline.training.trainer import Trainer


def begin_with(trainer: Trainer, weights: StartWeights) -> str:
    """Copies `weights` into the trainer's networks and averaged generator, and returns a line that says
    which.

    Tensors with no counterpart of the same name and shape (layers of another resolution, embeddings of other
    classes) keep their fresh values. Raises UserError if nothing of the generator fits.
    """
    networks = trainer.networks
    fresh = _take(networks.generator, weights.generator)
    if len(fresh) == len(networks.generator.state_dict()):
        raise UserError("start.source: none of its generator's weights fit this family; allowed: one like it")
    _take(trainer.averager.average, weights.average)
    lines = [_count("generator", networks.generator, fresh)]
    if not networks.discriminator.state_dict():
        pass  # this family has no discriminator
    elif weights.discriminator is None:
        lines.append("discriminator all fresh (the source has none)")
    else:
        lines.append(
            _count(
                "discriminator", networks.discriminator, _take(networks.discriminator, weights.discriminator)
            )
        )
    return "; ".join(lines)


def _take(module: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Copies the weights that fit; returns the names of the tensors that kept their fresh values."""
    own = module.state_dict()
    fitting = {name: t for name, t in weights.items() if name in own and own[name].shape == t.shape}
    module.load_state_dict(fitting, strict=False)
    return [name for name in own if name not in fitting]


def _count(net: str, module: nn.Module, fresh: list[str]) -> str:
    total = len(module.state_dict())
    line = f"{net} {total - len(fresh)} of {total} tensors"
    if fresh:
        line += f" (fresh: {', '.join(fresh[:4])}{', ...' if len(fresh) > 4 else ''})"
    return line
