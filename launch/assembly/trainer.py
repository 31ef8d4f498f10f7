"""From a configuration to a loop that trains: the one way for `hrgan train`, for trial steps, and for
everything that measures or compares training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from pipeline.config.run import EngineConfig, RunConfig
from pipeline.contracts import Engine, Family, ImageSpec, Networks, Process
from pipeline.engines.select import select_engine
from pipeline.errors import UserError
from pipeline.models.layers import compile_main_phases, recompute_blocks
from pipeline.models.registry import build_family, low_precision_of
from pipeline.randomness import derive_seed, seed_everything
from pipeline.training.graphs import graphs_for
from pipeline.training.trainer import Stream, Trainer
from pipeline.training.turns import Graphs


def family_of(config: RunConfig, spec: ImageSpec) -> Family:
    """The family that `config` names, for images of `spec`, in the precision in which the run computes."""
    low = low_precision_of(config.engine.computed)
    return build_family(config.family, spec, batch_size=config.batch.size, low_precision=low)


def assemble(
    family: Family,
    process: Process | None = None,
    *,
    seed: int = 0,
    micro: int | None = None,
    settings: EngineConfig | None = None,
    networks: Networks | None = None,
    engine: Engine | None = None,
    stream: Stream | None = None,
    graphs: Graphs | None = None,
    widths: Sequence[float] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Trainer:
    """Networks on the process's device, attached to an engine, in a loop that is ready for its first step.

    process: that of the engine; by default a single process on the CPU. seed: the run's seed. micro: the most
    images that a process holds at once; None for all. settings: the section `engine` of a configuration.
    networks: the networks to train; by default fresh ones drawn from the run's seed. engine: used instead of
    the one that the settings name; not yet attached to networks. stream: may be set later, when the position
    is known. graphs: used instead of those that the settings ask for. widths: of the averages that are
    tracked beside the family's own. tell: gets a line if CUDA graphs are not possible.

    Raises UserError if the settings ask for something that these networks do not offer.
    """
    settings = settings or EngineConfig()
    process = engine.process if engine is not None else process or Process()
    if networks is None:
        seed_everything(derive_seed(seed, "networks"))
        networks = family.networks()
    for module in (networks.generator, networks.discriminator, family.memory):
        if any(tensor.device != process.device for tensor in (*module.parameters(), *module.buffers())):
            module.to(process.device)  # meta tensors cannot be moved, not even to where they already are
    engine = engine or select_engine(settings, process)
    engine.attach(networks, family.optimizers)
    if graphs is None and settings.graphs == "auto" and not settings.compile:
        graphs = graphs_for(engine, networks, tell)
    trainer = Trainer(
        family,
        networks,
        engine,
        stream,
        seed=seed,
        micro=micro,
        tf32=settings.tf32,
        graphs=graphs,
        widths=widths,
    )
    # Only after the trainer has made its averaged copy, which must remain a plain module.
    _switch_on(settings, networks)
    return trainer


def _switch_on(settings: EngineConfig, networks: Networks) -> None:
    switches: list[tuple[bool, Callable[[nn.Module], int], str]] = [
        (
            settings.compile,
            compile_main_phases,
            "engine.compile=true: no part of this family's networks can be compiled; allowed: false",
        ),
        (
            settings.recompute == "blocks",
            recompute_blocks,
            "engine.recompute=blocks: this family's networks have no blocks that can be recomputed; "
            "allowed: off",
        ),
    ]
    for wanted, switch, refusal in switches:
        if wanted and not sum(switch(network) for _, network in networks.items()):
            raise UserError(refusal)
