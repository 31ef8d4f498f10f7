"""How often what a model drew of a text shows that text best, among others.

The judge is a small network that learns which image a text belongs to from one half of the reals alone. It
has never seen the model or what it drew, and has no weights or texts' numbers in common with it. Of each
sample of the other half, the model draws the text; the judge then has to find this text among it and others
of that half, no two of which are equal. Beside the fakes' share stand that of the reals of that half, which
is what can be reached, that of an untrained generator of the same kind, and chance.

    python -m tools.text_retrieval RUN --data SHARDS
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from launch.assembly.sampling import choose_device
from pipeline.contracts import Batch, ImageSpec
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import NumberedSamples
from pipeline.errors import UserError
from pipeline.generation.said import draws_texts
from pipeline.models.textgan.encoders import Hashed, Matcher, lengthened, matching_loss
from pipeline.randomness import derive_seed, permutation, seed_everything
from tools.controls import LEARN, beside_untrained, drawn, halves, read

_FIELD = "text"
_BUCKETS, _LENGTHS = 2048, (3, 5, 7)
_DIM, _CHANNELS, _BATCH, _RATE, _DECAY = 64, 64, 64, 1e-3, 1e-2


class Judge(nn.Module):
    """Says how well images fit texts: counts of hashed n-grams and a few convolutions, each with a linear
    layer."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.counts, self.linear = Hashed(_BUCKETS, _LENGTHS), nn.Linear(_BUCKETS, _DIM)
        self.seeing = Matcher(spec, _DIM, _CHANNELS)

    def said(self, texts: Tensor) -> Tensor:
        """Returns what texts [N, L] say, [N, dim]."""
        return lengthened(self.linear(self.counts(texts)))

    def seen(self, images: Tensor) -> Tensor:
        """Returns what images [N, C, H, W] show, [N, dim]."""
        shown: Tensor = self.seeing(images)
        return shown


@dataclass(frozen=True)
class Shares:
    """The share of images whose own text fits best: of fakes, of reals, of an untrained generator's."""

    fakes: float
    reals: float
    untrained: float
    chance: float

    def line(self) -> str:
        """The figures for people."""
        return (
            f"retrieval of the own text: {self.fakes:.1%} (reals {self.reals:.1%}, untrained "
            f"{self.untrained:.1%}, chance {self.chance:.1%})"
        )


def learn(samples: Batch, spec: ImageSpec, steps: int, seed: int = 0) -> Judge:
    """Returns a judge that has learnt from these samples alone."""
    seed_everything(derive_seed(seed, "judge"))
    judge = Judge(spec).to(samples.images.device)
    adam = torch.optim.AdamW(judge.parameters(), _RATE, weight_decay=_DECAY)
    size = min(_BATCH, len(samples))
    for step in range(steps):
        some = torch.from_numpy(permutation(len(samples), derive_seed(seed, "batch", step))[:size])
        batch = samples.map(lambda tensor, some=some: tensor[some])  # type: ignore[misc]
        products = judge.seeing.products(judge.seen(batch.images), judge.said(batch.extra[_FIELD]), size)
        adam.zero_grad()
        matching_loss(products).mean().backward()  # type: ignore[no-untyped-call]
        adam.step()
    return judge.eval().requires_grad_(False)


def others(texts: Tensor, count: int) -> Tensor:
    """Returns the places [N, count] of other texts for each, all different from it and from each other.
    UserError if there are too few."""
    distinct, kinds = torch.unique(texts, dim=0, return_inverse=True)
    if len(distinct) <= count:
        raise UserError(
            f"--candidates {count + 1}: the data have {len(distinct)} texts; allowed: up to these"
        )
    first = torch.stack([(kinds == kind).nonzero()[0, 0] for kind in range(len(distinct))])
    rows = []
    for place, own in enumerate(kinds.tolist()):
        order = torch.from_numpy(permutation(len(distinct), derive_seed("others", place)))
        rows.append(first[order[order != own][:count]])
    return torch.stack(rows)


def retrieved(judge: Judge, images: Tensor, texts: Tensor, candidates: int) -> float:
    """Returns the share of images that fit their own text better than each of `candidates` - 1 others."""
    seen = torch.cat([judge.seen(some) for some in torch.split(images, _BATCH)])
    said = judge.said(texts)
    wrong = (seen[:, None] * said[others(texts.cpu(), candidates - 1).to(texts.device)]).sum(2)
    return float(((seen * said).sum(1) > wrong.amax(1)).float().mean())


def measure(
    source: Path,
    data: str,
    *,
    candidates: int = 10,
    steps: int = 200,
    device: str = "auto",
    count: int = 500,
    learnt: int = LEARN,
) -> Shares:
    """Returns the shares for a snapshot, or a run's newest. count: how many are drawn at most. learnt: how
    many reals the judge learns from at most."""
    if candidates < 2:
        raise UserError(f"--candidates {candidates}: an image's own text and others; allowed: 2 and more")
    on, index = choose_device(device), ShardIndex.read(data)
    beside = beside_untrained(source, on)
    sampler, untrained = draws_texts(beside.trained), draws_texts(beside.untrained)
    samples = NumberedSamples(index, sampler.fields)
    some, numbers = halves(len(samples), learnt, count)
    known, held_out = read(samples, some, on), read(samples, numbers, on)
    judge, texts = learn(known, beside.family.spec, steps), held_out.extra[_FIELD]
    (ours, _), (blind, _) = (drawn(each, held_out, numbers) for each in (sampler, untrained))
    fakes, reals, nothing = (
        retrieved(judge, images, texts, candidates) for images in (ours, held_out.images, blind)
    )
    return Shares(fakes, reals, nothing, 1 / candidates)


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.text_retrieval", description=__doc__)
    parser.add_argument("source", type=Path, metavar="SNAPSHOT_OR_RUN")
    parser.add_argument("--data", required=True, metavar="SHARDS", help="data with the field text")
    parser.add_argument("--candidates", type=int, default=10, help="texts that each image chooses from")
    parser.add_argument("--steps", type=int, default=200, help="steps of the judge, of 64 reals each")
    parser.add_argument("--count", type=int, default=500, help="texts that are drawn, at most")
    parser.add_argument("--learn", type=int, default=LEARN, help="reals that the judge learns from, at most")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    asked = parser.parse_args(arguments)
    try:
        how = {
            "candidates": asked.candidates,
            "steps": asked.steps,
            "count": asked.count,
            "learnt": asked.learn,
        }
        print(measure(asked.source, asked.data, device=asked.device, **how).line())
    except UserError as error:
        print(f"hrgan: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
