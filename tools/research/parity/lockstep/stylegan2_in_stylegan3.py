"""Lockstep with the StyleGAN2 of stylegan3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tools.research.parity.lockstep import stylegan2_ada
from tools.research.parity.lockstep.nvidia import Course, train_alone
from tools.research.parity.lockstep.ours import After, LoopSetting, Step
from tools.research.parity.stylegan3_code import importing

PEER = "stylegan2-in-stylegan3"
LAWS = (
    *(law for law in stylegan2_ada.LAWS if not law.startswith("w_avg")),
    "what a turn sends no gradient to (biases of images and logits, in path length and R1): theirs leaves "
    "Adam's moments alone; ours, as stylegan2-ada-pytorch, takes it for zero, which moves them",
    "w_avg decays by 0.998 there, and is set to ours",
)
setting = stylegan2_ada.setting
CONFIG, STEP_BATCHES = stylegan2_ada.CONFIG, stylegan2_ada.STEP_BATCHES
FOLLOWED, EQUAL = stylegan2_ada.FOLLOWED - {"w_avg_decay"}, stylegan2_ada.EQUAL
samples = stylegan2_ada.samples


class Laws(stylegan2_ada.Laws):
    """Those of stylegan3's loop."""

    tracks_every_pass = False

    def after_turn(self, loss: Any, phase: str) -> None:
        """Zero where nothing came."""
        for parameter in (loss.G if phase.startswith("G") else loss.D).parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def run(checkout: Path, setting: LoopSetting, *, aligned: bool, step: Step, after: After) -> None:
    """Their loop; `step` makes ours go on by one step, and is called before each of theirs."""
    with importing(checkout):
        stylegan2_ada.run_loop(setting, Laws(aligned), step, after, networks="training.networks_stylegan2")


def alone(checkout: Path, setting: LoopSetting, course: Course) -> None:
    """Their loop as it stands, by its own laws and numbers."""
    with importing(checkout):
        train_alone(stylegan2_ada.options_of(setting, "training.networks_stylegan2"), course)
