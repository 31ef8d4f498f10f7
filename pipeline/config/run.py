"""The schema of a training run: every key, its meaning, its unit and its default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.families import FamilyConfig, Strict
from pipeline.config.units import CountOrAuto, PositiveCount, Seconds


class LengthConfig(Strict):
    """When the run is finished."""

    images: PositiveCount = 25_000_000
    """Real images shown to the discriminator over the whole run, such as 25M."""
    time: Seconds | None = None
    """Wall-clock limit of one start of the run, such as 23h30m: saves and stops; starting again
    goes on. null: none."""


class DataConfig(Strict):
    """Which images, in which order, read how."""

    path: str | None = None
    """Folder of shards with its index.json, as `hrgan prepare` or `hrgan generate` makes it."""
    second: str | None = None
    """Folder of shards of a second set, unpaired, for families that learn from two; its images must have the
    same size."""
    resolution: PositiveCount | None = None
    """Pixels a side that the shards must have; null takes theirs."""
    labels: bool | None = None
    """Train class-conditionally; null: if and only if the shards have labels."""
    mirror: bool = False
    """Flip half of the images left to right, as a function of their position in the run; wrong for whatever
    has a left and a right, such as text, digits and anatomy."""
    lanes: Annotated[int, Field(gt=0, le=65536)] = 64
    """Places of the data set that are read side by side; part of the order, so fixed for a run.
    A multiple of the number of processes keeps reads sequential."""
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    """Loader processes a rank, and as many again if a phase has reals of its own (R3GAN's generator); 0
    decodes in the training process."""
    prefetch: Annotated[int, Field(gt=0)] = 4
    """Chunks of images that each worker decodes ahead."""
    on_damage: Literal["error", "skip"] = "error"
    """A damaged shard or image: stop and name it, or take the next good one and count."""


class BatchConfig(Strict):
    """How many images a step sees."""

    size: PositiveCount = 32
    """Global batch, over all processes, in images."""
    micro: CountOrAuto | None = None
    """Most images of one process in memory at once; the rest is accumulated. null: all. auto: as many as fit,
    found by a few steps before the run's first, and kept by the run."""


class StartConfig(Strict):
    """Which weights a run begins with; `source` is of no account once it has a checkpoint."""

    source: str | None = None
    """A snapshot, checkpoint or run whose weights are taken where name and shape fit, of any resolution
    and number of classes (transfer learning); the rest starts fresh. null: all fresh."""
    transfer: bool | None = None
    """Go on with the source's averaged generator: the average neither ramps nor begins as a copy, and ADA's p
    moves faster. null: if and only if there is a source. false is better where layers start fresh and the
    average's half-life is long. A run keeps what it began with."""


class FixtureConfig(Strict):
    """One of the frozen networks that a family asks for."""

    file: str
    """Its weights, a .safetensors file; a run may find it elsewhere when it goes on."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """What the file must be. null: what it is where the run begins, which keeps to it."""


class EngineConfig(Strict):
    """Where gradients meet."""

    kind: Literal["replicated", "zero"] = "replicated"
    """replicated: every process holds all weights and moments; one flat all-reduce a phase. zero: DeepSpeed,
    with `stage` (the extra `deepspeed`). A run may change it between two starts: equal to rounding."""
    stage: Annotated[int, Field(ge=0)] = 1
    """Of `zero`: 0 splits nothing over the processes, 1 Adam's moments, 2 the reduced gradients too."""
    bucket_mb: Annotated[float, Field(ge=0, le=10_000)] = 0
    """Of `replicated`: megabytes of gradients that go out together while others are still computed; 0: all at
    once after the backward pass. Equal to rounding, on two processes to the bit. Neither was clearly faster
    on a CPU; not measured on a GPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: the family's low-precision blocks compute in it; weights and penalties stay float32. Refused
    where a family has none."""
    tf32: Literal["off", "main", "on"] = "main"
    """Which convolutions and products of float32 may take TF32's ten bits of mantissa, on a GPU that has it.
    off: none. main: those of phases without a penalty on gradients. on: also, in the other phases, those that
    make fakes without a gradient. Such penalties, samples and metrics compute in full, whatever it says."""
    computes: Literal["float32", "bfloat16"] | None = None
    """What `precision` comes to. null: float32 where a run that asks for bfloat16 begins on a CPU without
    instructions for it, which would take several times as long. A run keeps what it began with."""
    compile: bool = False
    """Runs the networks of the main phases through torch.compile; penalties stay eager. The first step
    takes minutes longer. On a CPU it gains nothing: the compiled operations leave it nothing to fuse.
    Refused where no part of a family's networks can be compiled."""
    graphs: Literal["auto", "off"] = "auto"
    """auto: on a GPU a phase that comes every step is captured in a CUDA graph once a stage, and launched
    as one from then on: the same operations, less waiting for the host, memory of its own. Not with
    `compile`, nor where processes exchange gradients or batch statistics within a phase."""
    recompute: Literal["off", "blocks"] = "off"
    """blocks: each block of the networks is computed again in the backward pass, instead of its activations
    being kept: half the memory of a main phase, the same gradients, a forward pass more. Penalties, which
    differentiate twice, gain a tenth at most. Not together with compile."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU if there is one."""
    deterministic: bool = False
    """true: on a GPU only algorithms that repeat, so that a restart goes on to the bit, as it always does on
    a CPU; slower. false: cuDNN takes what it measures to be fastest, and some sums have no fixed order."""
    bad_steps: PositiveCount = 20
    """Updates in a row of one phase that a gradient that was not finite made it skip: the run stops."""

    timeout_minutes: Annotated[float, Field(gt=0, le=1440)] = 30
    """Minutes that processes wait for one that is behind; then the run ends and names it."""
    silence_seconds: Annotated[float, Field(ge=1, le=3600)] = 60
    """Seconds without a sign of life after which a process counts as dead: the run ends and names it."""

    @property
    def computed(self) -> Literal["float32", "bfloat16"]:
        """What the low-precision blocks compute in."""
        return self.computes or self.precision

    @property
    def exchange_minutes(self) -> float:
        """The process group's own time-out: later than the heartbeat's, which knows names, by as much again
        or two minutes."""
        return self.timeout_minutes + min(self.timeout_minutes, 2)

    @model_validator(mode="after")
    def _computes_no_less_than_asked(self) -> EngineConfig:
        if self.computes == "bfloat16" and self.precision == "float32":
            raise ValueError(
                "engine.computes=bfloat16: not with engine.precision=float32; allowed: float32, null"
            )
        return self

    @field_validator("stage")
    @classmethod
    def _weights_stay_whole(cls, stage: int) -> int:
        if stage == 3:
            raise ValueError(
                "3 is not offered: it splits the weights, which penalties with second derivatives and lazy "
                "phases need whole outside DeepSpeed's own forward; allowed: 0, 1, 2"
            )
        if stage > 3:
            raise ValueError("allowed: 0, 1, 2")
        return stage


class OpsConfig(Strict):
    """Which implementation of the fused operations to use."""

    backend: Literal["auto", "native", "reference"] = "auto"
    """auto: compiled where it can be, else plain PyTorch. native: compiled or an error. reference: plain."""


class CheckpointsConfig(Strict):
    """Everything needed to continue."""

    every_images: PositiveCount = 200_000
    """Images between checkpoints: what a crash can cost."""
    keep: PositiveCount = 2
    """Newest checkpoints kept."""
    background: bool = True
    """Training waits for a copy in memory alone and goes on while it is written; false: it waits for the
    disk and saves that memory."""


class SnapshotsConfig(Strict):
    """The averaged generator, to sample from and to evaluate; all are kept."""

    every_images: PositiveCount = 200_000
    """Images between snapshots (one at 0 and one at the end besides)."""
    grid: Annotated[int, Field(gt=0, le=1024)] = 32
    """Images in the sample grid drawn with each snapshot."""


class StopConfig(Strict):
    """An end before the run's length, when `hrgan evaluate RUN --watch` finds no progress."""

    metric: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=80)] | None = None
    """By which metric, as evaluation names it: fid, swd, fid-dinov2, ... null: no such end."""
    patience_images: PositiveCount = 2_000_000
    """Images since the best snapshot after which a run that gets no better ends, as finished."""
    least_improvement: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the best value by which another must be better to count."""


class ReportConfig(Strict):
    """How often progress is written."""

    every_images: PositiveCount = 4_000
    """Images between two lines of the log (a tick)."""
    tensorboard: bool = True
    """Write TensorBoard event files."""


class RunConfig(Strict):
    """A whole training run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of everything random."""
    length: LengthConfig = LengthConfig()
    """When the run is finished."""
    data: DataConfig = DataConfig()
    """Which images."""
    batch: BatchConfig = BatchConfig()
    """Images a step."""
    start: StartConfig = StartConfig()
    """Weights to begin with."""
    family: FamilyConfig
    """Which kind of GAN, and its settings; `family.name` chooses."""
    fixtures: dict[str, FixtureConfig] = Field(default_factory=dict)
    """Frozen networks that the family asks for, by its names for them."""
    engine: EngineConfig = EngineConfig()
    """Processes, precision, device."""
    ops: OpsConfig = OpsConfig()
    """Fused operations."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """What a restart needs."""
    snapshots: SnapshotsConfig = SnapshotsConfig()
    """What sampling needs."""
    stop: StopConfig = StopConfig()
    """When no progress ends it."""
    report: ReportConfig = ReportConfig()
    """What a person reads."""

    def begun(self, *, transfer: bool) -> RunConfig:
        """With `start.transfer` decided, and what the family makes of it."""
        start = self.start.model_copy(update={"transfer": transfer})
        family = self.family.transferred() if transfer else self.family
        return self.model_copy(update={"start": start, "family": family})

    def computing(self, computes: Literal["float32", "bfloat16"]) -> RunConfig:
        """With `engine.computes` decided, unless it is given."""
        engine = self.engine.model_copy(update={"computes": self.engine.computes or computes})
        return self.model_copy(update={"engine": engine})

    @model_validator(mode="after")
    def _compiled_or_recomputed(self) -> RunConfig:
        if self.engine.compile and self.engine.recompute != "off":
            raise ValueError(
                f"engine.recompute={self.engine.recompute}: not with engine.compile=true, whose graphs "
                "decide themselves what they keep; allowed: off"
            )
        return self

    @model_validator(mode="after")
    def _micro_divides(self) -> RunConfig:
        micro = self.batch.micro
        if isinstance(micro, int) and self.batch.size % micro:
            raise ValueError(f"batch.micro={micro} does not divide batch.size={self.batch.size}")
        return self
