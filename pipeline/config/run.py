"""The schema of a training run: every key, its meaning, its unit and its default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.families import FamilyConfig, Strict
from pipeline.config.units import CountOrAuto, PositiveCount, Seconds


class LengthConfig(Strict):
    """When the run is finished."""

    images: PositiveCount = 25_000_000
    """How many real images the discriminator sees over the whole run, such as 25M."""
    time: Seconds | None = None
    """Wall-clock limit of one start, such as 23h30m: the run then saves and stops, and goes on when it is
    started again. null: no limit."""


class DataConfig(Strict):
    """Which images the run sees, in which order, and how they are read."""

    path: str | None = None
    """Folder of shards with its index.json, as `hrgan prepare` or `hrgan generate` makes it, on disk or in a
    store: http://, https://, s3://, gs:// or az:// (extra `cloud`). A run may find it elsewhere when it goes
    on."""
    second: str | None = None
    """Folder of shards of a second set, unpaired, for families that learn from two; its images must have the
    same size."""
    resolution: PositiveCount | None = None
    """Pixels a side that the shards must have, or the run does not begin; null: any."""
    labels: bool | None = None
    """Whether to train class-conditionally; null: if and only if the shards have labels."""
    mirror: bool = False
    """Flip half of the images left to right; which half follows from their positions in the run. Wrong for
    anything that has a left and a right, such as text, digits and anatomy."""
    lanes: Annotated[int, Field(gt=0, le=65536)] = 64
    """How many places of the data set are read side by side. This decides the order of the images, so it is
    fixed for a run. A multiple of the number of processes keeps reads sequential."""
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    """Loader processes for each training process, and as many again if a phase has real images of its own
    (R3GAN's generator). 0 decodes in the training process."""
    prefetch: Annotated[int, Field(gt=0)] = 4
    """Chunks of images that each worker decodes ahead."""
    on_damage: Literal["error", "skip"] = "error"
    """What to do about a damaged shard or image. error: stop and name it. skip: take the next good image
    instead, and count it."""
    cache: str | None = None
    """Folder on this machine for shards that lie in a store, shared by all processes and runs. null: what the
    environment variable HRGAN_CACHE names, or ~/.cache/hrgan/shards."""
    cache_gb: Annotated[float, Field(gt=0, le=1e6)] = 100
    """How much that folder may hold, in GB (10^9 bytes); the shards that were not read for longest make room.
    Those of all `lanes` should fit in."""
    store_patience_seconds: Annotated[float, Field(ge=0, le=86_400)] = 600
    """How long a store that fails is tried again before the run ends, in seconds since it last gave
    anything. Less than engine.timeout_minutes, or the other processes end first."""
    store_silence_seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    """After how many seconds without a byte a request to a store has failed and is made again."""


class BatchConfig(Strict):
    """How many images a step sees."""

    size: PositiveCount = 32
    """Global batch, in images: the sum over all processes."""
    micro: CountOrAuto | None = None
    """How many images a process computes at once; gradients are accumulated over the rest. null: all. auto:
    as many as fit in memory, which a few trial steps find out before the run's first; the run keeps the
    number."""


class StartConfig(Strict):
    """What a run begins with. Once it has a checkpoint, these keys no longer matter."""

    source: str | None = None
    """A snapshot, checkpoint or run whose weights are taken over where name and shape fit (transfer
    learning). Its resolution and number of classes may differ; whatever does not fit starts fresh. null:
    everything starts fresh."""
    keep: Literal["weights", "all"] = "weights"
    """What is taken from the source. weights: what fits, into a run that begins at 0 images. all: everything
    that a checkpoint holds, or nothing if something does not fit: weights, average, moments, memory (ADA's
    p, running means) and position. The run then goes on where the source stood, under its own settings and
    data, and `length.images` counts the source's images too. The source is a run or one of its
    checkpoints."""
    transfer: bool | None = None
    """Whether to go on with the source's averaged generator. The average then neither ramps up nor begins as
    a copy, and ADA's p moves faster. null: if and only if there is a source; with keep=all, as the source
    has it. Choose false where layers start fresh and the average has a long half-life. A run keeps what it
    began with."""

    @model_validator(mode="after")
    def _keeps_something(self) -> StartConfig:
        if self.keep == "all" and self.source is None:
            raise ValueError("start.keep=all: needs start.source, a run to go on from; allowed: weights")
        return self


class FixtureConfig(Strict):
    """One of the frozen networks that a family asks for."""

    file: str
    """Its weights: a .safetensors file, or a snapshot, of which it is the generator. A run may find it
    elsewhere when it goes on."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """What the file must be. null: what it is where the run begins, which keeps to it."""


class EngineConfig(Strict):
    """How the processes exchange gradients, in which precision they compute, and on what device."""

    kind: Literal["replicated", "zero"] = "replicated"
    """replicated: every process holds all weights and moments, and a phase ends with one flat all-reduce.
    zero: DeepSpeed, with `stage` (needs the extra `deepspeed`). A run may change it between two starts; the
    results agree up to rounding."""
    stage: Annotated[int, Field(ge=0)] = 1
    """With kind=zero, what is split over the processes. 0: nothing. 1: Adam's moments. 2: the reduced
    gradients too."""
    bucket_mb: Annotated[float, Field(ge=0, le=10_000)] = 0
    """With kind=replicated: send gradients in buckets of so many megabytes while others are still being
    computed. 0: all at once, after the backward pass. The results agree up to rounding, on two processes to
    the bit. Neither was clearly faster on a CPU; it has not been measured on a GPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: the family's low-precision blocks compute in bfloat16; weights and exact penalties stay in
    float32. Refused if the family has no such blocks."""
    tf32: Literal["off", "main", "on"] = "main"
    """Which float32 convolutions and matrix products may use TF32, with its ten bits of mantissa, on a GPU
    that has it. off: none. main: those of phases without an exact gradient penalty. on: in the other
    phases, also those that make fakes without a gradient. Exact penalties, samples and metrics always compute
    in full float32."""
    computes: Literal["float32", "bfloat16"] | None = None
    """What the low-precision blocks really compute in. null: as `precision` says, but float32 if the run
    begins on a CPU without bfloat16 instructions, where bfloat16 would take several times as long. A run
    keeps what it began with."""
    compile: bool = False
    """Run the networks of the main phases through torch.compile; exact penalties stay eager. The first step
    takes minutes longer. It gains nothing on a CPU, where the compiled operations leave it nothing to fuse.
    Refused if no part of the family's networks can be compiled."""
    graphs: Literal["auto", "off"] = "auto"
    """auto: on a GPU, a phase that comes at every step is captured in a CUDA graph once a stage and launched
    as a whole from then on. The operations are the same; the GPU waits less for the host, and the graph needs
    memory of its own. Not used with `compile`, nor where processes exchange gradients or batch statistics
    within a phase."""
    recompute: Literal["off", "blocks"] = "off"
    """blocks: compute each block of the networks again in the backward pass instead of keeping its
    activations. A main phase then takes half the memory, for the same gradients and one more forward pass.
    Penalties, which differentiate twice, save a tenth at most. Cannot be combined with `compile`."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. auto: on a GPU if there is one."""
    deterministic: bool = False
    """true: use only repeatable algorithms on a GPU, so that a restart goes on bit for bit, as it always does
    on a CPU; slower. false: cuDNN takes what it measures to be fastest, and some sums have no fixed order."""
    bad_steps: PositiveCount = 20
    """Stop the run when a phase has skipped so many updates in a row because a gradient was not finite."""

    timeout_minutes: Annotated[float, Field(gt=0, le=1440)] = 30
    """How long processes wait for one that is behind, in minutes, before the run ends and names it."""
    silence_seconds: Annotated[float, Field(ge=1, le=3600)] = 60
    """After so many seconds without a sign of life a process counts as dead: the run ends and names it."""

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
    """Which implementation of the fused operations is used."""

    backend: Literal["auto", "native", "reference"] = "auto"
    """auto: compiled where that is possible, else plain PyTorch. native: compiled, or an error. reference:
    plain PyTorch."""


class CheckpointsConfig(Strict):
    """Checkpoints hold everything that a run needs to go on."""

    every_images: PositiveCount = 200_000
    """Images between two checkpoints: the most work that a crash can cost."""
    keep: PositiveCount = 2
    """How many checkpoints are kept, the newest ones."""
    background: bool = True
    """true: training waits only until a copy is in memory, and goes on while that is written. false: it waits
    for the disk, and needs no memory for a copy."""


WIDEST = 0.2886
"""A bound on the widths of averages: nearly 1 / sqrt(12), that of the plain mean over all images seen."""

Width = Annotated[float, Field(gt=0, lt=WIDEST)]


class AveragesConfig(Strict):
    """Averages of the generator beside the family's own, of which `hrgan average` makes others after training
    (Karras et al. 2024). They change nothing that is trained."""

    widths: Annotated[tuple[Width, ...], Field(max_length=8)] = (0.01, 0.05)
    """Their widths: the standard deviation of an average over the images seen, as a share of these (section
    3). Each takes as much memory as the generator's weights. []: none. One that a run adds begins there."""
    stored: bool = True
    """Whether snapshots keep them, in 2 bytes a weight for each width. Without them no other can be made."""

    @field_validator("widths")
    @classmethod
    def _widths_differ(cls, widths: tuple[float, ...]) -> tuple[float, ...]:
        names = [f"{width:g}" for width in widths]
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)}: one stands there twice; allowed: different ones")
        return widths


class SnapshotsConfig(Strict):
    """Snapshots hold the averaged generator, to sample from and to evaluate. All of them are kept."""

    every_images: PositiveCount = 200_000
    """Images between two snapshots. There is also one at 0 images and one at the end."""
    grid: Annotated[int, Field(gt=0, le=1024)] = 32
    """How many images the sample grid of each snapshot shows."""


class StopConfig(Strict):
    """Ending a run before its length, when `hrgan evaluate RUN --watch` sees no more progress."""

    metric: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=80)] | None = None
    """The metric that progress is judged by, under its name in evaluation: fid, swd, fid-dinov2, ... null:
    the run never ends early."""
    patience_images: PositiveCount = 2_000_000
    """The run ends, as finished, when so many images after its best snapshot none has been better."""
    least_improvement: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """By which share of the best value another must be better to count as better."""


class ReportConfig(Strict):
    """How progress is reported."""

    every_images: PositiveCount = 4_000
    """Images between two lines of the log; such an interval is called a tick."""
    tensorboard: bool = True
    """Whether TensorBoard's event files are written."""


class RunConfig(Strict):
    """A whole training run."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The seed from which everything random follows."""
    length: LengthConfig = LengthConfig()
    """When the run is finished."""
    data: DataConfig = DataConfig()
    """Which images the run sees, and how they are read."""
    batch: BatchConfig = BatchConfig()
    """How many images a step sees."""
    start: StartConfig = StartConfig()
    """What the run begins with."""
    family: FamilyConfig
    """Which kind of GAN, and its settings; `family.name` chooses."""
    fixtures: dict[str, FixtureConfig] = Field(default_factory=dict)
    """Frozen networks that the family asks for, by its names for them."""
    engine: EngineConfig = EngineConfig()
    """Processes, precision and device."""
    ops: OpsConfig = OpsConfig()
    """Which implementation of the fused operations is used."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """When everything that a restart needs is saved."""
    snapshots: SnapshotsConfig = SnapshotsConfig()
    """When the averaged generator is saved for sampling and evaluation."""
    averages: AveragesConfig = AveragesConfig()
    """Which averages of the generator are kept beside the family's own."""
    stop: StopConfig = StopConfig()
    """When the run ends early for want of progress."""
    report: ReportConfig = ReportConfig()
    """How progress is reported."""

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
