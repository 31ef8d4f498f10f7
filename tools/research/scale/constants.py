"""Every constant of the simulation, with its unit and its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import UserError


@dataclass(frozen=True)
class Constant:
    """One number that the simulation assumes."""

    value: float
    unit: str
    source: str


CONSTANTS: Mapping[str, Constant] = {
    "gpus_per_node": Constant(8, "GPUs", "DGX A100 data sheet"),
    "gpu_memory": Constant(80e9, "bytes", "A100 80 GB data sheet"),
    "rate_bfloat16": Constant(
        22.6e12,
        "FLOP/s",
        "StyleGAN2 'auto' at 1024px on one A100, published 90.4 s/kimg, over the FLOPs counted here; a "
        "configuration whose low-precision blocks are bfloat16",
    ),
    "rate_float32": Constant(
        5.4e12,
        "FLOP/s",
        "ProGAN at 1024px on 8 V100, published 2 days, over the FLOPs counted here, times the float32 peaks "
        "of A100 over V100 (19.5 / 15.7, data sheets)",
    ),
    "memory_bandwidth": Constant(2.0e12, "bytes/s", "A100 80 GB data sheet; Adam and the average"),
    "launch_seconds": Constant(
        0.0015, "s", "assumed: host time of a turn that no GPU work hides, each micro-batch"
    ),
    "inside_bandwidth": Constant(240e9, "bytes/s", "NVLink 3: 300 GB/s each way (data sheet), 0.8 of it"),
    "inside_latency": Constant(5e-6, "s", "assumed: one hop between GPUs of a node"),
    "between_bandwidth": Constant(
        160e9, "bytes/s", "of a node: 8 InfiniBand HDR cards of 25 GB/s (data sheet), 0.8 of it"
    ),
    "between_latency": Constant(10e-6, "s", "assumed: one hop between nodes"),
    "overlap": Constant(
        0, "share", "of an exchange hidden behind the backward pass: none, as with engine.bucket_mb=0"
    ),
    "image_bytes_per_pixel": Constant(0.4, "bytes", "JPEGs of photographs (tools/bench/loader.py)"),
    "decode_seconds_per_megapixel": Constant(
        0.0045, "core-s", "measured by tools/bench/loader.py: one CPU core, JPEG to uint8"
    ),
    "storage_bandwidth": Constant(2e9, "bytes/s", "assumed: one process, to shared storage"),
    "host_bandwidth": Constant(20e9, "bytes/s", "assumed: GPU to pinned host memory over PCIe 4"),
}  # fmt: skip


@dataclass(frozen=True)
class Constants:
    """The constants of one simulation, by name."""

    values: Mapping[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values[name]


def constants(overrides: Sequence[str] = ()) -> Constants:
    """Returns the table with `name=value` overrides applied. Raises UserError for an unknown name or what is
    not a number."""
    values = {name: constant.value for name, constant in CONSTANTS.items()}
    return Constants(overridden(values, overrides, may_be_zero=("overlap", "launch_seconds")))


def overridden(
    values: Mapping[str, float], overrides: Sequence[str], *, may_be_zero: Sequence[str] = ()
) -> dict[str, float]:
    """`values` with `name=value` overrides (--set). UserError for an unknown name, or what is no number above
    0."""
    constants = dict(values)
    for text in overrides:
        name, _, value = text.partition("=")
        if name not in constants:
            raise UserError(f"--set: {name!r} is no constant; allowed: {', '.join(constants)}")
        try:
            constants[name] = float(value)
        except ValueError:
            raise UserError(f"--set: {text!r}: allowed: {name}= and a number") from None
        if not constants[name] >= 0 or (not constants[name] and name not in may_be_zero):
            raise UserError(f"--set: {text!r}: allowed: a number above 0")
    return constants


def table(chosen: Constants) -> list[str]:
    """Returns the table as lines of Markdown."""
    lines = ["| constant | value | unit | source |", "|---|---|---|---|"]
    for name, constant in CONSTANTS.items():
        source = constant.source if chosen[name] == constant.value else "--set"
        lines.append(f"| {name} | {chosen[name]:.4g} | {constant.unit} | {source} |")
    return lines
