"""From a snapshot on disk to a sampler: the one place where storage and families meet."""

from __future__ import annotations

import os

import torch
from torch import nn

from launch.assembly.fixtures import recall_fixtures
from launch.assembly.operations import use_operations
from launch.cluster.srun import task_place
from pipeline.contracts import Conditional, Family, Sampler
from pipeline.data.shards.index import ShardIndex
from pipeline.data.stores.place import Place
from pipeline.data.streaming.numbered import over
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


def sampler_of(
    snapshot: Snapshot, device: torch.device, given: str | Place | None = None, inputs: str | None = None
) -> Sampler:
    """The snapshot's generator with its verified weights, ready to draw on `device`.

    given: the data set whose samples a model takes that makes images of what it is given; not read for
    others. inputs: the same in its place, as a person asks for it with --inputs; UserError for others. It
    uses compiled operations where they are available; $HRGAN_OPS_BACKEND can choose others.
    """
    family, generator = generator_of(snapshot, device)
    sampler = family.sampler(generator, snapshot.stage)
    if inputs is not None and not isinstance(sampler, Conditional):
        raise UserError(f"--inputs {inputs}: this model makes images of nothing that is given; leave it out")
    samples = given if inputs is None else inputs
    if samples is None or not isinstance(sampler, Conditional):
        return sampler
    return over(sampler, ShardIndex.read(samples))


def generator_of(snapshot: Snapshot, device: torch.device) -> tuple[Family, nn.Module]:
    """The snapshot's family with the fixtures that sampling needs, and its generator, see `sampler_of`."""
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
    return family, generator.to(device).eval().requires_grad_(False)
