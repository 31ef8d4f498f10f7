"""One rank's part of a batch through batch normalisation: writes outputs, gradients, statistics."""

from __future__ import annotations

import sys

import torch

from pipeline.engines.process import start_process, stop_process
from pipeline.models.layers import BatchNorm


def batch() -> torch.Tensor:
    return torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(5)) * 2 + 1


def run(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Moments of the batch pass through a loss that mixes images only by the normalisation."""
    norm = BatchNorm(3)
    x = x.clone().requires_grad_()
    y = norm(x, act="relu")
    y.pow(3).mean().backward()
    assert norm.gain is not None
    assert norm.bias is not None
    return {
        "y": y.detach(),
        "x": x.grad,
        "gain": norm.gain.grad,
        "bias": norm.bias.grad,
        "mean": norm.running_mean,
        "var": norm.running_var,
    }


def main(out: str) -> None:
    torch.set_num_threads(1)
    process = start_process("cpu")
    own = batch()[process.rank :: process.world_size]
    results = run(own)
    alone = BatchNorm(3)
    alone.over_ranks = False
    results["alone"] = alone(own).detach()
    torch.save(results, f"{out}/rank{process.rank}.pt")
    stop_process()


if __name__ == "__main__":
    main(sys.argv[1])
