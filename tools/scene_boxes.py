"""How well a model of scene graphs knows where objects are, and whether its drawings show them there.

Of each scene of one half of the data, the model predicts the boxes of the objects and draws the scene with
them or with the data's, as its configuration says. Boxes are compared with the true ones by the root mean
square error of their sides, which training makes small, and by the intersection over union; drawings with the
real image of their scene by the mean distance of images in [-1, 1] within the true box of each object. Beside
these stand what needs no model: the mean box of each kind of object and the mean image, both of the other
half; and what shows whether the model looks at scenes: an untrained one, and drawings of the scenes of other
samples. The data should be none that it was trained on.

    python -m tools.scene_boxes RUN --data SHARDS
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from launch.assembly.sampling import choose_device
from pipeline.contracts import Batch, Conditional, Sampler
from pipeline.data.shards.index import ShardIndex
from pipeline.data.streaming.numbered import NumberedSamples
from pipeline.errors import UserError
from pipeline.models.sg2im.layout import cut, overlap
from pipeline.models.sg2im.scene import BOXES, OBJECTS
from tools.controls import LEARN, beside_untrained, drawn, halves, read

_SIDE = 16  # pixels along each side of a box at which images are compared


@dataclass(frozen=True)
class Found:
    """Over objects: the root mean square error of the sides of boxes in shares of the image's, the mean
    overlap of boxes, and the mean distance of images within them."""

    error: float
    error_mean: float
    error_untrained: float
    boxes: float
    boxes_mean: float
    boxes_untrained: float
    drawn: float
    drawn_others: float
    drawn_mean: float
    drawn_untrained: float

    def lines(self) -> str:
        """The figures for people."""
        return (
            f"error of boxes: {self.error:.1%} of a side (mean box of each kind {self.error_mean:.1%}, "
            f"untrained {self.error_untrained:.1%})\n"
            f"overlap of boxes: {self.boxes:.1%} (mean box of each kind {self.boxes_mean:.1%}, untrained "
            f"{self.boxes_untrained:.1%})\n"
            f"distance within objects: {self.drawn:.3f} (mean image {self.drawn_mean:.3f}, scenes of others "
            f"{self.drawn_others:.3f}, untrained {self.drawn_untrained:.3f})"
        )


def mean_boxes(objects: Tensor, boxes: Tensor, asked: Tensor) -> Tensor:
    """Returns for each code of `asked` [N, K] the mean of the boxes [M, K, 4] of objects [M, K] of that code,
    [N, K, 4]; for a code that is not among them, of all objects'."""
    there = objects > 0
    boxes, objects = boxes[there], objects[there].long()
    whole = boxes.mean(dim=0)
    table = whole.repeat(int(torch.stack([objects.max(), asked.max().long()]).max()) + 1, 1)
    for code in set(objects.tolist()):
        table[code] = boxes[objects == code].mean(dim=0)
    return table[asked.long()]


def over_objects(values: Tensor, objects: Tensor) -> float:
    """Returns the mean of values [N, K] over the places that have an object."""
    return float(values[objects > 0].mean())


def within(images: Tensor, others: Tensor, given: Batch) -> float:
    """Returns the mean over objects of the mean distance of two sets of images [N, C, H, W] in their
    boxes."""
    apart = cut((images - others).abs(), given.extra[BOXES].float(), _SIDE)
    return over_objects(apart.mean(dim=(2, 3, 4)), given.extra[OBJECTS])


def measure(source: Path, data: str, *, count: int = 250, learnt: int = LEARN, device: str = "auto") -> Found:
    """Returns the figures of a snapshot, or a run's newest. count: how many scenes are drawn at most. learnt:
    of how many the means are taken at most. Raises UserError for a model that draws no scenes, or data
    without them."""
    on, index = choose_device(device), ShardIndex.read(data)
    beside = beside_untrained(source, on)
    sampler, untrained = _scenes(beside.trained, source), _scenes(beside.untrained, source)
    samples = NumberedSamples(index, beside.family.needs.fields)
    some, numbers = halves(len(samples), learnt, count)
    if len(numbers) < 2:
        raise UserError(f"--data {data}: {len(samples)} samples; allowed: 4 and more")
    known, given = read(samples, some, on), read(samples, numbers, on)
    objects, boxes = given.extra[OBJECTS], given.extra[BOXES].float()
    (fakes, ours), (nothing, blind) = (drawn(each, given, numbers) for each in (sampler, untrained))
    others, _ = drawn(sampler, given.map(lambda tensor: tensor.roll(1, 0)), numbers)
    common = mean_boxes(known.extra[OBJECTS], known.extra[BOXES].float(), objects)
    predicted = (ours[:, :-1], common, blind[:, :-1])
    images = (fakes, others, known.images.mean(dim=0, keepdim=True), nothing)
    return Found(
        *(over_objects((each - boxes).square().mean(dim=2), objects) ** 0.5 for each in predicted),
        *(over_objects(overlap(each, boxes), objects) for each in predicted),
        *(within(each, given.images, given) for each in images),
    )


def _scenes(sampler: Sampler, source: Path) -> Conditional:
    if not isinstance(sampler, Conditional) or OBJECTS not in sampler.fields:
        raise UserError(f"{source}: this model draws no scene graphs")
    return sampler


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.scene_boxes", description=__doc__)
    parser.add_argument("source", type=Path, metavar="SNAPSHOT_OR_RUN")
    parser.add_argument("--data", required=True, metavar="SHARDS", help="data with scene graphs")
    parser.add_argument("--count", type=int, default=250, help="scenes that are drawn, at most")
    parser.add_argument("--learn", type=int, default=LEARN, help="scenes of which means are taken, at most")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    asked = parser.parse_args(arguments)
    try:
        how = {"count": asked.count, "learnt": asked.learn}
        print(measure(asked.source, asked.data, device=asked.device, **how).lines())
    except UserError as error:
        print(f"hrgan: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
