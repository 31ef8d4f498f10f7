"""The names that other projects give to the same weights: diffusers' `AutoencoderKL`, and the public code of
Rombach et al. 2022 (github.com/CompVis/latent-diffusion)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.autoencoder.shape import NORM_GROUPS

_Pairs = tuple[tuple[str, str], ...]

_SHARED: _Pairs = (
    ("encoder.first", "encoder.conv_in"),
    ("encoder.last", "encoder.conv_out"),
    ("encoder.moments", "quant_conv"),
    ("decoder.codes", "post_quant_conv"),
    ("decoder.trunk.first", "decoder.conv_in"),
    ("decoder.last", "decoder.conv_out"),
)
_COMPVIS: _Pairs = (
    ("encoder.norm", "encoder.norm_out"),
    ("encoder.levels.<i>.blocks.<j>.skip", "encoder.down.<i>.block.<j>.nin_shortcut"),
    ("encoder.levels.<i>.blocks.<j>", "encoder.down.<i>.block.<j>"),
    ("encoder.levels.<i>.resample", "encoder.down.<i>.downsample.conv"),
    ("decoder.trunk.levels.<r>.blocks.<j>.skip", "decoder.up.<r>.block.<j>.nin_shortcut"),
    ("decoder.trunk.levels.<r>.blocks.<j>", "decoder.up.<r>.block.<j>"),
    ("decoder.trunk.levels.<r>.resample", "decoder.up.<r>.upsample.conv"),
    ("decoder.trunk.norm", "decoder.norm_out"),
    *(
        (f"{ours}.middle.{part}", f"{theirs}.mid.{other}")
        for ours, theirs in (("encoder", "encoder"), ("decoder.trunk", "decoder"))
        for part, other in (
            ("first", "block_1"),
            ("second", "block_2"),
            ("attention.norm", "attn_1.norm"),
            ("attention.query", "attn_1.q"),
            ("attention.key", "attn_1.k"),
            ("attention.value", "attn_1.v"),
            ("attention.out", "attn_1.proj_out"),
        )
    ),
)
_DIFFUSERS: _Pairs = (
    ("encoder.norm", "encoder.conv_norm_out"),
    ("encoder.levels.<i>.blocks.<j>.skip", "encoder.down_blocks.<i>.resnets.<j>.conv_shortcut"),
    ("encoder.levels.<i>.blocks.<j>", "encoder.down_blocks.<i>.resnets.<j>"),
    ("encoder.levels.<i>.resample", "encoder.down_blocks.<i>.downsamplers.0.conv"),
    ("decoder.trunk.levels.<i>.blocks.<j>.skip", "decoder.up_blocks.<i>.resnets.<j>.conv_shortcut"),
    ("decoder.trunk.levels.<i>.blocks.<j>", "decoder.up_blocks.<i>.resnets.<j>"),
    ("decoder.trunk.levels.<i>.resample", "decoder.up_blocks.<i>.upsamplers.0.conv"),
    ("decoder.trunk.norm", "decoder.conv_norm_out"),
    *(
        (f"{ours}.middle.{part}", f"{theirs}.mid_block.{other}")
        for ours, theirs in (("encoder", "encoder"), ("decoder.trunk", "decoder"))
        for part, other in (
            ("first", "resnets.0"),
            ("second", "resnets.1"),
            ("attention.norm", "attentions.0.group_norm"),
            ("attention.query", "attentions.0.to_q"),
            ("attention.key", "attentions.0.to_k"),
            ("attention.value", "attentions.0.to_v"),
            ("attention.out", "attentions.0.to_out.0"),
            # What diffusers called them before version 0.17; later versions read both.
            ("attention.query", "attentions.0.query"),
            ("attention.key", "attentions.0.key"),
            ("attention.value", "attentions.0.value"),
            ("attention.out", "attentions.0.proj_attn"),
        )
    ),
)


@dataclass(frozen=True)
class Names:
    """One project's names. title: the files that have them. sign: the beginning of a name that only such
    files have. flat: whether the attention's weights are matrices, where ours are 1x1 convolutions."""

    title: str
    sign: str
    pairs: _Pairs
    flat: bool

    def fit(self, names: Iterable[str]) -> bool:
        return any(name.startswith(self.sign) for name in names)

    def ours(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the tensors under our names; a name that is none of the project's stays as it is.

        Both scales, which such files do not have, are those of a new autoencoder. Weights without the two 1x1
        convolutions next to the latents (Esser et al. 2024) get identities for them.
        """
        count = len({found[1] for name in tensors if (found := re.match(r"decoder\.up\.(\d+)\.", name))})
        renamed = {}
        for name, tensor in tensors.items():
            ours = _renamed(name, [(theirs, own) for own, theirs in self.pairs], count)
            square = ".attention." in ours and tensor.ndim == 2
            renamed[ours] = tensor[:, :, None, None] if square else tensor
        for own, beside in (("encoder.moments", "encoder.last"), ("decoder.codes", "decoder.trunk.first")):
            if f"{own}.weight" not in renamed and f"{beside}.weight" in renamed:
                weight = renamed[f"{beside}.weight"]
                channels = weight.shape[0 if own == "encoder.moments" else 1]
                renamed[f"{own}.weight"] = torch.eye(channels)[:, :, None, None]
                renamed[f"{own}.bias"] = torch.zeros(channels)
        return {**renamed, "scale": torch.ones([]), "log_scale": torch.zeros([])}

    def theirs(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns our tensors, without the scales and the number of groups, under the project's names."""
        count = len({name.split(".")[3] for name in tensors if name.startswith("decoder.trunk.levels.")})
        renamed = {}
        for name, tensor in tensors.items():
            if name in ("scale", "log_scale", NORM_GROUPS):
                continue
            square = self.flat and ".attention." in name and tensor.ndim == 4
            renamed[_renamed(name, self.pairs, count)] = tensor[:, :, 0, 0] if square else tensor
        return renamed


def _renamed(name: str, pairs: Iterable[tuple[str, str]], levels: int) -> str:
    """Returns a tensor's name with the first of the pairs applied that fits its module. <r> is a number that
    the two sides count from opposite ends of `levels`."""
    for before, after in pairs:
        pattern = re.sub(r"<(\w)>", r"(?P<\1>\\d+)", before.replace(".", r"\."))
        if found := re.match(pattern + r"\.", name):
            for key, number in found.groupdict().items():
                after = after.replace(f"<{key}>", str(levels - 1 - int(number) if key == "r" else number))
            return f"{after}.{name[found.end() :]}"
    return name


DIFFUSERS = Names("AutoencoderKL of diffusers", "encoder.down_blocks.", _SHARED + _DIFFUSERS, flat=True)
COMPVIS = Names("autoencoder of latent-diffusion", "encoder.down.", _SHARED + _COMPVIS, flat=False)
