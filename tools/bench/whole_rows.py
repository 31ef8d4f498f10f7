"""Timing of whole pieces: the phases of a training step, the forward pass of a generator, the optimizers."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import ops
from launch.assembly.trainer import assemble
from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import Batch, ImageSpec, Process
from pipeline.models.registry import build_family
from pipeline.randomness import SampleRandomness
from pipeline.training.trainer import only_trainable
from tools.bench.op_races import BenchSettings, fastest, figures
from tools.bench.timing import Contestant, Race, clock_of, race
from tools.research.peers import PHASES, Peer

BATCH = 8
TRAINED = StyleGAN2Config(channel_base=8192, channel_max=256)  # the rest as published: 8 layers, mixing 0.9
CONFIG_F = StyleGAN2Config()
EVERY = {"Gmain": 1, "Greg": TRAINED.path_length_every, "Dmain": 1, "Dreg": TRAINED.r1_every}


def training_rows(setting: BenchSettings, resolution: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each phase with its update, and one for the step with lazy phases spread out."""
    torch.manual_seed(0)
    images = torch.rand(BATCH, 3, resolution, resolution) * 2 - 1
    mine = our_phases(images)
    capable: list[Peer | None] = [p for p in setting.peers if p.trains and p.family is StyleGAN2Config]
    for peer in capable or [None]:
        theirs = peer.training(TRAINED, images) if peer is not None else {}
        races, floors = {}, {}
        for phase, run in mine.items():
            contestants = {"ours": setting.ours(run), "reference": setting.reference(run)}
            if phase in theirs:
                contestants["peer"] = setting.peer(theirs[phase])
            floors[phase] = flops_ms(setting, run)
            races[phase] = race(contestants, rounds, clock_of("cpu"), setting.seconds())
            yield _training_row(phase, resolution, figures(races[phase], floors[phase]), peer)
            gc.collect()
        total = sum(floors[phase] / EVERY[phase] for phase in races)
        row = _training_row("step", resolution, {**figures(_spread_out(races), total)}, peer)
        yield {**row, "seconds_per_1000_images": row["ms"] / BATCH}


def _training_row(
    phase: str, resolution: int, comparison: dict[str, Any], peer: Peer | None
) -> dict[str, Any]:
    return {
        "op": f"training {phase}", "size": f"{resolution}px batch {BATCH}", "mode": "fwd+bwd", **comparison,
        "peer": peer.name if peer else None, "dtype": "float32", "layout": "own",
    }  # fmt: skip


def _spread_out(races: dict[str, Race]) -> Race:
    """Returns the seconds of a step, round by round: the sum of all phases, with lazy ones divided by their
    intervals."""

    def summed(parts: Callable[[Race], Mapping[str, list[float]]]) -> dict[str, list[float]]:
        shares = {phase: parts(result) for phase, result in races.items()}
        return {
            name: [
                sum(turn)
                for turn in zip(
                    *([s / EVERY[p] for s in part[name]] for p, part in shares.items()), strict=False
                )
            ]
            for name in next(iter(shares.values()))
        }

    others = max(result.others for result in races.values())
    return Race(summed(lambda result: result.seconds), others, summed(lambda result: result.cores))


def our_phases(images: Tensor) -> dict[str, Callable[[], object]]:
    """Returns our family's phases on `images`, each with its update by the engine."""
    spec = ImageSpec(images.shape[2], images.shape[3], 3)
    family = build_family(TRAINED, spec, batch_size=len(images))
    trainer = assemble(family)
    networks, engine = trainer.networks, trainer.engine
    stage, reals, count = family.schedule.at(0), Batch(images), itertools.count()

    def runner(phase: Any) -> Callable[[], object]:
        def run() -> None:
            first = next(count) * len(images)
            randomness = SampleRandomness(range(first, first + len(images)))
            with only_trainable(networks, phase):
                game = family.game(networks, stage, randomness)
                terms = phase.objective(game, game.present(reals))
                engine.backward(phase.trains, terms.loss.mean() * phase.gain)
            engine.step(phase.trains, 0.0)  # one phase alone, again and again, would lead astray
            family.observe(networks, terms.stats, len(images))

        return run

    return {PHASES[phase.name]: runner(phase) for phase in family.phases}


def flops_ms(setting: BenchSettings, run: Callable[[], object], dtype: torch.dtype = torch.float32) -> float:
    """Returns the time that the products of one call take at the measured rate. Compiled operations hide
    theirs, so they are counted with plain ones."""
    ops.use("reference")
    with FlopCount() as counter:
        run()
    return setting.floor.ms(0, counter.total, dtype)


class FlopCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as torch's own counter does, which fails on gradients of images because it follows modules
    too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **kwargs, out_val=out)
        return out


def generator_rows(setting: BenchSettings, resolution: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Times latents to images per image, under inference mode with "config f" and constant noise; ours in
    float32 and with bfloat16 at the four highest resolutions."""
    fitting = [p for p in setting.peers if p.family is StyleGAN2Config]
    capable: list[Peer | None] = [p for p in fitting if hasattr(p, "generator")]
    for peer in capable or [None]:
        forms = peer.forms("generator", {"config": CONFIG_F, "resolution": resolution}) if peer else {}
        for low in (None, torch.bfloat16) if torch.bfloat16 in setting.floor.rates else (None,):
            spec = ImageSpec(resolution, resolution, 3)
            family = build_family(CONFIG_F, spec, batch_size=4, low_precision=low)
            network = family.networks().generator.eval().requires_grad_(False)
            for batch in (1, 4):
                yield _generator_row(setting, network, batch, rounds, peer, forms, low, resolution)
                gc.collect()


def _generator_row(
    setting: BenchSettings,
    network: torch.nn.Module,
    batch: int,
    rounds: int,
    peer: Peer | None,
    forms: dict[str, Callable[..., Tensor]],
    low: torch.dtype | None,
    resolution: int,
) -> dict[str, Any]:
    z = torch.randn(batch, CONFIG_F.z_dim)
    run = torch.inference_mode()(lambda: network(z))
    contestants = {"ours": setting.ours(run), "reference": setting.reference(run)}
    bound = {name: torch.inference_mode()(lambda form=form: form(z)) for name, form in forms.items()}
    form = fastest(bound, "cpu") if bound else ""
    if bound:
        contestants["peer"] = setting.peer(bound[form])
    # Under inference mode the counter would see operations that are not taken apart yet.
    floor = flops_ms(setting, torch.no_grad()(lambda: network(z)), low or torch.float32)
    result = race(contestants, rounds, clock_of("cpu"), setting.seconds())
    return {
        "op": "generator forward", "size": f"{resolution}px batch {batch}, an image", "mode": "fwd",
        **figures(result, floor / batch, 1 / batch), "peer": peer.name if peer else None, "peer_form": form,
        "dtype": "bfloat16" if low else "float32", "layout": "own",
    }  # fmt: skip


def update_rows(setting: BenchSettings, resolution: int) -> Iterator[dict[str, Any]]:
    """Times the moving average and Adam over all parameters of a generator, against the bytes that they must
    move.

    The reference of each is the plain loop over tensors.
    """
    spec = ImageSpec(resolution, resolution, 3)
    family = build_family(CONFIG_F, spec, batch_size=4)
    trainer = assemble(family, Process(device=torch.device(setting.device)))
    generator, engine = trainer.networks.generator, trainer.engine
    parameters = list(generator.parameters())
    total = 4 * sum(parameter.numel() for parameter in parameters)
    size = f"{total / 4e6:.1f}M parameters"
    averager = trainer.averager
    averages = list(averager.average.parameters())

    @torch.no_grad()
    def one_by_one() -> None:
        for average, source in zip(averages, parameters, strict=True):
            average.lerp_(source, 0.001)

    yield _update_row(setting, "moving average", size, 3 * total, lambda: averager.update(0.999), one_by_one)
    plain = [parameter.detach().clone().requires_grad_() for parameter in parameters]
    for parameter in plain:
        parameter.grad = torch.zeros_like(parameter)
    adam = torch.optim.Adam(plain, lr=0.002, betas=(0.0, 0.99), foreach=False)
    # Adam reads weight, gradient and two moments and writes three of them; the engine also takes the
    # gradient's norm and clears it.
    yield _update_row(
        setting,
        "Adam, norm and clearing",
        size,
        9 * total,
        lambda: engine.step("generator", 0.002),
        adam.step,
    )


def _update_row(
    setting: BenchSettings,
    op: str,
    size: str,
    moved: int,
    ours: Callable[[], object],
    plain: Callable[[], object],
) -> dict[str, Any]:
    contestants = {"ours": Contestant(ours), "reference": Contestant(plain)}
    result = race(contestants, setting.rounds, clock_of(setting.device), setting.seconds())
    return {
        "op": op, "size": size, "mode": "fwd", **figures(result, setting.floor.ms(moved, 0, torch.float32)),
        "peer": None, "dtype": "float32", "layout": "list",
    }  # fmt: skip
