"""Settings for the first run on somebody's own photographs: per family, each value with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.families import FewImages, Objectives, Optimisation, StyleGAN2Config
from pipeline.contracts import ImageSpec
from pipeline.errors import UserError
from pipeline.models.registry import FAMILIES
from pipeline.models.stylegan2.auto import auto_settings

DEFAULT = "stylegan2"
"""The family that is chosen unless another is asked for: it is the one that adapts to few images."""

Reasoned = dict[str, tuple[Any, str]]
"""Values by key, each with its reason; an empty reason for one that goes with the key before it."""


@dataclass(frozen=True)
class Conditions:
    """What settings depend on: the format of the images, how many there are, and the number of GPUs (0: a
    CPU)."""

    spec: ImageSpec
    images: int
    gpus: int


@dataclass(frozen=True)
class First:
    """Settings of a first run. inherit: the configuration that comes with hrgan which they change; None: they
    stand alone. sections: by section and key; `family` lacks `name`."""

    inherit: str | None
    sections: Mapping[str, Reasoned]


# Configurations that come with hrgan, by family, for a CPU (0) or GPUs, by resolution.
_SHIPPED: Mapping[str, Mapping[int, Mapping[int, str]]] = {
    "progan": {0: {32: "progan-32"}, 1: {1024: "progan-1024-1gpu"}},
    "biggan": {0: {32: "biggan-32"}, 1: {128: "biggan-128", 256: "biggan-256", 512: "biggan-512"}},
    "r3gan": {0: {32: "r3gan-32"}, 1: {64: "r3gan-ffhq-64", 256: "r3gan-ffhq-256"}},
    "stylegan3": {
        0: {32: "stylegan3-t-32"},
        1: {256: "stylegan3-t-256", 512: "stylegan3-t-512", 1024: "stylegan3-t-1024"},
    },
    "gat": {0: {32: "gat-32"}, 1: {32: "gat-32"}},
    "graf": {0: {32: "graf-32"}, 1: {128: "graf-128"}},
    "dcgan": {0: {32: "dcgan-32", 64: "dcgan-64"}, 1: {64: "dcgan-64"}},
    "mlp": {0: {32: "mlp-32"}, 1: {32: "mlp-32"}},
    "began": {0: {32: "began-32"}, 1: {128: "began-128"}},
    "autoencoder": {0: {32: "autoencoder-32", 64: "autoencoder-f8-64"}, 1: {256: "autoencoder-kl-f8"}},
    "superres": {0: {64: "superres-64"}, 1: {64: "superres-64"}},
    "inpainting": {0: {64: "inpainting-64"}, 1: {64: "inpainting-64"}},
    "pixelcnn": {0: {32: "pixelcnn-32"}, 1: {32: "pixelcnn-pp-32"}},
}
# What families learn from beside photographs, with which configurations of theirs begin.
_MORE: Mapping[str, tuple[str, str]] = {
    "textgan": ("pictures with texts (hrgan prepare --caption-column)", "textgan-32"),
    "sg2im": ("pictures with scene graphs (hrgan prepare demo:faces --fields scene)", "sg2im-32"),
    "pix2pix": ("pairs of pictures (hrgan prepare --pairs)", "pix2pix-64"),
    "cyclegan": ("two sets of pictures (data.second)", "cyclegan-64"),
    "dann": ("a labelled set of pictures and another (data.second)", "dann-32"),
}
_FEW = 5000  # images, for which Jiang et al. 2021 report their figures
_CPU_CHANNELS, _CPU_WIDEST, _CPU_LATENT, _CPU_BATCH = 16, 64, 128, 16
_BESIDE_GB, _GB_AN_IMAGE = 1.6, {256: 0.51, 512: 1.08, 1024: 2.26}
# GPU-seconds for 1,000 images on an A100: 8 x 2.19 at 256px on 8 of them, 90.4 at 1024px on one (the
# public code of Karras et al. 2020b).
_PUBLISHED = {256: 8 * 2.19, 1024: 90.4}


def resolutions(family: str, gpus: int) -> tuple[int, ...]:
    """The resolutions at which the family has settings for a first run, smallest first. UserError for an
    unknown family."""
    if family not in FAMILIES:
        raise UserError(f"--family {family}: unknown; allowed: {', '.join(FAMILIES)}")
    if family in _MORE:
        what, name = _MORE[family]
        raise UserError(f"--family {family}: learns from {what}; begin with `hrgan configs {name}`")
    shipped = _SHIPPED.get(family)
    if shipped is None:
        return tuple(1 << level for level in range(3, 11))
    return tuple(sorted(shipped[min(gpus, 1)]))


def grows(family: str) -> bool:
    """Whether its networks begin with small images, which a pyramid of the data set has ready."""
    return family == "progan"


def first_settings(family: str, conditions: Conditions) -> First:
    """The settings of `family` under `conditions`, whose resolution is one of `resolutions`."""
    rule = _RULES.get(family)
    if rule is not None:
        return rule(conditions)
    name = _SHIPPED[family][min(conditions.gpus, 1)][conditions.spec.height]
    return First(f"{name}.yaml", {})


def _stylegan2(conditions: Conditions) -> First:
    return _stylegan2_on_gpus(conditions) if conditions.gpus else _stylegan2_on_cpu(conditions)


def _stylegan2_on_gpus(conditions: Conditions) -> First:
    gpus, spec = conditions.gpus, conditions.spec
    auto = auto_settings(StyleGAN2Config(auto_gpus=gpus), spec)
    family, size = auto["family"], auto["batch"]["size"]
    rule = (
        f'The rule that the public code of Karras et al. 2020b calls "auto", for {gpus} GPU{"s" * (gpus > 1)}'
    )
    reasons = {
        "channel_base": f"{rule}: width of the networks.",
        "r1_gamma": f"0.0002 x {spec.height}^2 / {size}. Ten times as much if training is "
        "restless or the images are all alike; less if the samples stay blurred.",
        "ema_half_life_images": "Samples come from an average of the generator over so many images.",
    }
    return First(
        None,
        {
            "batch": {
                "size": (size, f"{rule}. It stays the same however many GPUs train it."),
                "micro": ("auto", "As many images at once as fit into memory, which trial steps find out."),
            },
            "family": {key: (value, reasons.get(key, "")) for key, value in family.items()}
            | _ada(conditions)
            | _apa(conditions),
            "engine": {"precision": ("bfloat16", "The highest resolutions, at half the memory and time.")},
        },
    )


def _stylegan2_on_cpu(conditions: Conditions) -> First:
    side = conditions.spec.height
    gamma = round(0.0002 * side**2 / _CPU_BATCH, 6)
    return First(
        None,
        {
            "batch": {
                "size": (_CPU_BATCH, "Small, since a CPU computes one image after the other anyway."),
                "micro": (_CPU_BATCH if side <= 128 else 4, "So many at once, for the memory's sake."),
            },
            "family": {
                "channel_base": (
                    _CPU_CHANNELS * side,
                    f"A narrow network: {_CPU_CHANNELS} channels at {side} pixels, at most {_CPU_WIDEST} "
                    "anywhere. "
                    "A GPU would have 16384 and 512.",
                ),
                "channel_max": (_CPU_WIDEST, ""),
                "z_dim": (_CPU_LATENT, ""),
                "w_dim": (_CPU_LATENT, ""),
                "mapping_layers": (2, ""),
                "minibatch_stddev_group": (4, ""),
                "path_length_weight": (0, "Left out: it takes a third of the time and helps large images."),
                "style_mixing": (0, ""),
                "r1_gamma": (gamma, f"0.0002 x {side}^2 / {_CPU_BATCH}, by the rule of Karras et al. 2020b."),
                "ema_half_life_images": (
                    5000,
                    "Samples come from an average of the generator over so many images.",
                ),
                "ema_ramp": (0.05, ""),
                **_ada(conditions),
            },
            "engine": {"precision": ("float32", "")},
        },
    )


def _ada(conditions: Conditions) -> Reasoned:
    few = conditions.images < 1000
    why = (
        "With so few images the discriminator soon knows them by heart; augmentation that adapts keeps it "
        "from that."
        if few
        else "Augmentation that adapts: it does nothing as long as there are images enough."
    )
    return {"ada": ({"mode": "adaptive"}, why)}


def _apa(conditions: Conditions) -> Reasoned:
    """Beside ADA, as the authors of Jiang et al. 2021 advise for few images."""
    if conditions.images > _FEW:
        return {}
    why = f"For {_FEW:,} images or fewer: fakes among the reals keep the discriminator from being sure."
    return {"apa": ({"mode": "adaptive"}, why)}


_RULES: Mapping[str, Callable[[Conditions], First]] = {"stylegan2": _stylegan2}


def network_settings(family: Any) -> Reasoned:
    """The settings of a trained network that another must share to take over its weights: those that are
    neither losses nor rates. family: the family section of its configuration."""
    schemas = (Objectives, Optimisation, FewImages)
    training = {*(key for schema in schemas for key in schema.model_fields), "name", "ada", "auto_gpus"}
    training |= {"freeze_discriminator", "blur_sigma", "blur_images", "optimizer", "rmsprop_smoothing"}
    training |= {"density_noise", "density_noise_images", "rate_halving_images", "rays_at_once"}
    training |= {"patch_scale", "patch_scale_rate", "patch_scale_images"}
    training |= {"gamma", "balance_rate", "residual_images", "halve_images", "rate_floor"}
    dumped = family.model_dump(mode="json")
    return {
        key: (dumped[key], "")
        for key, field in type(family).model_fields.items()
        if key not in training and getattr(family, key) != field.default
    }


def published_seconds(family: str, resolution: int, gpus: int) -> tuple[float, str] | None:
    """Seconds for 1,000 images on so many A100, and where the figure comes from; None if unknown."""
    if family != "stylegan2" or not gpus:
        return None
    (low, low_cost), (high, high_cost) = sorted(_PUBLISHED.items())
    per_octave = (high_cost / low_cost) ** (1 / ((high // low).bit_length() - 1))
    octaves = resolution.bit_length() - low.bit_length()
    seconds = low_cost * per_octave**octaves / gpus
    source = (
        "published for A100 (public code of Karras et al. 2020b: 2.19 s per 1,000 images at 256px on 8 GPUs, "
    )
    source += "90.4 at 1024px on one)"
    return seconds, source if resolution in _PUBLISHED else f"{source}, and between or below by a power law"


def counted_gb(family: str, resolution: int, images: int) -> float | None:
    """GB that training takes on a GPU with so many images at once, counted for the widest networks in
    bfloat16 (docs/pages/figures.md); None if it was not counted."""
    if family != "stylegan2":
        return None
    return _BESIDE_GB + images * _GB_AN_IMAGE[max(resolution, min(_GB_AN_IMAGE))]
