"""A small image classifier that is trained on the reals' classes and then says what class generated images
show.

It sees images of 32x32 pixels and runs on the CPU in one thread, so that the same images give the same
classifier on all machines of one kind, whatever the device and the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.randomness import seed_everything

SIDE = 32
RECIPE = 1
"""The version of this training recipe. Change it with anything below: figures of different recipes cannot be
compared."""

STEPS, BATCH, RATE, SEED = 600, 64, 2e-3, 0
_WIDTHS = (24, 48, 96)
_AT_ONCE = 256


def made_small(images: Tensor) -> Tensor:
    """uint8 RGB [N, 3, H, W] -> uint8 [N, 3, 32, 32], on the CPU."""
    small = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).cpu()


def learn(images: Tensor, labels: Tensor, classes: int) -> tuple[dict[str, Tensor], float]:
    """Trains on nine tenths of the images [N, 3, 32, 32] uint8 with class numbers `labels` [N], and returns
    the weights and the accuracy on the remaining tenth."""
    with _repeatable():
        seed_everything(SEED)
        order = torch.randperm(len(images))
        held, rest = order[: len(order) // 10], order[len(order) // 10 :]
        model = _network(classes)
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for _ in range(STEPS):
            chosen = rest[torch.randint(len(rest), (BATCH,))]
            loss = F.cross_entropy(model(_floats(images[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        state = model.state_dict()
    hits = predict(state, images[held], classes) == labels[held]
    return state, float(hits.double().mean())


@torch.no_grad()
def predict(state: Mapping[str, Tensor], images: Tensor, classes: int) -> Tensor:
    """The class number [N] that the classifier with weights `state` predicts for each of the images [N, 3,
    32, 32] uint8."""
    with _repeatable():
        model = _network(classes)
        model.load_state_dict(dict(state))
        model.eval()
        parts = [images[at : at + _AT_ONCE] for at in range(0, len(images), _AT_ONCE)]
        return torch.cat([model(_floats(part)).argmax(1) for part in parts])


def _network(classes: int) -> nn.Module:
    """Three convolutions and a linear layer."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((3, *_WIDTHS), _WIDTHS, strict=False):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    side = SIDE >> len(_WIDTHS)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(_WIDTHS[-1] * side * side, classes))


def _floats(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


@contextmanager
def _repeatable() -> Iterator[None]:
    """Runs in one thread, and restores the state of the random generators afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
