"""Lockstep with stylegan2-ada-pytorch and with the StyleGAN2 of stylegan3."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.families import StyleGAN2Config
from pipeline.config.families.shared import AdaConfig
from pipeline.models.stylegan2.foreign import ada_name
from tools.research.modules import isolated
from tools.research.parity.lockstep.nvidia import MULTIPLIERS, Course, Reals, drive, train_alone
from tools.research.parity.lockstep.ours import MOMENTS, After, LoopSetting, State, Step, TurnInputs
from tools.research.parity.lockstep.stylegan2 import Drawn, noise_shapes
from tools.research.parity.lockstep.supply import Supply
from tools.research.parity.stylegan2 import RULES, Rename, as_theirs, fill

PEER = "stylegan2-ada-pytorch"
LAWS = (
    "the path-length mean: ours is of the batches before, theirs of this one too, which also sends a "
    "hundredth of the penalty's gradient through it",
    "w_avg: ours moves once a step, in the discriminator's turn; theirs in every pass of the generator but "
    "the mixing one (Gmain, Gpl, Dmain)",
    "ADA's r_t: ours is of the discriminator's turn; theirs of R1's too, where there is one",
    "blit and geometry: ours flips and turns pixels exactly, and takes the wavelet about its centre of mass; "
    "theirs passes everything through the filters, taken about their middle (images differ by hundredths)",
)
"""Aligned, theirs follows our law in the first three, and the augmentation is of the groups that agree."""

CONFIG, STEP_BATCHES = StyleGAN2Config, 1
FOLLOWED = frozenset({
    *("name", "z_dim", "w_dim", "mapping_layers", "channel_base", "channel_max", "low_precision_levels"),
    *("clamp", "ada", "minibatch_stddev_group", "r1_gamma", "r1_every", "style_mixing", "w_avg_decay"),
    *("path_length_weight", "path_length_decay", "path_length_shrink", "path_length_every"),
    *("generator_rate", "discriminator_rate", "adam_beta1", "adam_beta2", "adam_eps"),
    *("ema_half_life_images", "ema_ramp"),
})  # fmt: skip
"""Keys of our configuration that their loop is told; of all others it has our defaults."""
EQUAL: tuple[tuple[str, str], ...] = ()
"""Keys for which their loop has one value."""

ORDER = ("generator", "path_length", "discriminator", "r1")
AGREE, ALL = ("color", "noise", "cutout"), ("blit", "geometry", "color")


def setting(*, small: bool, aligned: bool) -> LoopSetting:
    """16px with 5 classes, and rare turns less rare, or 64px with up to 256 channels."""
    family: dict[str, Any] = {
        "name": StyleGAN2Config().name,
        "clamp": None,
        "r1_gamma": 1.0,
        "ema_half_life_images": 100,
        "ema_ramp": 0.5,
        "ada": {"mode": "adaptive", "p": 0.3, "adjust_images": 400, "kinds": AGREE if aligned else ALL},
    }
    if small:
        family |= {"z_dim": 24, "w_dim": 16, "mapping_layers": 2, "channel_base": 128, "channel_max": 16}
        family |= {"path_length_every": 2, "r1_every": 4, "ada": {**family["ada"], "every": 2}}
        return LoopSetting(family, {"height": 16, "width": 16, "channels": 3, "classes": 5}, 4, RULES, ORDER)
    if aligned:
        family["ada"] |= {"kinds": ("color", "filter", *AGREE[1:])}  # the filter's reach is 21 pixels
    family |= {"channel_base": 4096, "channel_max": 256}
    return LoopSetting(family, {"height": 64, "width": 64, "channels": 3, "classes": 0}, 8, RULES, ORDER)


def run(checkout: Path, setting: LoopSetting, *, aligned: bool, step: Step, after: After) -> None:
    """Their loop; `step` makes ours go on by one step, and is called before each of theirs."""
    with isolated(checkout, stand_ins=("requests",)):
        run_loop(setting, Laws(aligned), step, after, networks="training.networks")


def alone(checkout: Path, setting: LoopSetting, course: Course) -> None:
    """Their loop as it stands, by its own laws and numbers."""
    with isolated(checkout, stand_ins=("requests",)):
        train_alone(options_of(setting, "training.networks"), course)


def samples(generator: Any, z: Tensor, classes: Tensor) -> Tensor:
    """Images of a generator of theirs. classes: one-hot, [N, 0] without any."""
    images: Tensor = generator(z, classes, noise_mode="const")
    return images


class Laws:
    """Theirs, or made to follow ours: hooks into their loss object, whose code stays as it is."""

    tracks_every_pass = True  # w_avg moves in every pass of G

    def __init__(self, aligned: bool) -> None:
        self._aligned, self._phase = aligned, ""

    def apply(self, loss: Any) -> None:
        """Called once, with their loss."""
        if not self._aligned:
            return
        loss.pl_mean = _MeanBefore(loss.pl_mean)
        accumulate = loss.accumulate_gradients

        def accumulating(*, phase: str, **rest: Any) -> None:
            self._phase = phase
            accumulate(phase=phase, **rest)
            self.after_turn(loss, phase)

        loss.accumulate_gradients = accumulating
        stats: Any = importlib.import_module("torch_utils.training_stats")
        report = stats.report
        stats.report = lambda name, value: None if self._is_r1s_sign(name) else report(name, value)
        if self.tracks_every_pass:
            forward = loss.G_mapping.forward
            loss.G_mapping.forward = lambda z, c, skip_w_avg_update=False: forward(
                z, c, skip_w_avg_update=skip_w_avg_update or self._phase != "Dmain"
            )

    def after_turn(self, loss: Any, phase: str) -> None:
        """Called after each of their turns, before its update."""

    def _is_r1s_sign(self, name: str) -> bool:
        return name == "Loss/signs/real" and self._phase == "Dreg"


class _MeanBefore:
    """Stands in for their running mean: it moves as theirs, and shows what it was before this batch."""

    def __init__(self, value: Tensor) -> None:
        self.value = self._next = value

    def lerp(self, lengths: Tensor, weight: float) -> Tensor:
        self._next = self.value.lerp(lengths.detach(), weight)
        return self.value

    def copy_(self, _: Tensor) -> None:
        self.value = self._next


def run_loop(setting: LoopSetting, laws: Laws, step: Step, after: After, *, networks: str) -> None:
    """networks: the module of their networks, imported from the checkout."""
    supply = Supply()

    def batches() -> list[TurnInputs]:
        turns = step()
        _feed(supply, turns, setting)
        return turns[:1]  # all turns of a step see one batch

    def made(kind: str, constructed: Any) -> None:
        if isinstance(constructed, nn.Module) and kind.startswith(networks):
            fill(constructed, ada_name)
        if kind == _LOSS:
            laws.apply(constructed)

    def ended(variables: Mapping[str, Any]) -> bool:
        supply.finish()
        return after(_state(variables))

    drive(
        options_of(setting, networks),
        reals=Reals(setting.spec, batches),
        supply=supply,
        made=made,
        after=ended,
    )


_LOSS = "training.loss.StyleGAN2Loss"


def _feed(supply: Supply, turns: Iterable[TurnInputs], setting: LoopSetting) -> None:
    """They draw z of all phases first, due or not."""
    drawn = {turn.name: Drawn(turn) for turn in turns}
    z_dim, kinds = setting.config.z_dim, setting.config.ada.kinds
    latents = []
    for name in ORDER:
        z = drawn[name].next("normal") if name in drawn and name != "r1" else torch.zeros(0, z_dim)
        latents += [z, torch.zeros(setting.batch - len(z), z_dim)]
    supply.put("normal", torch.cat(latents))
    passes = {"generator": 1, "path_length": 0, "discriminator": 2, "r1": 1}
    for name, turn in drawn.items():
        if name != "r1":
            _feed_fakes(supply, turn, setting)
        if name == "path_length":
            supply.put("normal", turn.next("normal"))
        for _ in range(passes[name]):
            turn.augmented(supply, kinds)


def _feed_fakes(supply: Supply, turn: Drawn, setting: LoopSetting) -> None:
    second, cutoff, mixes = (turn.next(kind) for kind in ("normal", "integers", "uniform"))
    supply.put("integers", cutoff[0] + 1)
    supply.put("uniform", mixes[0])
    supply.put("normal", second)
    for noise in turn.noise(noise_shapes(setting.spec["height"])):
        supply.put("normal", noise)


def options_of(setting: LoopSetting, networks: str) -> dict[str, Any]:
    """Their loop's settings. networks: the module of their networks."""
    config = setting.config
    widths = {"channel_base": config.channel_base, "channel_max": config.channel_max}
    shared = {**widths, "num_fp16_res": 0, "conv_clamp": config.clamp}
    layers = {"num_layers": config.mapping_layers}
    nested = networks == "training.networks"
    adam = {"class_name": "torch.optim.Adam", "betas": [config.adam_beta1, config.adam_beta2]}
    return {
        "G_kwargs": {
            "class_name": f"{networks}.Generator",
            "z_dim": config.z_dim,
            "w_dim": config.w_dim,
            "mapping_kwargs": {**layers, "w_avg_beta": config.w_avg_decay},
            **({"synthesis_kwargs": shared} if nested else shared),
        },
        "D_kwargs": {
            "class_name": f"{networks}.Discriminator",
            "mapping_kwargs": layers,
            "epilogue_kwargs": {"mbstd_group_size": config.minibatch_stddev_group},
            **shared,
        },
        "G_opt_kwargs": {**adam, "lr": config.generator_rate, "eps": config.adam_eps},
        "D_opt_kwargs": {**adam, "lr": config.discriminator_rate, "eps": config.adam_eps},
        "loss_kwargs": {
            "class_name": _LOSS,
            "style_mixing_prob": config.style_mixing,
            "r1_gamma": config.r1_gamma,
            "pl_batch_shrink": config.path_length_shrink,
            "pl_decay": config.path_length_decay,
            "pl_weight": config.path_length_weight,
        },
        **augmenting(config.ada),
        "G_reg_interval": config.path_length_every,
        "D_reg_interval": config.r1_every,
        "ema_kimg": config.ema_half_life_images / 1000,
        "ema_rampup": config.ema_ramp,
        "batch_size": setting.batch,
        "batch_gpu": setting.batch,
    }


def augmenting(ada: AdaConfig) -> dict[str, Any]:
    """What of their loop's settings is of the augmentation."""
    multipliers = {name: 1 for kind in ada.kinds for name in MULTIPLIERS[kind]}
    augment = {"class_name": "training.augment.AugmentPipe", **multipliers}
    return {
        "augment_kwargs": None if ada.mode == "off" else augment,
        "augment_p": 0 if ada.mode == "off" else ada.p,
        "ada_target": ada.target if ada.mode == "adaptive" else None,
        "ada_interval": ada.every,
        "ada_kimg": ada.adjust_images / 1000,
    }


def _state(variables: Mapping[str, Any]) -> State:
    generator, discriminator = variables["G"], variables["D"]
    optimizers = {phase["name"]: phase["opt"] for phase in variables["phases"]}
    mean = variables["loss"].pl_mean
    return {
        "generator": as_ours(generator.named_parameters()),
        "discriminator": as_ours(discriminator.named_parameters()),
        "average": as_ours(variables["G_ema"].named_parameters()),
        **moments("generator", generator, optimizers["Gmain"]),
        **moments("discriminator", discriminator, optimizers["Dmain"]),
        "ada p": {"": variables["augment_pipe"].p},
        "path-length mean": {"": mean.value if isinstance(mean, _MeanBefore) else mean},
        "w_avg": {"": generator.mapping.w_avg},
    }


def moments(net: str, network: nn.Module, optimizer: Any, rename: Rename = ada_name) -> State:
    """Adam's two, by our names."""
    return {
        f"{net}, {moment}": as_ours(
            (
                (name, optimizer.state[parameter][moment])
                for name, parameter in network.named_parameters()
                if parameter in optimizer.state
            ),
            rename,
        )
        for moment in MOMENTS
    }


def as_ours(named: Iterable[tuple[str, Tensor]], rename: Rename = ada_name) -> dict[str, Tensor]:
    """Their parameters, gradients or moments by our names."""
    return dict(_renamed(named, rename))


def _renamed(named: Iterable[tuple[str, Tensor]], rename: Rename) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in named:
        own = str(rename(name))
        yield own, as_theirs(own, tensor.detach(), tensor.shape)
