"""The types that every room shares: batches, terms, stages, phases, games, families, engines.

Nothing here knows a particular family, or a library other than torch. A family supplies values of these
types; training, evaluation and generation run them.
"""

from pipeline.contracts.codecs import CODEC, IN_PIXELS, MOMENTS, PIXELS, Codec
from pipeline.contracts.data import (
    COLOURS,
    SECOND,
    Batch,
    Fakes,
    Field,
    FieldKind,
    Fixture,
    ImageSpec,
    Needs,
    Terms,
    Verdict,
    per_image,
)
from pipeline.contracts.engines import Engine, Keep, Process, StepReport
from pipeline.contracts.families import Evidential, Family, Reconstructor, Sampler
from pipeline.contracts.optimizers import AdamRule, AdamWRule, RMSPropRule, Rule, SGDRule
from pipeline.contracts.players import (
    Augmentation,
    AugmentedGame,
    Game,
    Judge,
    LevelledGame,
    Networks,
    Objective,
    Phase,
    Randomness,
    ReplayedGame,
)
from pipeline.contracts.stages import NETS, Net, Scalar, Schedule, Stage

__all__ = [
    "CODEC",
    "COLOURS",
    "IN_PIXELS",
    "MOMENTS",
    "NETS",
    "PIXELS",
    "SECOND",
    "AdamRule",
    "AdamWRule",
    "Augmentation",
    "AugmentedGame",
    "Batch",
    "Codec",
    "Engine",
    "Evidential",
    "Fakes",
    "Family",
    "Field",
    "FieldKind",
    "Fixture",
    "Game",
    "ImageSpec",
    "Judge",
    "Keep",
    "LevelledGame",
    "Needs",
    "Net",
    "Networks",
    "Objective",
    "Phase",
    "Process",
    "RMSPropRule",
    "Randomness",
    "Reconstructor",
    "ReplayedGame",
    "Rule",
    "SGDRule",
    "Sampler",
    "Scalar",
    "Schedule",
    "Stage",
    "StepReport",
    "Terms",
    "Verdict",
    "per_image",
]
