"""How well what a model drew of maps of parts shows these parts, to a judge that learnt from reals.

The judge is a small network that tells the part of each pixel. It learns from the images and maps of one half
of the data and has never seen the model or what it drew. Of each map of the other half the model draws an
image, in which the judge looks for the parts. Figures are those of Isola et al. 2017, table 1: the share of
pixels, its mean over parts, and the mean over parts of intersection over union. Beside the fakes' stand those
of the reals of that half, which are what can be reached, of an untrained generator of the same kind, and of
the mean real, which shows no map.

    python -m tools.part_agreement RUN --data SHARDS
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from launch.assembly.sampling import choose_device
from pipeline.contracts import Sampler, Translator
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import NumberedSamples
from pipeline.errors import UserError
from pipeline.randomness import derive_seed, permutation, seed_everything
from pipeline.words import table
from tools.controls import LEARN, beside_untrained, drawn, halves, read

_WIDTH, _DILATIONS, _GROUPS, _BATCH, _RATE = 32, (1, 2, 4, 8, 4, 2, 1), 4, 16, 3e-3


class Judge(nn.Sequential):
    """Tells the part of each pixel: images [N, C, H, W] -> logits [N, parts, H, W]."""

    def __init__(self, channels: int, parts: int) -> None:
        layers: list[nn.Module] = []
        for i, dilation in enumerate(_DILATIONS):
            conv = nn.Conv2d(_WIDTH if i else channels, _WIDTH, 3, padding=dilation, dilation=dilation)
            layers += [conv, nn.GroupNorm(_GROUPS, _WIDTH), nn.SiLU()]
        super().__init__(*layers, nn.Conv2d(_WIDTH, parts, 1))
        self.parts = parts


@dataclass(frozen=True)
class Agreement:
    """Of pixels: the share that shows the asked-for part; its mean over parts; the mean over parts of the
    intersection of what is asked for and what is shown, over their union."""

    pixels: float
    parts: float
    overlap: float

    def words(self) -> tuple[str, str, str]:
        """The figures for people."""
        return f"{self.pixels:.1%}", f"{self.parts:.1%}", f"{self.overlap:.3f}"


def learn(images: Tensor, maps: Tensor, parts: int, steps: int, seed: int = 0) -> Judge:
    """Returns a judge that has learnt from these images [N, C, H, W] and maps [N, 1, H, W] alone."""
    seed_everything(derive_seed(seed, "judge"))
    judge = Judge(images.shape[1], parts).to(images.device)
    adam = torch.optim.AdamW(judge.parameters(), _RATE)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(steps):
        some = torch.from_numpy(permutation(len(images), derive_seed(seed, "batch", step))[:_BATCH])
        adam.zero_grad()
        F.cross_entropy(judge(images[some]), _wanted(maps[some], parts)).backward()  # type: ignore[no-untyped-call]
        adam.step()
        rates.step()
    return judge.eval().requires_grad_(False)


def agreement(judge: Judge, images: Tensor, maps: Tensor) -> Agreement:
    """Returns how well the judge finds the parts of the maps in the images; parts that no map has do not
    count."""
    seen = torch.cat([judge(some).argmax(1) for some in torch.split(images, _BATCH)])
    parts = judge.parts
    pairs = _wanted(maps, parts).flatten() * parts + seen.flatten()
    counts = torch.bincount(pairs, minlength=parts * parts).view(parts, parts).double()  # asked for, shown
    right, asked, shown = counts.diag(), counts.sum(1), counts.sum(0)
    there = asked > 0
    return Agreement(
        float(right.sum() / counts.sum()),
        float((right / asked)[there].mean()),
        float((right / (asked + shown - right))[there].mean()),
    )


def measure(
    source: Path, data: str, *, steps: int = 600, count: int = 300, learnt: int = LEARN, device: str = "auto"
) -> dict[str, Agreement]:
    """Returns the figures for a snapshot, or a run's newest, and of what stands beside it. count: how many
    images are drawn at most. learnt: how many the judge learns from at most."""
    on, index = choose_device(device), ShardIndex.read(data)
    beside = beside_untrained(source, on)
    sampler, untrained = _draws_maps(beside.trained), _draws_maps(beside.untrained)
    samples, (field,) = NumberedSamples(index, sampler.fields), sampler.fields
    some, numbers = halves(len(samples), learnt, count)
    known, held_out = read(samples, some, on), read(samples, numbers, on)
    judge = learn(known.images, known.extra[field], sampler.translation.codes, steps)
    images = {
        "fakes": drawn(sampler, held_out, numbers)[0],
        "untrained": drawn(untrained, held_out, numbers)[0],
        "mean real": known.images.mean(0).expand_as(held_out.images),
        "reals": held_out.images,
    }
    return {name: agreement(judge, shown, held_out.extra[field]) for name, shown in images.items()}


def _wanted(maps: Tensor, parts: int) -> Tensor:
    """Returns codes [N, H, W]; those above the last are the last, as models take them."""
    return maps[:, 0].long().clamp(max=parts - 1)


def _draws_maps(sampler: Sampler) -> Translator:
    if not isinstance(sampler, Translator) or not sampler.translation.codes:
        raise UserError("this model draws nothing of maps; allowed: runs with family.codes above 0")
    return sampler


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.part_agreement", description=__doc__)
    parser.add_argument("source", type=Path, metavar="SNAPSHOT_OR_RUN")
    parser.add_argument("--data", required=True, metavar="SHARDS", help="data with the run's maps")
    parser.add_argument("--steps", type=int, default=600, help="steps of the judge, of 16 reals each")
    parser.add_argument("--count", type=int, default=300, help="images that are drawn, at most")
    parser.add_argument("--learn", type=int, default=LEARN, help="reals that the judge learns from, at most")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    asked = parser.parse_args(arguments)
    try:
        how = {"steps": asked.steps, "count": asked.count, "learnt": asked.learn, "device": asked.device}
        found = measure(asked.source, asked.data, **how)
    except UserError as error:
        print(f"hrgan: error: {error}", file=sys.stderr)
        return 2
    print(
        table([(name, *figures.words()) for name, figures in found.items()], ("", "pixels", "parts", "IoU"))
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
