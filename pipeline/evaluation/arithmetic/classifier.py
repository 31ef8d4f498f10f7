"""A small classifier of images, which learns the reals' classes and then says what generated images show.

It sees 32 pixels a side, and learns on the CPU, in one thread: the same images give the same classifier on
every machine of one kind, whatever the device and the number of processes.
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
"""Of all below: another recipe is another number, for its figures compare with nothing older."""

STEPS, BATCH, RATE, SEED = 600, 64, 2e-3, 0
_WIDTHS = (24, 48, 96)
_AT_ONCE = 256


def made_small(images: Tensor) -> Tensor:
    """uint8 RGB [N, 3, H, W] -> uint8 [N, 3, 32, 32], on the CPU."""
    small = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).cpu()


def learn(images: Tensor, labels: Tensor, classes: int) -> tuple[dict[str, Tensor], float]:
    """The weights after training on nine tenths of the images [N, 3, 32, 32] uint8, which have the class
    numbers `labels` [N], and the accuracy on the last tenth."""
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
    """The class number that the classifier with these weights sees in each of [N, 3, 32, 32] uint8: [N]."""
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
    """One thread, and random numbers that nobody else notices."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)
