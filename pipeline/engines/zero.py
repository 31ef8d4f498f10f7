"""DeepSpeed's ZeRO 0, 1 and 2: gradients meet there, and from stage 1 on each rank keeps its part of
the optimizer's state.

Rajbhandari et al. 2020, section 5: stage 1 splits the optimizer's moments over the ranks, stage 2 the
reduced gradients too. Each network has a DeepSpeed engine of its own; forward goes through the raw module,
which is what lets penalties differentiate twice.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

from pipeline.contracts import Keep, Net, Networks, Process, Rule, StepReport
from pipeline.engines.optimizers import by_parameter, clip, new_optimizer, set_rate, skip_unless
from pipeline.engines.replicated import AveragesOverRanks, by_player, of_net, trainable
from pipeline.errors import UserError

ZeroStage = Literal[0, 1, 2]
_LARGEST_BUCKET = 50_000_000  # elements reduced at once: 200 MB of float32


@contextmanager
def _equal_already(deepspeed: ModuleType) -> Iterator[None]:
    """Skips sending the weights, which are equal on all ranks already. DeepSpeed 0.19.8 would send them as
    bytes, and cannot view those of a parameter without dimensions."""
    engine = deepspeed.DeepSpeedEngine
    send, engine._broadcast_model = engine._broadcast_model, lambda self: None
    try:
        yield
    finally:
        engine._broadcast_model = send


@contextmanager
def _local_rank_is(index: int | None) -> Iterator[None]:
    """Sets LOCAL_RANK, which DeepSpeed takes for the number of the GPU; that is another where a process sees
    only its own GPU. None: on a CPU, where it does not matter."""
    before = os.environ["LOCAL_RANK"]
    os.environ["LOCAL_RANK"] = before if index is None else str(index)
    try:
        yield
    finally:
        os.environ["LOCAL_RANK"] = before


class _Player:
    """One network under a DeepSpeed engine."""

    def __init__(self, module: nn.Module, rule: Rule, stage: ZeroStage, process: Process) -> None:
        self._rule, self._stage, self._process = rule, stage, process
        self._names, self._parameters = trainable(module)
        self.optimizer = new_optimizer(self._parameters, rule)
        self.optimizer.register_step_pre_hook(self._judge)
        self._report: StepReport | None = None
        if stage == 2:
            for parameter in self._parameters:  # before DeepSpeed's own hooks, which run in this order
                parameter.register_post_accumulate_grad_hook(_zero_if_missing)  # type: ignore[no-untyped-call]
        size = sum(parameter.numel() for parameter in self._parameters)
        deepspeed = _deepspeed(process)
        with _equal_already(deepspeed), _local_rank_is(process.device.index):
            self._engine = deepspeed.initialize(
                model=module,
                optimizer=self.optimizer,
                config=settings(stage, size),
                dist_init_required=False,  # or it may start a group beside ours
            )[0]
        # Its hooks on the raw module time forwards that are not its own.
        self._engine.module_forward_pre_hook.remove()
        self._engine.module_forward_post_hook.remove()
        if stage:
            # The weights are float32 themselves: this rank's part of them is the master, not a copy of
            # it, so that whatever changes the weights (a checkpoint, clipping) changes the master.
            parts = self._engine.optimizer.parallel_partitioned_bit16_groups[0]
            self._part.data = parts[process.rank]

    @property
    def _part(self) -> Tensor:
        """This rank's part of the flat weights, which the optimizer updates (stage 1 and 2)."""
        part: Tensor = self.optimizer.param_groups[0]["params"][0]
        return part

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def step(self, rate: float, beta2: float | None) -> StepReport:
        set_rate(self.optimizer, self._rule, rate, beta2)
        self._report = None
        self._engine.step()
        if self._report is None:  # newer versions look at the norm of all ranks too, and skip by themselves
            device = self._process.device
            return StepReport(
                torch.zeros((), dtype=torch.bool, device=device), torch.full((), math.inf, device=device)
            )
        return self._report

    def _judge(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Just before the update, when gradients are averaged: their norm, and whether to skip it.

        DeepSpeed looks for infinities in low precision alone; the fused kernel leaves weights, moments
        and step count alone where found_inf is 1, without a wait for the device.
        """
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms = [torch.linalg.vector_norm(grad, dtype=torch.float64) for grad in grads]
        squared = torch.stack(norms).square().sum()
        if self._stage and self._process.world_size > 1:
            dist.all_reduce(squared)  # each rank has seen its own part
        norm = squared.sqrt().float()
        finite = norm < math.inf
        skip_unless(finite, optimizer)
        clip(grads, norm, self._rule)
        self._report = StepReport(finite, norm)

    def reset(self) -> None:
        self.optimizer.state.clear()

    def state(self, keep: Keep) -> dict[str, Tensor]:
        """Slots by parameter name, whole; none before the first update."""
        if not self._stage:
            return {
                f"{name}.{slot}": value
                for name, parameter in zip(self._names, self._parameters, strict=True)
                if keep(name)
                for slot, value in self.optimizer.state.get(parameter, {}).items()
            }
        gathered = {}
        for slot, value in self.optimizer.state.get(self._part, {}).items():
            whole = self._each(value, keep) if slot == "step" else self._gathered(value, keep)
            gathered.update({f"{name}.{slot}": own for name, own in whole.items()})
        return gathered

    def _each(self, number: Tensor, keep: Keep) -> dict[str, Tensor]:
        return {name: number.clone() for name in self._names if keep(name)}

    def _gathered(self, part: Tensor, keep: Keep) -> dict[str, Tensor]:
        # An exchange: every rank comes here for every slot, also one that keeps none of its names.
        whole = part.new_empty(part.numel() * self._process.world_size)
        dist.all_gather_into_tensor(whole, part)
        sizes = [parameter.numel() for parameter in self._parameters]
        pieces = torch.split(whole[: sum(sizes)], sizes)
        # Copies: a view of one piece would hold all of them in memory.
        return {
            name: piece.to("cpu", copy=True).view(parameter.shape)
            for name, piece, parameter in zip(self._names, pieces, self._parameters, strict=True)
            if keep(name)
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The reverse of `state`; KeyError if some parameters have slots and others none."""
        self.reset()
        by_name = by_parameter(state, self._names, self._rule)
        if not by_name:
            return
        if len(by_name) < len(self._names):
            raise KeyError(f"optimizer state of {min(set(self._names) - by_name.keys())}: missing")
        if not self._stage:
            for name, parameter in zip(self._names, self._parameters, strict=True):
                self.optimizer.state[parameter] = {
                    slot: value.to(parameter.device, copy=True) for slot, value in by_name[name].items()
                }
            return
        self.optimizer.state[self._part] = {
            slot: self._common(by_name) if slot == "step" else self._own(by_name, slot)
            for slot in self._rule.slots
        }

    def _common(self, state: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """The step count of all parameters."""
        steps = {float(slots["step"]) for slots in state.values()}
        if len(steps) > 1:
            raise KeyError(f"parameters of one network have different step counts: {sorted(steps)}")
        return torch.tensor(steps.pop(), device=self._part.device)

    def _own(self, state: Mapping[str, Mapping[str, Tensor]], slot: str) -> Tensor:
        """This rank's part of a slot of all parameters, zeros where the flat weights are padded."""
        flat = torch.cat([state[name][slot].reshape(-1).cpu() for name in self._names])
        size = self._part.numel()
        own = torch.zeros(size)
        given = flat[self._process.rank * size : (self._process.rank + 1) * size]
        own[: given.numel()] = given
        return own.to(self._part.device)


def _zero_if_missing(parameter: Tensor) -> None:
    # A penalty's backward may reach a parameter without a gradient for it; stage 2 reduces it all the same.
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)


class Zero(AveragesOverRanks):
    """The `zero` engine (see `contracts.Engine`).

    stage: 0 splits nothing, 1 the moments, 2 the moments and the reduced gradients. Raises UserError without
    DeepSpeed.
    """

    backward_is_local = False

    def __init__(self, process: Process, stage: ZeroStage) -> None:
        super().__init__(process)
        self._stage = stage
        self._players: dict[Net, _Player] = {}
        _deepspeed(process)

    def attach(self, networks: Networks, optimizers: Mapping[Net, Rule]) -> None:
        for net, module in networks.items():
            if trainable(module)[0]:
                self._players[net] = _Player(module, optimizers[net], self._stage, self.process)

    def backward(self, net: Net, loss: Tensor, *, last: bool = False) -> None:
        del last  # DeepSpeed exchanges at moments of its own
        self.collectives += 1  # stage 2 reduces in it
        self._players[net].backward(loss)

    def step(self, net: Net, rate: float, beta2: float | None = None) -> StepReport:
        self.collectives += 1
        return self._players[net].step(rate, beta2)

    def reset(self, net: Net) -> None:
        if net in self._players:
            self._players[net].reset()

    def optimizer_state(self, keep: Keep = lambda name: True) -> dict[str, Tensor]:
        self.collectives += 1
        return {
            f"{net}.{name}": value
            for net, player in self._players.items()
            for name, value in player.state(of_net(net, keep)).items()
        }

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        of_players = by_player(state, self._players)
        for net, player in self._players.items():
            player.load(of_players[net])


def missing_deepspeed(why: str) -> UserError:
    """Returns the message for users who ask for this engine without DeepSpeed."""
    return UserError(
        f"engine.kind=zero: DeepSpeed cannot be imported ({why}); "
        "allowed: install the extra (pip install 'hrgan[deepspeed]'), or engine.kind=replicated"
    )


def settings(stage: ZeroStage, parameters: int) -> dict[str, Any]:
    """Returns DeepSpeed's settings for a network of that many parameters. Nothing is left to its defaults
    (clipping, for one, would be 1.0 under some launchers)."""
    bucket = min(parameters + parameters % 2, _LARGEST_BUCKET)  # even, as NCCL's alignment asks
    return {
        # The loop averages over micro-batches itself, and says itself when a step is due.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": 0.0,
        "prescale_gradients": False,
        "gradient_predivide_factor": 1.0,
        "communication_data_type": "fp32",
        # Blocks in bfloat16 cast their own weights: parameters, gradients and moments stay float32.
        "fp16": {"enabled": False},
        "bf16": {"enabled": False},
        "torch_autocast": {"enabled": False},
        "zero_allow_untested_optimizer": True,  # its list knows torch's Adam alone; tested here
        "zero_force_ds_cpu_optimizer": False,
        "wall_clock_breakdown": False,
        "memory_breakdown": False,
        "dump_state": False,
        "steps_per_print": 2**62,
        "zero_optimization": {
            "stage": stage,
            "contiguous_gradients": True,
            "overlap_comm": False,
            "reduce_scatter": True,
            "reduce_bucket_size": bucket,
            "use_multi_rank_bucket_allreduce": True,
            "allgather_partitions": True,
            "allgather_bucket_size": bucket,
            "round_robin_gradients": False,
            "ignore_unused_parameters": True,
            "load_from_fp32_weights": True,
            "elastic_checkpoint": False,
        },
    }


def _deepspeed(process: Process) -> ModuleType:
    """DeepSpeed, imported for this process's device and joined to its process group."""
    on_cpu = process.device.type == "cpu"
    os.environ.setdefault("LOCAL_RANK", str(process.local_rank))  # it reads this of a single process too
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # before the import, which chooses for good
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    try:
        deepspeed = importlib.import_module("deepspeed")
    except ImportError as error:
        raise missing_deepspeed(str(error)) from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)  # again: the import sets a level of its own
    if not hasattr(deepspeed.DeepSpeedEngine, "managed_gradient_accumulation"):
        raise UserError(
            f"engine.kind=zero: DeepSpeed {deepspeed.__version__} reduces gradients at its own moments; "
            "allowed: 0.19.6 or newer, or engine.kind=replicated"
        )
    if on_cpu:
        # It would compile an all-reduce through shared memory that training never calls.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not dist.is_initialized():
        assert process.world_size == 1
        backend = "gloo" if on_cpu else "nccl"
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    if not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(dist.get_backend(), auto_mpi_discovery=False, verbose=False)
    return deepspeed
