"""Measures another project's training phases on the same device, at its own settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from tools.gpu_check.clock import float32_products, median_ms
from tools.gpu_check.step import Conditions, Figure, LeftOut, figure
from tools.gpu_check.training import release
from tools.research.peers import Peer, load_peer


def plugins(conditions: Conditions) -> Iterator[Figure]:
    """Compiles the peers' operations, beside other steps; `phases` waits for it."""
    for peer in _peers(conditions):
        yield figure(f"{peer.name}: there", 1, "")


def phases(conditions: Conditions) -> Iterator[Figure]:
    """Milliseconds of its phases, and s/kimg with lazy phases spread out; cuDNN's algorithms are searched
    for, as its own loop has it. sizes: resolution, batches, low_levels (resolutions in float16), rounds,
    config, settings."""
    sizes, device = conditions.sizes, conditions.device
    torch.backends.cudnn.benchmark = True
    family = load_config(shipped(sizes["config"]), sizes["settings"]).family
    assert isinstance(family, StyleGAN2Config)
    every = {"Greg": family.path_length_every, "Dreg": family.r1_every}
    for peer in _peers(conditions):
        for batch in sizes["batches"]:
            images = torch.rand(batch, 3, sizes["resolution"], sizes["resolution"], device=device) * 2 - 1
            for tf32 in (False, True):
                float32_products(tf32=tf32)
                what = f"{peer.name} batch {batch} TF32 {'on' if tf32 else 'off'}"
                torch.manual_seed(0)
                total = 0.0
                for name, run in peer.training(family, images, low_levels=sizes["low_levels"]).items():
                    ms = median_ms(run, device, sizes["rounds"])
                    total += ms / every.get(name, 1)
                    yield figure(f"{what} {name}", ms, "ms")
                yield figure(what, total / batch, "s/kimg")
                release(device)


def _peers(conditions: Conditions) -> Iterator[Peer]:
    if not conditions.peers:
        raise LeftOut("no --peer")
    for argument in conditions.peers:
        name, _, folder = argument.partition("=")
        peer = load_peer(f"{name}={Path(folder).expanduser()}", conditions.device.type)
        if peer.trains:
            yield peer
