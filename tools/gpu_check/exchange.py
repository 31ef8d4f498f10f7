"""Exchanges of a single rank, which show whether the communication library and DeepSpeed start."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec

import torch
import torch.distributed as dist

from launch.assembly.operations import use_operations
from launch.cluster.processes import free_port, rank_variables
from pipeline.config.run import EngineConfig
from pipeline.contracts import Process
from pipeline.engines.process import stop_process
from pipeline.engines.select import select_engine
from tools.bench.timing import wait
from tools.gpu_check.clock import median_ms
from tools.gpu_check.step import Conditions, Figure, figure
from tools.tiny_families import TINY, tiny_family, tiny_trainer


def exchange(conditions: Conditions) -> Iterator[Figure]:
    """Runs an all-reduce, and steps of a tiny family under each engine. sizes: megabytes, rounds."""
    device = conditions.device
    os.environ.update(rank_variables(0, 1, free_port()))
    use_operations("auto" if device.type == "cpu" else "native", device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    began = time.perf_counter()
    dist.init_process_group(backend, rank=0, world_size=1)
    try:
        tensor = torch.ones(conditions.sizes["megabytes"] << 18, device=device)
        dist.all_reduce(tensor)
        wait(device)
        yield figure(f"{backend} has come up", time.perf_counter() - began, "s")
        ms = median_ms(lambda: dist.all_reduce(tensor), device, conditions.sizes["rounds"])
        if not bool((tensor == 1).all()):
            raise ArithmeticError("an all-reduce of one rank changed its tensor")
        yield figure(f"all-reduce of {conditions.sizes['megabytes']} MiB", ms, "ms")
        yield from _engines(device)
    finally:
        stop_process()


_FAMILY = sorted(TINY)[-1]  # one with penalties and lazy phases


def _engines(device: torch.device) -> Iterator[Figure]:
    for kind, stage in (("replicated", 0), ("zero", 1), ("zero", 2)):
        if kind == "zero" and find_spec("deepspeed") is None:
            yield figure(f"engine.kind=zero, stage {stage}: left out, deepspeed is not installed", 0, "steps")
            continue
        process = Process(device=device)
        engine = select_engine(EngineConfig(kind=kind, stage=stage), process)
        trainer = tiny_trainer(tiny_family(_FAMILY), process=process, engine=engine)
        steps = 2
        for _ in range(steps):
            trainer.step()
        figures = trainer.meters.flush()
        if figures["skipped_updates"]:
            raise ArithmeticError(f"engine.kind={kind}: an update was skipped")
        yield figure(f"engine.kind={kind}, stage {stage}", steps, "steps")
