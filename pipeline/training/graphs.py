"""CUDA graphs, which replace the thousands of kernel launches of a turn by one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.contracts import Engine, Networks
from pipeline.training.turns import Graphs, Run, Stats


class CudaGraphs:
    """Implements `turns.Graphs` on a GPU. All graphs share one memory pool, since they run one after another.

    tell: is called with a line for the user if something cannot be captured.
    """

    def __init__(self, device: torch.device, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm(self, run: Run) -> Stats:
        # On the stream that will capture: what autograd creates only once stays bound to its stream.
        present = torch.cuda.current_stream()
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            stats = run()
        present.wait_stream(self._stream)
        return stats

    def capture(self, run: Run) -> Run | None:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads pin memory and write checkpoints meanwhile: their calls must not break the
            # capture.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                packed = Packed(run())
        except RuntimeError as error:  # an operation that waits for the device, or no memory left
            why = str(error).strip().splitlines()[0]
            self._tell(f"hrgan: warning: a phase runs without CUDA graphs, slower: {why}")
            return None

        def replay() -> Stats:
            graph.replay()
            return packed.copy()

        return replay


class Packed:
    """Stats side by side in one tensor, so that copying all of them takes one launch."""

    def __init__(self, stats: Stats) -> None:
        self._shapes = {name: value.shape for name, value in stats.items()}
        values = [value.float().reshape(-1) for value in stats.values()]
        self._flat = torch.cat(values) if values else torch.empty(0)

    def copy(self) -> Stats:
        """Returns a copy of the stats as they are now."""
        sizes = [shape.numel() for shape in self._shapes.values()]
        parts: tuple[Tensor, ...] = torch.split(self._flat.clone(), sizes)
        shapes = self._shapes.items()
        return {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}


def graphs_for(engine: Engine, networks: Networks, tell: Callable[[str], None]) -> Graphs | None:
    """Returns the graphs on a GPU and None on a CPU. Where an exchange between ranks would have to be
    captured, it returns None and tells the user why."""
    process = engine.process
    if process.device.type != "cuda":
        return None
    if not engine.backward_is_local:
        tell("hrgan: no CUDA graphs: this engine exchanges gradients during the backward pass")
        return None
    if process.world_size > 1 and any(_exchanges(network) for _, network in networks.items()):
        tell("hrgan: no CUDA graphs: batch statistics are exchanged between processes within a phase")
        return None
    return CudaGraphs(process.device, tell)


def _exchanges(network: torch.nn.Module) -> bool:
    return any(getattr(module, "over_ranks", False) for module in network.modules())
