"""Recognises files of other projects that cannot be imported, by the names of their tensors and classes."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.models.foreign import Parts, Stranger

_AVERAGE = ("G_ema", "G")


def _generator(pattern: str) -> Callable[[Parts], bool]:
    """Tells whether a tensor of the generator in one of NVIDIA's .pkl files has such a name."""
    wanted = re.compile(pattern)

    def fits(parts: Parts) -> bool:
        part = next((parts[name] for name in _AVERAGE if name in parts), None)
        return part is not None and any(wanted.match(name) for name in part.tensors)

    return fits


def _kind(*kinds: str) -> Callable[[Parts], bool]:
    """Tells whether a network is of one of these classes."""
    return lambda parts: any(part.kind in kinds for part in parts.values())


def _holds(*names: str) -> Callable[[Parts], bool]:
    """Tells whether the file has parts of all these names."""
    return lambda parts: all(name in parts for name in names)


def _tensor(pattern: str) -> Callable[[Parts], bool]:
    """Tells whether a tensor of any part has such a name."""
    wanted = re.compile(pattern)
    return lambda parts: any(wanted.match(name) for part in parts.values() for name in part.tensors)


def _all(*conditions: Callable[[Parts], bool]) -> Callable[[Parts], bool]:
    return lambda parts: all(fits(parts) for fits in conditions)


_ALIAS_FREE = r"synthesis\.(input\.|L\d+_)"
STRANGERS: tuple[Stranger, ...] = (
    ("a StyleGAN-T .pkl", _all(_generator(_ALIAS_FREE), _tensor(r"dino\."))),
    (
        "a StyleGAN-XL .pkl",
        _all(_generator(_ALIAS_FREE), _kind("ProjectedDiscriminator", "SuperresGenerator")),
    ),
    ("an EG3D .pkl", _generator(r"(backbone|superresolution|decoder\.net)\.")),
    ("a Projected GAN .pkl", _kind("ProjectedDiscriminator")),
    ("an R3GAN .pkl", _generator(r"Model\.MainLayers\.")),
    ("a ProGAN .pth of pytorch_GAN_zoo", _all(_holds("netG", "netD"), _tensor(r"scaleLayers\."))),
    ("a checkpoint of pytorch_GAN_zoo", _holds("netG", "netD")),
    ("a checkpoint of lucidrains' stylegan2_pytorch", _tensor(r"(GAN\.)?(S|SE)\.net\.\d")),
    ("a diffusion model's checkpoint", _tensor(r"(model\.diffusion_model\.|.*time_embed(ding)?\.)")),
    ("a checkpoint of PyTorch Lightning or PyTorch-StudioGAN", _holds("state_dict")),
    (
        "a discriminator of BigGAN-PyTorch, whose generator is in G.pth or G_ema.pth beside it",
        _all(_tensor(r"(module\.)?linear\.u0"), _tensor(r"(module\.)?embed\.weight")),
    ),
    ("a DCGAN in one stack of layers", _tensor(r"(module\.)?main\.\d+\.weight")),
)
"""Descriptions of such files and how to recognise them; the first that fits is used."""
