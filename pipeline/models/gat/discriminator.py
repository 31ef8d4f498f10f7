"""GAT's discriminator: a transformer with a class token, which sees all levels of an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.gat.layers import SLOW, Attention, GatedMLP, Linear, RMSNorm
from pipeline.models.gat.positions import position_table, rotations
from pipeline.models.gat.shape import Shape
from pipeline.models.layers import Compilable, Recomputable

_SCALE = 0.1  # at which a branch starts


class LabelVector(nn.Module):
    """The vector [N, label_dim] that features are compared with; unlabelled images share one."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.config.label_dim
        self.embed = nn.Embedding(max(shape.classes, 1), width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.first, self.second = (Linear(width, width, rate=SLOW) for _ in range(2))

    def forward(self, labels: Tensor) -> Tensor:
        vector: Tensor = self.second(F.silu(self.first(self.embed(labels))))
        return vector


class Block(Recomputable):
    """A transformer block with learned scales of its two branches (Touvron et al. 2021, "Going deeper with
    image transformers", eq. 3)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.discriminator
        self.shape = shape
        self.norm, self.mlp_norm = RMSNorm(size.width), RMSNorm(size.width)
        self.attention = Attention(size.width, size.heads, lengths(shape))
        self.mlp = GatedMLP(size.width)
        self.scale, self.mlp_scale = (nn.Parameter(torch.full((size.width,), _SCALE)) for _ in range(2))

    def compute(self, x: Tensor, turns: Tensor, *, exact: bool = False) -> Tensor:
        attended: Tensor = self.attention(self.shape.lowered(self.norm(x), exact), turns, exact=exact)
        x = x + self.scale * attended
        added: Tensor = self.mlp(self.shape.lowered(self.mlp_norm(x), exact))
        return x + self.mlp_scale * added


class Discriminator(Compilable):
    """Judges images, given at all levels, and labels.

    Levels of one size are judged together, as channels of the same patches. Levels that differ in size are
    sequences of their own, which exchange nothing, and each has its logit. The features that are compared
    with the label's vector have no bias, because a relativistic loss, whose real and fake have the same
    label, does not depend on it; in the authors' code they have one.
    """

    positions: Tensor
    turns: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, size = shape, shape.discriminator
        together = len(shape.scales) if len(shape.grids) == 1 else 1
        pixels = together * shape.channels * shape.config.patch**2
        self.embeds = nn.ModuleList(Linear(pixels, size.width) for _ in shape.grids)
        self.class_tokens = nn.Parameter(torch.randn(len(shape.grids), size.width) * 0.02)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(size.depth))
        self.norm = RMSNorm(size.width)
        self.out = Linear(size.width, shape.config.label_dim, bias=False)
        self.label = LabelVector(shape)
        self.aligner = _aligner(shape) if shape.config.alignment_weight else None
        tables = [position_table(*grid, size.width) for grid in shape.grids]
        self.register_buffer("positions", torch.cat(tables), persistent=False)
        turns = [_with_still(rotations(*grid, size.width // size.heads)) for grid in shape.grids]
        self.register_buffer("turns", torch.cat(turns, dim=1), persistent=False)

    def compute(
        self,
        levels: Sequence[Tensor],
        labels: Tensor | None = None,
        *,
        aligned: bool = False,
        exact: bool = False,
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Returns the logits [N], of all levels together or of each, and the last sequence's features for the
        alignment, [N, 1 + tokens, features], those of the class token first.

        levels: [N, C, H, W] each, as `Shape.level_shapes` says. labels: [N], if conditional. aligned: whether
        the features are asked for; otherwise they are None. exact: whether to compute in float32 throughout,
        so that second derivatives can be taken.
        """
        x = self._tokens(levels)
        for block in self.blocks:
            x = block(x, self.turns, exact=exact)
        sequences = torch.split(x, list(lengths(self.shape)), dim=1)
        if labels is None or not self.shape.classes:
            labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        vector = self.label(labels)
        logits = tuple((self.out(self.norm(tokens[:, 0])) * vector).sum(dim=1) for tokens in sequences)
        if not aligned:
            return logits, None
        assert self.aligner is not None
        return logits, self.aligner(self.shape.lowered(sequences[-1], exact)).float()

    def _tokens(self, levels: Sequence[Tensor]) -> Tensor:
        """Returns the sequences one after another, each begun by its class token, which has no position."""
        seen = [torch.cat(list(levels), dim=1)] if len(self.embeds) == 1 else list(levels)
        places = torch.split(self.positions, [rows * columns for rows, columns in self.shape.grids])
        parts = []
        for images, embed, place, token in zip(seen, self.embeds, places, self.class_tokens, strict=True):
            tokens = embed(F.unfold(images, self.shape.config.patch, stride=self.shape.config.patch).mT)
            parts += [token.expand(len(images), 1, -1), tokens + place]
        return torch.cat(parts, dim=1)


def lengths(shape: Shape) -> tuple[int, ...]:
    """Returns the number of tokens of each of the discriminator's sequences, class tokens included."""
    return tuple(1 + rows * columns for rows, columns in shape.grids)


def _with_still(turns: Tensor) -> Tensor:
    """Returns rotations [2, tokens, width] with one by no angle in front, that of the class token."""
    still = torch.stack([torch.ones_like(turns[0, :1]), torch.zeros_like(turns[1, :1])])
    return torch.cat([still, turns], dim=1)


def _aligner(shape: Shape) -> nn.Sequential:
    width, hidden = shape.discriminator.width, shape.config.label_dim
    return nn.Sequential(
        *(Linear(width, hidden), nn.SiLU()),
        *(Linear(hidden, hidden), nn.SiLU()),
        Linear(hidden, shape.config.alignment_features),
    )
