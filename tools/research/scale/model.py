"""The model, which turns counts and constants into seconds, bytes and days on any number of GPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.config.run import RunConfig
from pipeline.training.trainer import micro_batches
from tools.research.scale.constants import Constants
from tools.research.scale.counting import Count, Exchange, PhaseCount, Span

_ADAM_PASSES = 7  # reads weight, gradient and both moments; writes weight and both moments
_AVERAGE_PASSES = 3  # reads both, writes the average
_BACKWARD = 2 / 3  # of a turn's time: the part that an exchange can hide behind
_BUCKET = 200e6  # bytes that DeepSpeed reduces at once, at most
REFERENCE_GPUS = 8  # what the published settings are meant for


@dataclass(frozen=True)
class Cluster:
    """`gpus` in nodes that the constants describe."""

    gpus: int
    constants: Constants

    @property
    def nodes(self) -> int:
        return math.ceil(self.gpus / self.constants["gpus_per_node"])

    def all_reduce(self, size: float) -> float:
        """Seconds of one of `size` bytes: ring or tree, whichever is quicker, as NCCL chooses.

        Ring: 2 (W - 1) hops, each of size / W bytes. Tree: up and down, log2(nodes) hops between nodes and a
        chain within each, in a pipeline. (Thakur et al. 2005, sections 3 and 4; Sanders et al. 2009 for
        trees that use the bandwidth both ways.) All GPUs of a node take part at once, so that the bandwidth
        between nodes is a node's.
        """
        if self.gpus == 1:
            return 0.0
        constants, ranks = self.constants, self.gpus
        hop, bandwidth = constants["inside_latency"], constants["inside_bandwidth"]
        if self.nodes > 1:
            hop = constants["between_latency"]
            alone = constants["gpus_per_node"] == 1
            bandwidth = (
                constants["between_bandwidth"] if alone else min(bandwidth, constants["between_bandwidth"])
            )
        ring = 2 * (ranks - 1) * (hop + size / ranks / bandwidth)
        inside = min(ranks, constants["gpus_per_node"]) - 1
        depth = (
            math.ceil(math.log2(self.nodes)) * constants["between_latency"]
            + inside * constants["inside_latency"]
        )
        return min(ring, 2 * depth + 2 * size / bandwidth)

    def scatter(self, size: float) -> float:
        """Seconds of a reduce-scatter, or of an all-gather: each is half of an all-reduce."""
        return self.all_reduce(size) / 2


@dataclass(frozen=True)
class StepTime:
    """Mean seconds of a step over a cycle of lazy phases: compute, update (Adam, average), gradients and norm
    (what of the exchanges is not hidden); sent: bytes of each kind that a step exchanges, per network."""

    compute: float
    update: float
    gradients: float
    norm: float
    sent: dict[str, float]

    @property
    def total(self) -> float:
        return self.compute + self.update + self.gradients + self.norm

    @property
    def communication(self) -> float:
        return self.gradients + self.norm


@dataclass(frozen=True)
class ModelSetting:
    """How a run is split.

    zero: the stage of ZeRO; None for `replicated`. rate: FLOP/s of a GPU. micro: the most images that a GPU
    holds at once; None for all of them.
    """

    constants: Constants
    rate: float
    micro: int | None = None
    zero: int | None = None


def setting(config: RunConfig, chosen: Constants) -> ModelSetting:
    """Returns how a configuration is split under `replicated`."""
    micro = config.batch.micro
    return ModelSetting(chosen, chosen[f"rate_{config.engine.precision}"], None if micro == "auto" else micro)


def step_time(count: Count, gpus: int, images: int, how: ModelSetting) -> StepTime:
    """Returns the time of one step with `images` per GPU."""
    cluster, constants = Cluster(gpus, how.constants), how.constants
    micros = micro_batches(images, how.micro)
    compute = update = gradients = norm = 0.0
    sent: dict[str, float] = {"stats": float(_bytes(count.stats))}
    for phase in count.phases:
        often = phase.repeats / phase.every
        turn = micros * (phase.flops.at(images / micros) / how.rate + constants["launch_seconds"])
        split = gpus if how.zero else 1
        update += often * _ADAM_PASSES * count.trainable[phase.trains] / split / constants["memory_bandwidth"]
        between = _gradient_seconds(phase, cluster, micros, how.zero)
        hidden = min(constants["overlap"] * between, _BACKWARD * turn)
        compute += often * turn
        gradients += often * (between - hidden)
        norm += often * micros * sum(cluster.all_reduce(one.bytes) for one in phase.norm)
        if gpus > 1:
            for kind, size in (
                (phase.trains, _bytes(phase.gradients)),
                ("norm", micros * _bytes(phase.norm)),
            ):
                sent[kind] = sent.get(kind, 0.0) + often * size
    update += _AVERAGE_PASSES * count.held["generator"] / constants["memory_bandwidth"]
    norm += sum(cluster.all_reduce(one.bytes) for one in count.stats)
    return StepTime(compute, update, gradients, norm, sent if gpus > 1 else {})


def _gradient_seconds(phase: PhaseCount, cluster: Cluster, micros: int, zero: int | None) -> float:
    size = _bytes(phase.gradients)
    if zero == 2:  # reduces in every backward pass, gathers weights once
        return (micros + 1) * cluster.scatter(size)
    if zero == 1:
        return 2 * cluster.scatter(size)
    return sum(cluster.all_reduce(one.bytes) for one in phase.gradients)


def _bytes(exchanges: Sequence[Exchange]) -> int:
    return sum(one.bytes for one in exchanges)


@dataclass(frozen=True)
class Memory:
    """The bytes on one GPU, by use."""

    weights: float
    gradients: float
    moments: float
    average: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.moments + self.average + self.activations


def memory(count: Count, gpus: int, images: int, how: ModelSetting) -> Memory:
    """Returns the memory of a GPU that trains `images` of each batch; activations are those of the largest
    phase, with workspace."""
    at_once = images / micro_batches(images, how.micro)
    trained, held = sum(count.trainable.values()), sum(count.held.values())
    gradients = float(trained)
    if how.zero == 2:
        gradients = trained / gpus + min(_BUCKET, max(count.trainable.values()))
    return Memory(
        weights=held,
        gradients=gradients,
        moments=2 * trained / (gpus if how.zero else 1),
        average=count.held["generator"],
        activations=max(phase.peak.at(at_once) for phase in count.phases),
    )


def checkpoint_bytes(count: Count) -> int:
    """Returns the bytes of weights, average and both moments."""
    return sum(count.held.values()) + count.held["generator"] + 2 * sum(count.trainable.values())


@dataclass(frozen=True)
class ScaleRow:
    """One line of the table: a run on `gpus`. batch: global, of the last stage. at_once: images that a GPU
    holds at once. efficiency: against one GPU with the same images at once and no exchange."""

    family: str
    scaling: str
    gpus: int
    batch: int
    at_once: int
    step: StepTime
    seconds_per_kimg: float
    days: float
    efficiency: float
    memory: dict[str, Memory]
    images_per_second: float
    node_megabytes_per_second: float
    node_decode_cores: float
    checkpoint_bytes: int
    checkpoint_stall: float
    checkpoint_write: float


def row(family: str, spans: Sequence[Span], gpus: int, scaling: str, how: ModelSetting) -> ScaleRow | None:
    """Returns the row of a run over all spans; None if a stage's batch cannot be split over so many GPUs."""
    seconds = alone = 0.0
    for span in spans:
        images = _share(span.count, gpus, scaling)
        if images is None:
            return None
        step = step_time(span.count, gpus, images, how)
        steps = span.images / (gpus * images * span.count.times)
        seconds += steps * step.total
        alone += steps * step_time(span.count, 1, images, how).total
    last, constants = spans[-1].count, how.constants
    assert images is not None
    speed = gpus * images * last.times / step.total
    pixels = last.resolution**2
    node = speed / Cluster(gpus, constants).nodes
    size = checkpoint_bytes(last)
    kinds = {"replicated": None, "zero1": 1, "zero2": 2}
    return ScaleRow(
        family, scaling, gpus, gpus * images, images // micro_batches(images, how.micro), step,
        1000 / speed, seconds / 86400, alone / seconds,
        {name: memory(last, gpus, images, replace(how, zero=zero)) for name, zero in kinds.items()},
        speed, node * pixels * constants["image_bytes_per_pixel"] / 1e6,
        node * pixels / 1e6 * constants["decode_seconds_per_megapixel"],
        size, size / constants["host_bandwidth"], size / constants["storage_bandwidth"],
    )  # fmt: skip


def _share(count: Count, gpus: int, scaling: str) -> int | None:
    """Images of a batch on each GPU."""
    ranks = gpus if scaling == "strong" else REFERENCE_GPUS
    images, left = divmod(count.batch, ranks)
    return images if images and not left and images % count.group == 0 else None
