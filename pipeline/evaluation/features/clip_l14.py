"""CLIP's image tower ViT-L/14 at 336 pixels (Radford et al. 2021), whose embeddings CMMD compares.

The weights are a safetensors file that the user names together with its sha256. Tensors may be named as by
OpenAI and open_clip (`visual.conv1.weight`, ...) or as by Hugging Face's CLIPModel
(`vision_model.embeddings...`). Tensors outside the image tower are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.evaluation.features.weights import OPTION, ExtractorChoice, read_matching

_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HEAD = 64  # channels of an attention head in all of CLIP's towers
_VISUAL = "visual."
_WHAT = "weights of CLIP's ViT-L/14 at 336 pixels"


@dataclass(frozen=True)
class Shape:
    """The shape of a tower. side, patch: the sides of images and of their patches, in pixels. width: the
    channels of a block. blocks: the number of blocks. size: the length of an embedding."""

    side: int
    patch: int
    width: int
    blocks: int
    size: int


L14 = Shape(side=336, patch=14, width=1024, blocks=24, size=768)
"""ViT-L/14-336px (Radford et al. 2021, table 20)."""


class _Gelu(nn.Module):
    """x sigmoid(1.702 x) (Hendrycks and Gimpel 2016, section 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // _HEAD, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", _Gelu())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        mixed: Tensor = x + self.mlp(self.ln_2(x))
        return mixed


class Tower(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021, eqs. 1-4) with a layer norm before its blocks.
    Parameters have the names of OpenAI's file, without `visual.`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.conv1 = nn.Conv2d(3, width, shape.patch, shape.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros((shape.side // shape.patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Sequential()
        self.transformer.add_module("resblocks", nn.Sequential(*(_Block(width) for _ in range(shape.blocks))))
        self.proj = nn.Parameter(torch.zeros(width, shape.size))

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings [N, size] of normalised images [N, 3, side, side]."""
        x = self.conv1(images).flatten(2).mT  # [N, patches, width]
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.transformer(self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding))
        embedding: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return embedding


class ClipL14Extractor:
    """Image embeddings of the tower, not scaled to unit length.

    `digest` is the file's sha256. See `Extractor` for the rest.
    """

    name, has_logits = "clip-l14", False
    resize = "the middle square, bicubic to 336 with antialiasing, to whole values"

    def __init__(self, choice: ExtractorChoice, device: torch.device, shape: Shape = L14) -> None:
        path, digest = _named(choice)
        state = _read(path, digest)
        self.digest, self.size, self.device, self._side = digest, shape.size, device, shape.side
        with torch.device("meta"):  # without initialising 300 million parameters
            tower = Tower(shape)
        wanted = {name: parameter.shape for name, parameter in tower.named_parameters()}
        shapes = {name: value.shape for name, value in state.items()}
        wrong = [name for name in (*wanted, *shapes) if shapes.get(name) != wanted.get(name)]
        if wrong:
            raise UserError(f"{path}: {_WHAT}: {wrong[0]} is missing, unexpected or of another shape")
        tower.load_state_dict(state, assign=True)
        self._network = tower.float().to(device).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, None]:
        """uint8 RGB [N, 3, H, W] -> embeddings [N, 768] float32 on the CPU."""
        embeddings: Tensor = self._network(as_clip(images.to(self.device), self._side))
        return embeddings.cpu(), None


def as_clip(images: Tensor, side: int) -> Tensor:
    """uint8 RGB [N, 3, H, W] -> [N, 3, side, side] float32, normalised by CLIP's mean and deviation. As in
    CMMD's own code, images are cropped to their middle square and resized as by Pillow's bicubic filter, to
    within one grey level."""
    height, width = images.shape[2:]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    x = images[:, :, top : top + least, left : left + least].float()
    for size in ((least, side), (side, side)):  # Pillow rounds and clips between its two passes
        x = F.interpolate(x, size, mode="bicubic", antialias=True).add(0.5).floor().clamp(0, 255)
    x = x / 255
    mean, deviation = (
        torch.tensor(values, device=x.device).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION)
    )
    return (x - mean) / deviation


def fetch(choice: ExtractorChoice) -> None:
    """Ensures that the weights are present and right."""
    _read(*_named(choice))


def _named(choice: ExtractorChoice) -> tuple[Path, str]:
    if choice.path is None or choice.sha256 is None:
        lack = OPTION if choice.path is None else "--extractor-digest SHA256"
        raise UserError(
            f"{lack}: not given; needed for {_WHAT}: a safetensors file with names as by "
            "open_clip or Hugging Face (openai/clip-vit-large-patch14-336), and its sha256"
        )
    return choice.path, choice.sha256.lower()


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    data = read_matching(path, sha256, _WHAT)
    try:
        state = load(data)
    except SafetensorError as error:
        raise UserError(f"{path}: {_WHAT}: not a safetensors file ({error})") from error
    tensors = _from_hugging_face(state) if "vision_model.embeddings.class_embedding" in state else state
    named = (name for name in tensors if name.startswith(_VISUAL))
    return {name.removeprefix(_VISUAL): tensors[name] for name in named}


_BLOCK = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.(\w+)\.?(\w+)?\.(weight|bias)")
_PLAIN = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}
_IN_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def _from_hugging_face(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under OpenAI's names, where the queries, keys and values of a block are one tensor and the
    projection is transposed."""
    tensors = {
        f"visual.{ours}": state[f"vision_model.{theirs}"]
        for theirs, ours in _PLAIN.items()
        if f"vision_model.{theirs}" in state
    }
    if "visual_projection.weight" in state:
        tensors["visual.proj"] = state["visual_projection.weight"].mT.contiguous()
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if (match := _BLOCK.fullmatch(name)) is None:
            continue
        number, outer, inner, kind = match.groups()
        part = outer if inner is None else f"{outer}.{inner}"
        block = f"visual.transformer.resblocks.{number}"
        if part in _IN_BLOCK:
            tensors[f"{block}.{_IN_BLOCK[part]}.{kind}"] = value
        else:
            parts.setdefault(f"{block}.attn.in_proj_{kind}", {})[part] = value
    for name, three in parts.items():
        ordered = [three[f"self_attn.{which}_proj"] for which in "qkv" if f"self_attn.{which}_proj" in three]
        tensors[name] = torch.cat(ordered)
    return tensors
