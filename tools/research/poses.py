"""Whether generators of scenes turn them as their cameras say.

    python -m tools.research.poses SNAPSHOT_OR_RUN [...] [--heads 2000] [--scenes 16] [--azimuths 16]

For generators that have learnt demo:heads. A small network learns the azimuth of heads from their pictures,
and is then asked about scenes that each generator shows from known azimuths. Nothing tells a generator where
azimuth 0 is: the turn that its scenes have in common, or that each has, is taken out. What is left is the
median error in degrees, 90 where azimuths are guessed, and the agreement, 1 where all are right and near 0
where they are guessed. A run's snapshot of 0 images is the control.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from launch.assembly.sampling import choose_device, sampler_of
from pipeline.data.sources.heads.figure import picture
from pipeline.data.sources.heads.traits import head_of
from pipeline.errors import UserError
from pipeline.latents import OrbitedSpace
from pipeline.randomness import seed_everything
from pipeline.storage.snapshots import open_snapshot
from tools.bench.machine import write_rows

_BATCH, _RATE = 32, 2e-3
_POLAR = 78.0  # degrees, at which scenes are looked at: the middle of the heads'
_SEEDS = 1_000_000  # of the first scene, and of heads that the network has not learnt from


@dataclass(frozen=True)
class Agreement:
    """Of azimuths with those that were asked for, but for one turn: the median error in degrees, and the
    length of the mean of unit vectors at the differences."""

    error: float
    resultant: float


def agreement(found: Tensor, asked: Tensor) -> Agreement:
    """Of azimuths [N] in degrees."""
    apart = (found - asked).double() * (math.pi / 180)
    mean = torch.stack([apart.cos(), apart.sin()]).mean(1)
    left = apart - torch.atan2(mean[1], mean[0])
    error = torch.atan2(left.sin(), left.cos()).abs().median() * (180 / math.pi)
    return Agreement(float(error), float(mean.norm()))


def drawn_heads(count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures of heads, [count, 3, side, side] in [-1, 1], and their azimuths in degrees."""
    heads = [head_of(seed, number) for number in range(count)]
    pixels = torch.from_numpy(np.stack([picture(head, side) for head in heads]))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, torch.tensor([head.azimuth for head in heads])


class Reader(nn.Module):
    """Tells the azimuth of pictures [N, 3, H, W] as its cosine and sine, [N, 2]."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        convs = (nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(sizes))
        self.convs = nn.ModuleList(convs)
        self.out = nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        y: Tensor = self.out(x.flatten(1))
        return y

    @torch.no_grad()
    def azimuths(self, images: Tensor) -> Tensor:
        """In degrees, [N]."""
        cosine, sine = torch.cat([self(part) for part in torch.split(images, 256)]).unbind(1)
        return torch.atan2(sine, cosine) * (180 / math.pi)


def learnt(images: Tensor, azimuths: Tensor, passes: int = 15) -> Reader:
    """A network that has learnt them in so many passes; the same for the same numbers."""
    seed_everything(0)
    network = Reader()
    radians = azimuths * (math.pi / 180)
    wanted = torch.stack([radians.cos(), radians.sin()], dim=1)
    network(images[:1])
    optimizer = torch.optim.Adam(network.parameters(), _RATE)
    for number in range(passes):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1 - number / passes)
        for part in torch.split(torch.randperm(len(images)), _BATCH):
            optimizer.zero_grad()
            F.mse_loss(network(images[part]), wanted[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network


@torch.no_grad()
def scenes_of(space: OrbitedSpace, scenes: int, azimuths: int) -> tuple[Tensor, Tensor]:
    """Images [scenes * azimuths, C, H, W] of random scenes from all around, and their azimuths in degrees."""
    around = torch.linspace(-180, 180, azimuths + 1)[:-1]
    made = []
    for seed in range(_SEEDS, _SEEDS + scenes):
        codes = space.map(*space.latents([seed])).expand(azimuths, -1, -1)
        seen = space.seen_from(codes, around, torch.full_like(around, _POLAR))
        made.append(torch.cat([space.synthesise(code[None]) for code in seen]).cpu())
    return torch.cat(made), around.repeat(scenes)


def measured(network: Reader, source: Path, scenes: int, azimuths: int) -> dict[str, object]:
    """The row of one snapshot. Errors: UserError for a generator without a camera."""
    snapshot = open_snapshot(source)
    space = sampler_of(snapshot, choose_device("cpu"))
    if not isinstance(space, OrbitedSpace):
        raise UserError(f"{source}: a {snapshot.family.name} generator has no camera")
    images, asked = scenes_of(space, scenes, azimuths)
    found = network.azimuths(images)
    parts = (torch.split(values, azimuths) for values in (found, asked))
    each = [agreement(*pair) for pair in zip(*parts, strict=True)]
    return {
        "source": str(source),
        "images_seen": snapshot.images_seen,
        **asdict(agreement(found, asked)),
        "error_scene": float(np.median([one.error for one in each])),
        "resultant_scene": float(np.median([one.resultant for one in each])),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for the network on heads that it has not seen, and one for each generator."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="SNAPSHOT_OR_RUN")
    parser.add_argument("--heads", type=int, default=2000, help="to learn from")
    parser.add_argument("--scenes", type=int, default=16, help="of each generator")
    parser.add_argument("--azimuths", type=int, default=16, help="from which each scene is seen")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    options = parser.parse_args(arguments)
    side = open_snapshot(options.sources[0]).spec.height
    network = learnt(*drawn_heads(options.heads, side, 0))
    images, azimuths = drawn_heads(300, side, _SEEDS)
    known = agreement(network.azimuths(images), azimuths)
    print(f"heads not seen before: error {known.error:.1f}, agreement {known.resultant:.2f}")
    rows = []
    for source in options.sources:
        row = measured(network, source, options.scenes, options.azimuths)
        rows.append(row)
        print(
            f"{source}, {row['images_seen']} images seen: error {row['error']:.1f}, agreement "
            f"{row['resultant']:.2f}; each scene by itself {row['error_scene']:.1f}, "
            f"{row['resultant_scene']:.2f}"
        )
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
