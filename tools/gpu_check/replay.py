"""The generator's main phase, captured in a CUDA graph and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from launch.assembly.operations import use_operations
from launch.assembly.trainer import family_of
from pipeline.config.load import load_config
from pipeline.config.shipped import shipped
from pipeline.contracts import ImageSpec
from pipeline.kernels import choose_kernels
from tools.bench.timing import wait
from tools.gpu_check.clock import float32_products, host_ms, median_ms
from tools.gpu_check.step import Conditions, Figure, figure


def replay(conditions: Conditions) -> Iterator[Figure]:
    """Milliseconds with and without a graph, and whether gradients are the same to the bit. On a CPU, which
    has no graphs, the phase is called again. sizes: runs (configuration, resolution, batch, settings),
    rounds."""
    for name, resolution, batch, overrides in conditions.sizes["runs"]:
        what = f"{resolution}px batch {batch}"
        gradients, run = _phase(name, resolution, batch, overrides, conditions.device)
        again = captured(run, conditions.device)
        again()
        first = [gradient.clone() for gradient in gradients()]
        again()
        same = all(torch.equal(one, two) for one, two in zip(first, gradients(), strict=True))
        if not all(bool(torch.isfinite(one).all()) for one in first):
            raise ArithmeticError(f"{what}: gradients of the replayed phase are not finite")
        for way, call in (("dispatched", run), ("replayed", again)):
            ms = median_ms(call, conditions.device, conditions.sizes["rounds"])
            yield figure(f"{what} {way}", ms, "ms", host_ms=host_ms(call, conditions.device, 3))
        yield figure(f"{what} replays to the bit", float(same), "")


def _phase(
    name: str, resolution: int, batch: int, overrides: list[str], device: torch.device
) -> tuple[Callable[[], list[torch.Tensor]], Callable[[], None]]:
    """Reads the generator's gradients; computes them, for latents that stay the same."""
    config = load_config(shipped(name), [f"batch.size={batch}", *overrides])
    use_operations("auto" if device.type == "cpu" else "native", device)
    float32_products(tf32=False)
    choose_kernels()
    torch.manual_seed(0)
    networks = family_of(config, ImageSpec(resolution, resolution, 3)).networks()
    generator, discriminator = networks.generator.to(device), networks.discriminator.to(device)
    discriminator.requires_grad_(False)
    z = torch.randn(batch, int(generator.z_dim), device=device)  # type: ignore[arg-type]
    parameters = [parameter for parameter in generator.parameters() if parameter.requires_grad]

    def run() -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()
        logits = discriminator(generator(z), None)
        F.softplus(-logits).mean().backward()  # type: ignore[no-untyped-call]

    def gradients() -> list[torch.Tensor]:
        return [p.grad for p in parameters if p.grad is not None]

    return gradients, run


def captured(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`run` as a graph that is replayed, after it has run on a side stream as capture demands."""
    if device.type != "cuda":
        run()
        return run
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    wait(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
