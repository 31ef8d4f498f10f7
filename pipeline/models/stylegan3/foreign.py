"""StyleGAN3 weights of the authors' code: their names, the plan of layers that these and the layers' numbers
state, and the filters that lie beside them.

The facts come from `training/networks_stylegan3.py` of stylegan3. Its tensors hold the same numbers as ours.
Its filters are stored, ours are designed anew from the plan, so that a file with other filters is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError

from pipeline.config.families import StyleGAN3Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.foreign import Format, Imported, Part, Parts
from pipeline.models.stylegan2.foreign import (
    Weights,
    ada_discriminator,
    ada_name,
    channels_of,
    check_layers,
    renamed,
    settings_of_clamp,
)
from pipeline.models.stylegan3.filters import low_pass
from pipeline.models.stylegan3.plan import Step, steps_of

_LAYER = re.compile(r"synthesis\.L(\d{1,3})_(\d{1,5})_(\d{1,5})\.(.+)")
_MAPPING = re.compile(r"mapping\.fc\d{1,3}\.weight")
_OF_A_LAYER = ("weight", "bias", "affine.weight", "affine.bias")
_INPUT = {"weight": "weight", "affine.weight": "affine.weight", "affine.bias": "affine.bias",
    "freqs": "frequencies", "phases": "phases"}  # fmt: skip
_CLASSES = {"Generator", "Discriminator", "AugmentPipe", ""}
_MOST = 10_000
"""The largest number that a layer or the whole network may note of itself."""
_ROUNDING = 1e-6
"""How far stored filters may be from designed ones, relative to their largest tap: both are rounded to
float32 (6e-8), and libraries differ in the last bits of Bessel functions. The same of the plan's numbers."""


def stylegan3_name(theirs: str) -> str | None:
    """Returns our name of a tensor of their generator; None for a name that it does not use, and for filters
    and the user's transform, which ours does not store."""
    if theirs.startswith("mapping."):
        return ada_name(theirs)
    if theirs.startswith("synthesis.input."):
        ours = _INPUT.get(theirs.removeprefix("synthesis.input."))
        return ours and f"synthesis.input.{ours}"
    if (match := _LAYER.fullmatch(theirs)) is None:
        return None
    place = f"synthesis.layers.{int(match[1])}"
    if match[4] == "magnitude_ema":
        return f"{place}.magnitude"
    return f"{place}.{match[4]}" if match[4] in _OF_A_LAYER else None


def _is_stylegan3(parts: Parts) -> bool:
    """By its names; StyleGAN-XL and StyleGAN-T, whose generators have them too, play with other classes."""
    return (
        "G_ema" in parts
        and any(name.startswith(("synthesis.L", "synthesis.input.")) for name in parts["G_ema"].tensors)
        and {part.kind for part in parts.values()} <= _CLASSES
    )


def from_stylegan3(parts: Parts, discriminator: bool) -> Imported:
    """Converts their G_ema and, if asked for, D. Raises UserError for networks that differ from ours."""
    part = parts["G_ema"]
    check_layers(part, "generator")
    names = _layers(part)
    fields = _fields(part, names)
    other = None
    if discriminator:
        if "D" not in parts:
            raise UserError("--discriminator: it holds no discriminator; leave the option out")
        other, settings = ada_discriminator(parts["D"], fields["clamp"])
        fields |= {**settings, **_widths_of(other)}
    config = _config(fields)
    spec = _spec(part)
    steps = steps_of(config, spec.height, spec.channels)
    _check_plan(part, names, steps)
    _check_filters(part, names, steps, config.radial)
    return Imported(config, spec, _generator(part), other)


def _layers(part: Part) -> list[str]:
    """Returns the full names of their layers, "synthesis.L0_36_512" first."""
    found = {
        int(m[1]): name.removesuffix(f".{m[4]}") for name in part.tensors if (m := _LAYER.fullmatch(name))
    }
    if sorted(found) != list(range(len(found))) or len(found) < 2:
        raise UserError("its generator does not fit ours: layers are missing")
    return [found[number] for number in range(len(found))]


def _fields(part: Part, names: list[str]) -> dict[str, Any]:
    """Returns the settings of the generator: what its tensors and modules tell, and else what it was made
    with or, where it was not told, the authors' defaults."""
    noted, first, defaults = part.settings, names[0], StyleGAN3Config()
    weights = {key: _matrix(part, f"mapping.{key}.weight") for key in ("embed", "fc0")}
    w_dim = weights["fc0"][0]
    try:
        fields = {
            "mapping_rate": noted["mapping.fc0.bias_gain"],
            "radial": any(noted[f"{name}.down_radial"] for name in names),
            "output_scale": noted["synthesis.output_scale"],
            **settings_of_clamp(noted[f"{first}.conv_clamp"]),
        }
    except KeyError as error:
        raise _unsaid(error.args[0]) from error
    told = ("channel_base", "channel_max", "first_cutoff", "first_stopband", "last_stopband_rel")
    return {
        **fields,
        **{key: noted.get(f"init.{key}", getattr(defaults, key)) for key in told},
        "z_dim": weights["fc0"][1] - weights["embed"][0],
        "w_dim": w_dim,
        "mapping_layers": len([name for name in part.tensors if _MAPPING.fullmatch(name)]),
        "layers": len(names) - 1,
        "critical_layers": _whole(part, "synthesis.num_critical"),
        "kernel": _whole(part, f"{first}.conv_kernel"),
        "margin": _whole(part, "synthesis.margin_size"),
        "filter_size": _whole(part, f"{first}.up_taps") // max(_whole(part, f"{first}.up_factor"), 1),
        "low_precision_levels": _whole(part, "synthesis.num_fp16_res"),
    }


def _matrix(part: Part, name: str) -> tuple[int, int]:
    """Returns the shape of a matrix; of none, (0, 0)."""
    shape = part.tensors[name].shape if name in part.tensors else (0, 0)
    if len(shape) != 2:
        raise UserError(f"its generator does not fit ours: {name} has shape {list(shape)}")
    return shape[0], shape[1]


def _whole(part: Part, key: str) -> int:
    """Returns a whole number that a module notes, up to `_MOST`."""
    found = part.settings.get(key)
    if type(found) is not int or not 0 <= found <= _MOST:
        raise _unsaid(key)
    return found


def _unsaid(key: str) -> UserError:
    return UserError(f"its generator does not say what it is: {key} is missing or odd")


def _widths_of(discriminator: Weights) -> dict[str, int]:
    """Returns the settings of the discriminator's channels."""
    levels = len([name for name in discriminator if re.fullmatch(r"blocks\.\d+\.conv0\.weight", name)])
    names = ["head.conv.weight", *(f"blocks.{level}.conv0.weight" for level in range(levels))]
    if missing := [name for name in names if name not in discriminator]:
        raise UserError(f"its discriminator does not fit ours: {missing[0]} is missing")
    return {
        f"discriminator_{key}": width
        for key, width in channels_of([discriminator[name].shape[0] for name in names]).items()
    }


def _config(fields: Mapping[str, Any]) -> StyleGAN3Config:
    try:
        return StyleGAN3Config(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "settings"
        raise UserError(f"its {place} cannot be {ascii(first['input'])[:40]}: {first['msg']}") from error


def _spec(part: Part) -> ImageSpec:
    side, channels = _whole(part, "img_resolution"), _whole(part, "img_channels")
    return ImageSpec(side, side, channels, _matrix(part, "mapping.embed.weight")[1])


def _check_plan(part: Part, names: list[str], steps: list[Step]) -> None:
    """Raises UserError for the first number of a layer that is not that of the computed plan."""
    for number, (name, step) in enumerate(zip(names, steps, strict=True)):
        planned = f"L{number}_{step.target.size}_{step.target.channels}"
        if name.removeprefix("synthesis.") != planned:
            raise UserError(
                f"its layer {name.removeprefix('synthesis.')} is not of our plan, which has {planned}"
            )
        for key, wanted in noted_of(step).items():
            found = part.settings.get(f"{name}.{key}")
            if not _is_close(found, wanted):
                shown = ascii(found)[:40]
                raise UserError(f"its layer {planned} is not of our plan: {key} is {shown}, not {wanted:.6g}")


def _is_close(found: Any, wanted: float) -> bool:
    # The bound keeps whole numbers from overflowing as floats.
    return (
        isinstance(found, int | float)
        and abs(found) <= _MOST
        and math.isclose(found, wanted, rel_tol=_ROUNDING)
    )


def noted_of(step: Step) -> dict[str, float]:
    """Returns what their layers note of their place in the plan."""
    rows = {"in": step.source, "out": step.target}
    noted: dict[str, float] = {}
    for end, row in rows.items():
        noted |= {
            f"{end}_sampling_rate": row.rate,
            f"{end}_cutoff": row.cutoff,
            f"{end}_half_width": row.half_width,
        }
    more = {"up_factor": step.up, "down_factor": step.down, "conv_kernel": step.kernel}
    return {**noted, **more, "is_critically_sampled": step.critical, "is_torgb": step.to_image}


def _check_filters(part: Part, names: list[str], steps: list[Step], radial: bool) -> None:
    """Raises UserError for the first filter that is not the one which ours designs."""
    for name, step in zip(names, steps, strict=True):
        for end, (row, taps, both) in {
            "up": (step.source, step.up_taps, False),
            "down": (step.target, step.down_taps, radial and not step.critical),
        }.items():
            stored = part.tensors.get(f"{name}.{end}_filter")
            shape = [taps] * (0 if taps == 1 else 2 if both else 1)
            if (list(stored.shape) if stored is not None else []) != shape:
                raise _other_filter(name, end, f"its shape is not {shape}" if shape else "ours has none")
            if stored is None:
                continue
            # Only now, when its size is known to be that of numbers in the file.
            designed = low_pass(taps, row.cutoff, 2 * row.half_width, step.work_rate, radial=both)
            assert designed is not None
            far = float((stored.float() - designed).abs().max() / designed.abs().max())
            if not far <= _ROUNDING:
                raise _other_filter(name, end, f"taps differ by {far:.1e} of the largest")


def _other_filter(name: str, end: str, why: str) -> UserError:
    shown = f"{name.removeprefix('synthesis.')}.{end}_filter"
    return UserError(f"its filter {shown} is not the one that the plan asks for: {why}")


def _generator(part: Part) -> Weights:
    stored = {}
    for name, tensor in part.tensors.items():
        if name == "synthesis.input.transform":
            if not torch.equal(tensor.float(), torch.eye(3)):
                raise UserError("its input is moved (synthesis.input.transform); allowed: the identity")
        elif not (_LAYER.fullmatch(name) and name.endswith((".up_filter", ".down_filter"))):
            stored[name] = tensor
    return renamed(stored, stylegan3_name, "generator")


STYLEGAN3 = Format("a stylegan3 .pkl of StyleGAN3-T or -R", _is_stylegan3, from_stylegan3)
