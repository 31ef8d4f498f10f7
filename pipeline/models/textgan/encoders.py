"""From texts to numbers, and the network that learns which image a text belongs to."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts import ImageSpec
from pipeline.models.dcgan import Halving, levels
from pipeline.models.sides import sides_of

_LETTERS = 32  # numbers that a letter becomes
_READ = 5  # letters that a layer sees at once
_FACTOR = 1_000_003  # of the polynomial that an n-gram's hash is
_MODULUS = (1 << 31) - 1
_HOTTEST = math.log(100.0)


def lengthened(x: Tensor) -> Tensor:
    """Returns vectors [N, D] scaled to the length sqrt(D), so that their numbers are of order one; zeros stay
    zeros."""
    return F.normalize(x.float(), dim=1) * math.sqrt(x.shape[1])


def folded(texts: Tensor) -> Tensor:
    """Returns bytes of UTF-8 [N, L] as int64, with the capitals of ASCII made small."""
    texts = texts.long()
    return torch.where((texts >= ord("A")) & (texts <= ord("Z")), texts + (ord("a") - ord("A")), texts)


class Hashed(nn.Module):
    """Counts the n-grams of bytes, each at a place and with a sign that a hash of it says (Weinberger et al.
    2009, section 2): uint8 [N, L], padded with zeros, to [N, dim]. lengths: all n. It has no parameters."""

    def __init__(self, dim: int, lengths: tuple[int, ...]) -> None:
        super().__init__()
        self.dim, self.lengths = dim, lengths

    def forward(self, texts: Tensor) -> Tensor:
        letters = folded(texts)
        counts = torch.zeros(len(letters), self.dim, device=letters.device)
        for n in self.lengths:
            if n <= letters.shape[1]:
                # Whole numbers of float32: their sums are the same in any order.
                counts = counts.scatter_add(1, *self._counted(letters.unfold(1, n, 1)))
        return lengthened(counts)

    def _counted(self, grams: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the place of each n-gram [N, M, n], and what is added there: its sign, or 0 for one that
        reaches into the padding."""
        hashes = torch.full_like(grams[:, :, 0], grams.shape[2])
        for letter in grams.unbind(2):
            hashes = (hashes * _FACTOR + letter + 1) % _MODULUS
        signs = (hashes // self.dim % 2 * 2 - 1).float()
        return hashes % self.dim, signs * (grams > 0).all(dim=2)


class Reader(nn.Module):
    """Reads texts with convolutions over their letters, as in the first part of Reed et al. 2016b, section
    4, and takes the greatest of each feature over all places: uint8 [N, L], padded with zeros, to [N, dim].
    What it says does not depend on the padding."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(256, _LETTERS, padding_idx=0)
        self.first = nn.Conv1d(_LETTERS, channels, _READ, padding=_READ // 2)
        self.second = nn.Conv1d(channels, channels, _READ, stride=2, padding=_READ // 2)
        self.third = nn.Conv1d(channels, channels, _READ, stride=2, padding=_READ // 2)
        self.last = nn.Linear(channels, dim)

    def forward(self, texts: Tensor) -> Tensor:
        letters = folded(texts)
        there = (letters > 0).float()[:, None]
        x = F.relu(self.first(self.letters(letters).transpose(1, 2))) * there
        for conv in (self.second, self.third):
            there = there[:, :, ::2]
            x = F.relu(conv(x)) * there
        return lengthened(self.last(x.amax(dim=2)))


class Told(nn.Module):
    """Takes numbers [N, dim] as another program has made them."""

    def forward(self, vectors: Tensor) -> Tensor:
        return lengthened(vectors)


class Matcher(nn.Module):
    """Sees images [N, C, H, W] as vectors [N, dim] of the length of texts', and says how hot their products
    are."""

    def __init__(self, spec: ImageSpec, dim: int, channels: int) -> None:
        super().__init__()
        sides = sides_of(spec.height, spec.width)
        widths = levels(min(32, channels), channels, sides.doublings)
        inputs = [spec.channels, *widths[:-1]]
        self.convs = nn.ModuleList(Halving(a, b, bias=True) for a, b in zip(inputs, widths, strict=True))
        self.last = nn.Linear(widths[-1] * math.prod(sides.start), dim)
        self.heat = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        return lengthened(self.last(x.flatten(1)))

    def products(self, images: Tensor, texts: Tensor, group: int) -> Tensor:
        """Returns how well each image fits each text of its group, [N / group, group, group].

        images, texts: vectors [N, dim]. Groups are strided, as in `GroupBatchNorm`.
        """
        seen, said = (x.view(group, -1, x.shape[1]).transpose(0, 1) for x in (images, texts))
        cosines = seen @ said.transpose(1, 2) / images.shape[1]
        return cosines * self.heat.clamp(max=_HOTTEST).exp()


def matching_loss(products: Tensor) -> Tensor:
    """Returns the loss [N] of each image and its text, in the order of the batch: how surprising each is, on
    average, to who is given the other and has to choose within the group (the symmetric objective of Reed et
    al. 2016b, eq. 1 to 3, with the cross entropy of Radford et al. 2021, figure 3)."""
    of_images = -products.log_softmax(dim=2).diagonal(dim1=1, dim2=2)
    of_texts = -products.log_softmax(dim=1).diagonal(dim1=1, dim2=2)
    return (0.5 * (of_images + of_texts)).transpose(0, 1).flatten()
