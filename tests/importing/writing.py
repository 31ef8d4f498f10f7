"""Weight files as other projects write them, made without their code.

Classes under their modules' names, with the attributes that their networks have, pickled by Python or by
torch.save. `ours` turns our weights into theirs, by rules that are written here a second time.
"""

from __future__ import annotations

import pickle
import re
import sys
from argparse import Namespace
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from scipy import signal, special
from torch import nn

from pipeline.contracts import ImageSpec
from pipeline.models.registry import build_family
from tests.tiny_families import tiny_config

SPEC = ImageSpec(16, 16, 3, 4)
ALIKE = {
    "z_dim": 12,
    "w_dim": 12,
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 16,
    "minibatch_stddev_group": 4,
}


def our_networks(spec: ImageSpec = SPEC, **changes):
    """A seeded pair, every parameter and buffer moved from where it starts."""
    torch.manual_seed(5)
    family = build_family(tiny_config("stylegan2", **{**ALIKE, **changes}), spec, batch_size=8)
    networks = family.networks()
    with torch.no_grad():
        for network in (networks.generator, networks.discriminator):
            for tensor in network.state_dict().values():
                tensor.add_(0.2 * torch.randn(tensor.shape))
    return networks


def _mirrored(name: str, tensor: torch.Tensor) -> torch.Tensor:
    up = re.fullmatch(r"synthesis\.blocks\.[1-9]\.convs\.0\.weight", name)
    return (tensor.flip([2, 3]) if up else tensor).clone()


def _persistent(module: str) -> type:
    """A class of `module` whose objects pickle as stylegan2-ada-pytorch's persistent ones do."""

    class Persistent(nn.Module):
        source = "import os\nos.system('touch ran-the-source')\n"

        def __init__(self, name: str) -> None:
            super().__init__()
            self._called = name

        def __reduce__(self):
            state = {key: value for key, value in self.__dict__.items() if key != "_called"}
            meta = {
                "type": "class",
                "version": 6,
                "module_src": self.source,
                "class_name": self._called,
                "state": state,
            }
            return sys.modules[module]._reconstruct_persistent_obj, (meta,)

    return Persistent


@contextmanager
def their_modules():
    """dnnlib and torch_utils.persistence as importable names, for as long as a file is written."""
    persistence, dnnlib, util = (
        ModuleType(name) for name in ("torch_utils.persistence", "dnnlib", "dnnlib.util")
    )

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("only the name is used")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    made = {
        "torch_utils": ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": dnnlib,
        "dnnlib.util": util,
    }
    sys.modules.update(made)
    try:
        yield _persistent("torch_utils.persistence"), util.EasyDict
    finally:
        for name in made:
            del sys.modules[name]


def write_ada(path: Path, networks, *, clamp=None, protocol: int = 4, **more) -> None:
    """A network-snapshot .pkl of stylegan2-ada-pytorch."""
    with their_modules() as (kind, easy_dict):
        content = {"training_set_kwargs": easy_dict(path="shards.zip", max_size=3)}
        generator = _ada_module(kind, "Generator", networks.generator, _ada_generator_name, clamp)
        discriminator = _ada_module(
            kind, "Discriminator", networks.discriminator, _ada_discriminator_name, clamp
        )
        discriminator.b4.mbstd = kind("MinibatchStdLayer")
        discriminator.b4.mbstd.group_size = 4
        content |= {"G": generator, "D": discriminator, "G_ema": generator, "augment_pipe": None, **more}
        path.write_bytes(pickle.dumps(content, protocol=protocol))


def _ada_generator_name(name: str) -> str:
    name = re.sub(r"mapping\.layers\.(\d)", r"mapping.fc\1", name)
    name = name.replace("blocks.0.convs.0", "b4.conv1").replace("to_image", "torgb")
    return re.sub(r"blocks\.(\d)", lambda m: f"b{4 << int(m[1])}", re.sub(r"convs\.(\d)", r"conv\1", name))


def _ada_discriminator_name(name: str) -> str:
    name = re.sub(r"mapping\.layers\.(\d)", r"mapping.fc\1", name).replace("from_image", "fromrgb")
    name = name.replace("head.dense", "b4.fc").replace("head.", "b4.")
    return re.sub(r"blocks\.(\d)", lambda m: f"b{8 << int(m[1])}", name)


def _ada_module(kind, name, network, rename, clamp):
    root = kind(name)
    root.img_resolution, root.init_gain = 16, np.float64(0.5)
    for key, tensor in network.state_dict().items():
        *places, last = rename(key).split(".")
        module = root
        for place in places:
            if place not in module._modules:
                setattr(module, place, kind("Layer"))
            module = module._modules[place]
        module.conv_clamp, module.activation, module.bias_gain = clamp, "lrelu", 0.01
        module.weight_gain = np.float64(0.25)  # numpy's numbers stand among their attributes
        value = _mirrored(key, tensor)
        if last in ("noise_const", "w_avg", "freqs", "phases", "magnitude_ema"):
            module.register_buffer(last, value)
        else:
            module.register_parameter(last, nn.Parameter(value, requires_grad=False))
    outer = torch.tensor([1.0, 3.0, 3.0, 1.0])
    root.register_buffer("resample_filter", outer[:, None] * outer / 64)
    return root


def rosinality_state(networks) -> dict[str, OrderedDict]:
    """g_ema and d of rosinality's stylegan2-pytorch, and latent_avg."""
    state, disc = OrderedDict(), OrderedDict()
    for key, tensor in networks.generator.state_dict().items():
        name = re.sub(r"mapping\.layers\.(\d)", lambda m: f"style.{int(m[1]) + 1}", key)
        if found := re.match(r"synthesis\.blocks\.(\d)\.(const|convs\.(\d)|to_image)\.?(.*)", key):
            state.update(_rosinality(int(found[1]), found[2], found[3], found[4], _mirrored(key, tensor)))
        elif name != "mapping.w_avg":
            state[name] = tensor.clone()
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    state["convs.0.conv.blur.kernel"] = taps.outer(taps) / 16  # four times as strong, as they keep it
    levels = len(networks.discriminator.blocks)
    heads = {"conv.weight": "final_conv.0.weight", "conv.bias": "final_conv.1.bias"}
    heads |= {"dense": "final_linear.0", "out": "final_linear.1"}
    inner = {
        "conv0.weight": "conv1.0.weight",
        "conv0.bias": "conv1.1.bias",
        "conv1.weight": "conv2.1.weight",
        "conv1.bias": "conv2.2.bias",
        "skip.weight": "skip.1.weight",
    }
    for key, tensor in networks.discriminator.state_dict().items():
        name = key.removeprefix("head.")
        for ours, theirs in heads.items():
            name = name.replace(ours, theirs) if key.startswith("head.") else name
        if found := re.match(r"blocks\.(\d)\.(.*)", key):
            name = f"convs.{levels - int(found[1])}.{inner.get(found[2])}"
        if "from_image" in key:
            name = "convs.0.0.weight" if key.endswith("weight") else "convs.0.1.bias"
        disc[name] = tensor.clone()
    return {"g_ema": state, "d": disc, "latent_avg": networks.generator.mapping.w_avg.clone()}


def _rosinality(block, layer, conv, what, tensor):
    if layer == "const":
        return {"input.input": tensor[None]}
    place = f"convs.{2 * block - 2 + int(conv or 0)}" if block else "conv1"
    if layer == "to_image":
        place = f"to_rgbs.{block - 1}" if block else "to_rgb1"
    if what == "noise_const":
        return {f"noises.noise_{2 * block - 1 + int(conv) if block else 0}": tensor[None, None]}
    names = {
        "weight": ("conv.weight", tensor[None] if tensor.ndim == 4 else tensor),
        "affine.weight": ("conv.modulation.weight", tensor),
        "affine.bias": ("conv.modulation.bias", tensor),
        "noise_strength": ("noise.weight", tensor.reshape(-1)),
        "bias": ("activate.bias", tensor) if layer != "to_image" else ("bias", tensor.reshape(1, -1, 1, 1)),
    }
    name, value = names[what]
    return {f"{place}.{name}": value}


def write_rosinality(path: Path, networks, *, legacy: bool = False, **more) -> None:
    """A checkpoint .pt of rosinality's stylegan2-pytorch."""
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict()
    content = {**rosinality_state(networks), "g_optim": optimizer, "args": Namespace(size=16, path="lmdb")}
    torch.save({**content, **more}, path, _use_new_zipfile_serialization=not legacy)


def stylegan3_plan(config, side: int, channels: int) -> list[dict[str, float]]:
    """What each of stylegan3's layers notes of its place, by the paper's equations (Karras et al. 2021,
    appendix C)."""
    count = config.layers
    share = np.minimum(np.arange(count + 1) / (count - config.critical_layers), 1)
    cutoff = config.first_cutoff * (side / 2 / config.first_cutoff) ** share
    last = side / 2 * config.last_stopband_rel
    stopband = config.first_stopband * (last / config.first_stopband) ** share
    rate = 2.0 ** np.ceil(np.log2(np.minimum(2 * stopband, side)))
    half_width = np.maximum(stopband, rate / 2) - cutoff
    size, width = (
        rate + 2 * config.margin,
        np.rint(np.minimum(config.channel_base / 2 / cutoff, config.channel_max)),
    )
    size[-2:], width[-1] = side, channels
    plan = []
    for number in range(count + 1):
        before, image = max(number - 1, 0), number == count
        work = max(rate[before], rate[number]) * (1 if image else 2)
        up, down = int(work / rate[before]), int(work / rate[number])
        plan.append({
            "size": int(size[number]), "channels": int(width[number]),
            "is_torgb": image, "is_critically_sampled": number >= count - config.critical_layers,
            "in_sampling_rate": int(rate[before]), "out_sampling_rate": int(rate[number]),
            "tmp_sampling_rate": int(work), "in_cutoff": cutoff[before], "out_cutoff": cutoff[number],
            "in_half_width": half_width[before], "out_half_width": half_width[number],
            "up_factor": up, "down_factor": down,
            "up_taps": config.filter_size * up if up > 1 and not image else 1,
            "down_taps": config.filter_size * down if down > 1 and not image else 1,
            "down_radial": config.radial and number < count - config.critical_layers,
            "conv_kernel": 1 if image else config.kernel, "conv_clamp": config.clamp,
        })  # fmt: skip
    return plan


def _stylegan3_filters(row) -> dict[str, torch.Tensor]:
    filters = {}
    for end, start in (("up", "in"), ("down", "out")):
        taps, cutoff, width = row[f"{end}_taps"], row[f"{start}_cutoff"], 2 * row[f"{start}_half_width"]
        if taps == 1:
            continue
        taken = signal.firwin(taps, cutoff, width=width, fs=row["tmp_sampling_rate"])
        if end == "down" and row["down_radial"]:
            places = (np.arange(taps) - (taps - 1) / 2) / row["tmp_sampling_rate"]
            radius = np.hypot(places, places[:, None])
            beta = signal.kaiser_beta(signal.kaiser_atten(taps, width / row["tmp_sampling_rate"] * 2))
            window = signal.windows.kaiser(taps, beta)
            taken = special.j1(2 * np.pi * cutoff * radius) / radius * np.outer(window, window)
        filters[f"{end}_filter"] = torch.tensor(taken / taken.sum(), dtype=torch.float32)
    return filters


def write_stylegan3(
    path: Path, networks, config, spec: ImageSpec, *, spoil=lambda generator: None, judge="Discriminator"
) -> None:
    """A network-snapshot .pkl of stylegan3. spoil: changes the generator before it is written. judge: the
    class of the discriminator."""
    with their_modules() as (kind, easy_dict):
        plan = stylegan3_plan(config, spec.height, spec.channels)
        names = [f"L{number}_{row['size']}_{row['channels']}" for number, row in enumerate(plan)]

        def rename(ours: str) -> str:
            ours = re.sub(r"mapping\.layers\.(\d)", r"mapping.fc\1", ours).replace("frequencies", "freqs")
            ours = re.sub(r"layers\.(\d+)", lambda m: names[int(m[1])], ours)
            return re.sub("magnitude$", "magnitude_ema", ours)

        generator = _ada_module(kind, "Generator", networks.generator, rename, config.clamp)
        del generator._buffers["resample_filter"]
        for name, row in zip(names, plan, strict=True):
            layer = generator.synthesis._modules[name]
            layer.__dict__.update(row)
            layer.padding, layer.in_size = [1, 2], np.broadcast_to(np.asarray(3), [2])  # as theirs have them
            for key, taps in _stylegan3_filters(row).items():
                layer.register_buffer(key, taps)
        generator.synthesis.input.register_buffer("transform", torch.eye(3))
        told = ("channel_base", "channel_max", "first_cutoff", "first_stopband", "last_stopband_rel")
        generator._init_kwargs = easy_dict(
            {key: getattr(config, key) for key in told}, mapping_kwargs=easy_dict()
        )
        noted = {"img_resolution": spec.height, "img_channels": spec.channels, "c_dim": spec.classes}
        generator.__dict__.update(noted, z_dim=config.z_dim, w_dim=config.w_dim)
        generator.synthesis.__dict__.update(
            num_critical=config.critical_layers,
            margin_size=config.margin,
            output_scale=config.output_scale,
            num_fp16_res=4,
        )
        discriminator = _ada_module(
            kind, judge, networks.discriminator, _ada_discriminator_name, config.clamp
        )
        discriminator.b4.mbstd = kind("MinibatchStdLayer")
        discriminator.b4.mbstd.group_size = config.minibatch_stddev_group
        spoil(generator)
        content = {"G": generator, "D": discriminator, "G_ema": generator, "augment_pipe": None}
        path.write_bytes(pickle.dumps({**content, "training_set_kwargs": easy_dict(path="shards.zip")}))
