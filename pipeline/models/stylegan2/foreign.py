"""StyleGAN2 weights of other projects: their names and shapes, and what these imply about the networks.

The facts come from `training/networks*.py` of stylegan2-ada-pytorch and stylegan3, and from rosinality's
`model.py`. Their tensors hold the same numbers as ours, but names and dimensions of size 1 differ, and their
upsampling layers convolve where ours correlate, so that those weights are mirrored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

import ops
from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.foreign import Format, Imported, Part, Parts
from pipeline.models.stylegan2.mapping import MappingNetwork

Weights = dict[str, Tensor]
_AVERAGED_OVER = 16384
_TAPS = (1, 3, 3, 1)


def ada_name(theirs: str) -> str | None:
    """Returns our name of a tensor of stylegan2-ada-pytorch; None for a name that it does not use."""
    if match := re.fullmatch(r"mapping\.(?:(embed)|fc(\d{1,4}))\.(weight|bias)", theirs):
        place = match[1] or f"layers.{match[2]}"
        return f"mapping.{place}.{match[3]}"
    if theirs == "mapping.w_avg":
        return theirs
    if match := re.fullmatch(r"(synthesis\.)?b(\d{1,5})\.(.+)", theirs):
        level = int(match[2]).bit_length() - 3
        return _ada_synthesis(level, match[3]) if match[1] else _ada_discriminator(level, match[3])
    return None


def _ada_synthesis(level: int, rest: str) -> str | None:
    block = f"synthesis.blocks.{level}"
    if rest in ("const", "skip.weight"):
        return f"{block}.{rest}"
    match = re.fullmatch(
        r"(torgb|conv[01])\.(weight|bias|affine\.weight|affine\.bias|noise_const|noise_strength)", rest
    )
    if match is None:
        return None
    # The lowest block has one convolution, which they call the second.
    layer = "to_image" if match[1] == "torgb" else f"convs.{int(match[1][-1]) - (level == 0)}"
    return f"{block}.{layer}.{match[2]}"


def _ada_discriminator(level: int, rest: str) -> str | None:
    layers = {"fromrgb": "from_image", "conv0": "conv0", "conv1": "conv1", "skip": "skip"}
    if level == 0:
        layers = {"fromrgb": "from_image", "conv": "conv", "fc": "dense", "out": "out"}
    layer, _, what = rest.partition(".")
    if layer not in layers or what not in ("weight", "bias"):
        return None
    return f"head.{layers[layer]}.{what}" if level == 0 else f"blocks.{level - 1}.{layers[layer]}.{what}"


def rosinality_name(theirs: str, levels: int) -> str | None:
    """Returns our name of a tensor of rosinality's networks; None for a name that they do not use.

    levels: the number of resolutions above 4px.
    """
    if match := re.fullmatch(r"style\.(\d{1,4})\.(weight|bias)", theirs):
        return f"mapping.layers.{int(match[1]) - 1}.{match[2]}"
    if theirs == "input.input":
        return "synthesis.blocks.0.const"
    if match := re.fullmatch(r"noises\.noise_(\d{1,4})", theirs):
        number = int(match[1])
        place = (number + 1) // 2, (number - 1) % 2 if number else 0
        return f"synthesis.blocks.{place[0]}.convs.{place[1]}.noise_const"
    if match := re.fullmatch(r"(conv1|to_rgb1|convs\.(\d{1,4})|to_rgbs\.(\d{1,4}))\.(\D+)", theirs):
        return _rosinality_synthesis(*match.groups())
    return _rosinality_discriminator(theirs, levels)


def _rosinality_synthesis(layer: str, conv: str | None, image: str | None, what: str) -> str | None:
    parameters = {
        "conv.weight": "weight",
        "conv.modulation.weight": "affine.weight",
        "conv.modulation.bias": "affine.bias",
        "noise.weight": "noise_strength",
        "activate.bias": "bias",
        "bias": "bias",
    }
    places = {"conv1": "0.convs.0", "to_rgb1": "0.to_image"}
    if conv is not None:
        places[layer] = f"{int(conv) // 2 + 1}.convs.{int(conv) % 2}"
    if image is not None:
        places[layer] = f"{int(image) + 1}.to_image"
    return f"synthesis.blocks.{places[layer]}.{parameters[what]}" if what in parameters else None


def _rosinality_discriminator(theirs: str, levels: int) -> str | None:
    head = {"final_conv.0.weight": "conv.weight", "final_conv.1.bias": "conv.bias"}
    head |= {f"final_linear.0.{what}": f"dense.{what}" for what in ("weight", "bias")}
    head |= {f"final_linear.1.{what}": f"out.{what}" for what in ("weight", "bias")}
    if theirs in head:
        return f"head.{head[theirs]}"
    first = {"convs.0.0.weight": "from_image.weight", "convs.0.1.bias": "from_image.bias"}
    if theirs in first:
        return f"blocks.{levels - 1}.{first[theirs]}"
    match = re.fullmatch(r"convs\.(\d{1,4})\.(\w+\.\d\.\w+)", theirs)
    layers = {
        "conv1.0.weight": "conv0.weight",
        "conv1.1.bias": "conv0.bias",
        "conv2.1.weight": "conv1.weight",
        "conv2.2.bias": "conv1.bias",
        "skip.1.weight": "skip.weight",
    }
    if match is None or match[2] not in layers:
        return None
    return f"blocks.{levels - int(match[1])}.{layers[match[2]]}"


def _is_ada(parts: Parts) -> bool:
    """StyleGAN3 and what grew from it have the same mapping network, but no `synthesis.b4`."""
    if "G_ema" not in parts or "mapping.fc0.weight" not in parts["G_ema"].tensors:
        return False
    return not any(re.match(r"synthesis\.(input\.|L\d)", name) for name in parts["G_ema"].tensors)


def _is_rosinality(parts: Parts) -> bool:
    return "g_ema" in parts and "style.1.weight" in parts["g_ema"].tensors


def from_ada(parts: Parts, discriminator: bool) -> Imported:
    """Converts stylegan2-ada-pytorch's G_ema and, if asked for, D. Raises UserError for networks that differ
    from ours."""
    part = parts["G_ema"]
    check_layers(part, "generator")
    weights = renamed(part.tensors, ada_name, "generator")
    resolution = _resolution(weights)
    fields = _common(weights, resolution)
    rate = part.settings.get("mapping.fc0.bias_gain", 0.01)
    fields |= {
        "mapping_rate": rate,
        "generator_architecture": _ada_architecture(weights, resolution),
        **settings_of_clamp(part.settings.get("synthesis.b4.conv1.conv_clamp")),
    }
    other = None
    if discriminator:
        if "D" not in parts:
            raise UserError("--discriminator: it holds no discriminator; leave the option out")
        other, settings = ada_discriminator(parts["D"], fields["clamp"])
        if settings.get("label_mapping_layers") == fields["mapping_layers"]:
            del settings["label_mapping_layers"]  # null: as many
        fields |= settings
    return _imported(fields, weights, other, resolution)


def _ada_architecture(weights: Weights, resolution: int) -> str:
    if any(name.endswith(".skip.weight") for name in weights):
        return "residual"
    if resolution > 4 and "synthesis.blocks.0.to_image.weight" not in weights:
        raise UserError("a generator of architecture 'orig'; allowed: 'skip' and 'resnet'")
    return "skip"


def settings_of_clamp(clamp: Any) -> dict[str, Any]:
    """Returns the settings of clamping: theirs applies to every layer that trains in low precision, whatever
    the precision of a pass."""
    return {"clamp": clamp, "clamp_everywhere": clamp is not None}


def ada_discriminator(part: Part, clamp: float | None) -> tuple[Weights, dict[str, Any]]:
    """Returns the weights of their discriminator, and the settings that it tells. Raises UserError if it
    differs from ours, or clamps otherwise than its generator."""
    weights = renamed(part.tensors, ada_name, "discriminator")
    check_layers(part, "discriminator")
    if part.settings.get("b4.conv.conv_clamp") != clamp:
        raise UserError("a discriminator with another clamp than the generator's; allowed: the same in both")
    group = part.settings.get("b4.mbstd.group_size", 4)
    if not isinstance(group, int):
        raise UserError("a discriminator whose minibatch-stddev group is the whole batch; allowed: a number")
    if "head.conv.weight" not in weights:
        raise UserError("its discriminator does not fit ours: head.conv.weight is missing")
    layers = len([name for name in weights if re.fullmatch(r"mapping\.layers\.\d+\.weight", name)])
    return weights, {
        "minibatch_stddev_group": group,
        "minibatch_stddev_channels": weights["head.conv.weight"].shape[1]
        - weights["head.conv.weight"].shape[0],
        "discriminator_architecture": "residual" if "blocks.0.skip.weight" in weights else "skip",
        **({"label_mapping_layers": layers} if layers else {}),
    }


def check_layers(part: Part, name: str) -> None:
    """Raises UserError for a network of another activation than ours."""
    wrong = {
        str(value)
        for key, value in part.settings.items()
        if key.endswith(".activation") and value not in ("lrelu", "linear")
    }
    if wrong:
        raise UserError(f"a {name} with the activation {sorted(wrong)[0]!r}; allowed: 'lrelu'")


def from_rosinality(parts: Parts, discriminator: bool) -> Imported:
    """Converts rosinality's g_ema and, if asked for, d. Raises UserError for networks that differ from
    ours."""
    levels = len([name for name in parts["g_ema"].tensors if re.fullmatch(r"to_rgbs\.\d+\.bias", name)])

    def rename(theirs: str) -> str | None:
        return rosinality_name(theirs, levels)

    weights = renamed(parts["g_ema"].tensors, rename, "generator")
    resolution = _resolution(weights)
    weights = {name: _squeezed(name, tensor) for name, tensor in weights.items()}
    fields = _common(weights, resolution)
    notes: dict[str, Any] = {}
    if "latent_avg" in parts[""].tensors:
        weights["mapping.w_avg"] = parts[""].tensors["latent_avg"].float().reshape(-1)
    else:
        weights["mapping.w_avg"] = _average_latent(weights, fields)
        notes["w_avg"] = f"not in the file: the mean over {_AVERAGED_OVER} latents of a fixed seed"
    other = None
    if discriminator:
        if "d" not in parts:
            raise UserError("--discriminator: it holds no discriminator; leave the option out")
        other = renamed(parts["d"].tensors, rename, "discriminator")
    return _imported(fields, weights, other, resolution, notes)


def _squeezed(name: str, tensor: Tensor) -> Tensor:
    """Removes the dimensions of size 1 that only their tensors have."""
    dims = {"const": 3, "noise_const": 2, "noise_strength": 0}.get(name.rpartition(".")[2])
    if name.startswith("synthesis.") and ".affine." not in name:
        dims = {"weight": 4, "bias": 1}.get(name.rpartition(".")[2], dims)
    if dims is None or tensor.ndim <= dims or any(n != 1 for n in tensor.shape[: tensor.ndim - dims]):
        return tensor.reshape(-1) if name.endswith(".to_image.bias") else tensor
    return tensor.reshape(tensor.shape[tensor.ndim - dims :])


@torch.no_grad()
def _average_latent(weights: Weights, fields: Mapping[str, Any]) -> Tensor:
    mapping = MappingNetwork(
        z_dim=fields["z_dim"], classes=0, w_dim=fields["w_dim"], layers=fields["mapping_layers"]
    )
    own = {k.removeprefix("mapping."): v for k, v in weights.items() if k.startswith("mapping.")}
    try:
        mapping.load_state_dict({**own, "w_avg": torch.zeros(fields["w_dim"])})
    except RuntimeError as error:
        raise UserError("its mapping network does not fit ours") from error
    z = torch.randn(_AVERAGED_OVER, fields["z_dim"], generator=torch.Generator().manual_seed(0))
    w: Tensor = mapping(z, None)
    return w.double().mean(dim=0).float()


def renamed(tensors: Mapping[str, Tensor], rename: Any, name: str) -> Weights:
    """Returns the tensors under our names, as float32; filters are checked and left out."""
    weights: Weights = {}
    for theirs, tensor in tensors.items():
        if theirs.endswith(("resample_filter", "kernel")):
            _check_filter(theirs, tensor)
        elif (ours := rename(theirs)) is not None:
            weights[ours] = _mirrored(ours, tensor.float())
        else:
            raise UserError(f"its {name} does not fit ours: {ascii(theirs)[1:-1]} is unexpected")
    return weights


def _mirrored(ours: str, tensor: Tensor) -> Tensor:
    upsamples = re.fullmatch(r"synthesis\.blocks\.[1-9]\d*\.convs\.0\.weight", ours)
    return tensor.flip([-2, -1]) if upsamples and tensor.ndim >= 4 else tensor


def _check_filter(name: str, tensor: Tensor) -> None:
    wanted = ops.setup_filter(_TAPS)
    wanted = wanted if wanted.ndim == 2 else torch.outer(wanted, wanted)
    given = tensor.float() if tensor.ndim == 2 else torch.outer(tensor.float(), tensor.float())
    if given.shape != wanted.shape or not torch.allclose(given / given.sum(), wanted, atol=1e-6):
        raise UserError(f"its filter {ascii(name)[1:-1]} is not {list(_TAPS)}; allowed: that one")


def _resolution(weights: Weights) -> int:
    levels = [int(m[1]) for name in weights if (m := re.match(r"synthesis\.blocks\.(\d+)\.", name))]
    if not levels or len(set(levels)) != max(levels) + 1:
        raise UserError("its generator does not fit ours: resolutions are missing")
    return 4 << max(levels)


def _common(weights: Weights, resolution: int) -> dict[str, Any]:
    """Returns the settings that follow from the names and shapes of any StyleGAN2. Raises UserError if a
    tensor is missing."""
    try:
        w_dim = weights["synthesis.blocks.0.convs.0.affine.weight"].shape[1]
        embedding = weights["mapping.embed.weight"].shape[0] if "mapping.embed.weight" in weights else 0
        fields = {
            "z_dim": weights["mapping.layers.0.weight"].shape[1] - embedding,
            "w_dim": w_dim,
            "mapping_layers": len([n for n in weights if re.fullmatch(r"mapping\.layers\.\d+\.weight", n)]),
            "noise": any(name.endswith(".noise_strength") for name in weights),
            "low_precision_levels": 4,
        }
        last = [weights[f"synthesis.blocks.{level}.convs.{min(level, 1)}.bias"]
                for level in range((resolution // 4).bit_length())]  # fmt: skip
    except (KeyError, IndexError) as error:
        raise UserError(f"its generator does not fit ours: {error.args[0]} is missing or odd") from error
    return {**fields, **channels_of([tensor.numel() for tensor in last])}


def channels_of(widths: list[int]) -> dict[str, int]:
    """Returns channel_base and channel_max from the widths at 4, 8, ... pixels; UserError if none fit."""
    most, top = max(widths), 4 << (len(widths) - 1)
    narrow = [(4 << level, width) for level, width in enumerate(widths) if width < most]
    base = narrow[0][0] * narrow[0][1] if narrow else most * top
    if [min(base // (4 << level), most) for level in range(len(widths))] != widths:
        shown = ", ".join(f"{4 << level}px: {width}" for level, width in enumerate(widths))
        raise UserError(f"its channels ({shown}) are not min(channel_base / resolution, channel_max)")
    return {"channel_base": base, "channel_max": most}


def _imported(
    fields: Mapping[str, Any],
    weights: Weights,
    discriminator: Weights | None,
    resolution: int,
    notes: Mapping[str, Any] | None = None,
) -> Imported:
    top = f"synthesis.blocks.{(resolution // 4).bit_length() - 1}.to_image.bias"
    if top not in weights:
        raise UserError(f"its generator does not fit ours: {top} is missing")
    classes = weights["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in weights else 0
    spec = ImageSpec(resolution, resolution, weights[top].numel(), classes)
    try:
        config = StyleGAN2Config(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        shown = ascii(first["input"])[:40]
        raise UserError(f"its {first['loc'][0]} cannot be {shown}: {first['msg']}") from error
    return Imported(config, spec, weights, discriminator, notes=notes or {})


STYLEGAN2_ADA = Format("a stylegan2-ada-pytorch or stylegan3 .pkl of StyleGAN2", _is_ada, from_ada)
ROSINALITY = Format("a rosinality stylegan2-pytorch .pt", _is_rosinality, from_rosinality)
