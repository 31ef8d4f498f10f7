"""From a snapshot on disk to a sampler: the one place where storage and families meet."""

from __future__ import annotations

import os

import torch

from launch.assembly.fixtures import recall_fixtures
from launch.assembly.operations import use_operations
from launch.cluster.srun import task_place
from pipeline.contracts import Sampler
from pipeline.engines.devices import own_device
from pipeline.errors import UserError
from pipeline.models.registry import build_family, low_precision_of
from pipeline.storage.snapshots import Snapshot


def choose_device(name: str) -> torch.device:
    """The device that auto, cpu or cuda stands for. UserError if it is not available."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is visible; allowed: auto, cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def own_device_of(name: str) -> torch.device:
    """The same for this process, which may be one of several with a GPU each."""
    device = choose_device(name)
    return device if device.type != "cuda" else own_device(task_place(os.environ).local_rank)


def sampler_of(snapshot: Snapshot, device: torch.device) -> Sampler:
    """The snapshot's generator with its verified weights, ready to draw on `device`.

    It uses compiled operations where they are available; $HRGAN_OPS_BACKEND can choose others.
    """
    use_operations("auto", device)
    weights = snapshot.weights()
    family = build_family(
        snapshot.family,
        snapshot.spec,
        batch_size=snapshot.batch_size,
        low_precision=low_precision_of(snapshot.precision),
    )
    recall_fixtures(snapshot, family, device)
    generator = family.networks().generator
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(f"{snapshot.folder}: its weights do not fit its family: {reason}") from error
    return family.sampler(generator.to(device).eval().requires_grad_(False), snapshot.stage)
