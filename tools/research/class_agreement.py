"""Do generated images show the class that was asked for? A classifier trained on the real ones says.

    python -m tools.research.class_agreement REALS FAKES

Both are folders of labelled shards. A small convolutional network learns nine tenths of the reals; its
accuracy on the last tenth says how far to trust it. Agreement is the share of fakes it puts into their class.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.stream import read_uint8
from pipeline.errors import UserError
from pipeline.randomness import seed_everything
from tools.bench.machine import write_rows

_SIDE = 32  # what the classifier sees
_STEPS, _BATCH = 600, 64


def labelled(path: Path) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """(images [N, C, 32, 32] in [-1, 1], labels [N], class names) of shards. UserError without labels."""
    index = ShardIndex.read(path)
    if not index.classes:
        raise UserError(f"{path}: has no labels; allowed: labelled shards")
    images, labels = [], []
    for pixels, classes, _ in read_uint8(index):
        small = F.interpolate(pixels.float(), (_SIDE, _SIDE), mode="bilinear", antialias=True)
        images.append(small / 127.5 - 1)
        labels.append(torch.tensor(classes))
    return torch.cat(images), torch.cat(labels), index.classes


def classifier(channels: int, classes: int) -> nn.Module:
    """Three convolutions and a linear layer."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        *block(channels, 24), *block(24, 48), *block(48, 96), nn.Flatten(), nn.Linear(96 * 16, classes)
    )


def learn(images: Tensor, labels: Tensor, classes: int, seed: int = 0) -> tuple[nn.Module, float]:
    """(the trained classifier, its accuracy on the tenth of the images that it did not learn)."""
    seed_everything(seed)
    order = torch.randperm(len(images))
    held, rest = order[: len(order) // 10], order[len(order) // 10 :]
    model = classifier(images.shape[1], classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(_STEPS):
        chosen = rest[torch.randint(len(rest), (_BATCH,))]
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    return model, float((predict(model, images[held]) == labels[held]).float().mean())


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Class numbers [N]."""
    return torch.cat([model(part).argmax(1) for part in torch.split(images, 256)])


def agreement(reals: Path, fakes: Path) -> dict[str, Any]:
    """`agreement` and `held_out`, shares of 1, and `by_class`. UserError where the classes differ."""
    images, labels, names = labelled(reals)
    others, asked, other_names = labelled(fakes)
    if names != other_names or images.shape[1] != others.shape[1]:
        raise UserError(f"{fakes}: its classes or channels are not those of {reals}; allowed: the same")
    model, held_out = learn(images, labels, len(names))
    hits = (predict(model, others) == asked).float()
    by_class = {name: float(hits[asked == c].mean()) for c, name in enumerate(names) if (asked == c).any()}
    return {
        "op": "class agreement",
        "count": len(hits),
        "agreement": float(hits.mean()),
        "held_out": held_out,
        "by_class": by_class,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints agreement by class and in all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("reals", type=Path, help="labelled shards that a model was trained on")
    parser.add_argument("fakes", type=Path, help="labelled shards that it generated")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    found = agreement(options.reals, options.fakes)
    for name, share in found["by_class"].items():
        print(f"{name:>12}  {share:.3f}")
    print(f"agreement {found['agreement']:.3f} of {found['count']} images")
    print(f"the classifier's accuracy on held-out reals {found['held_out']:.3f}")
    write_rows(options.json, [found])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
