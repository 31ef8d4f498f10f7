"""Makes phases from the losses and penalties that a config names, in the same way for every family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from torch import Tensor, nn

from pipeline.config.families import FewImages, Objectives, Optimisation
from pipeline.contracts import AdamRule, Fakes, Net, Objective, Phase
from pipeline.errors import UserError
from pipeline.losses import (
    ADVERSARIAL,
    Classified,
    DiscriminatorTurn,
    Drift,
    Exact,
    Extra,
    FiniteDifferences,
    GeneratorTurn,
    GradientPenalty,
    LeCam,
    Orthogonal,
    Slopes,
    WithPseudoReals,
    ZeroCentred,
    clip_weights,
)
from pipeline.models.augment import Controller, Diffusion

Penalty = tuple[str, int, ZeroCentred | GradientPenalty]


class LossMemory(nn.Module):
    """What losses remember across steps.

    heads: the number of heads of the discriminator (`Verdict.heads`). lecam: the LeCam term with its running
    means, or None. apa: the controller of the probability of pseudo reals, or None. diffusion: the noise that
    the discriminator sees images through, or None.
    """

    def __init__(self, config: Objectives, heads: int = 1) -> None:
        super().__init__()
        self.lecam = None
        if config.lecam_weight > 0:
            self.lecam = LeCam(
                config.lecam_weight,
                config.lecam_decay,
                relu=config.lecam_relu,
                heads=heads,
                start=config.lecam_from_images,
                debiased=config.lecam_debiased,
            )
        self.apa = None
        if isinstance(config, FewImages) and config.apa.mode != "off":
            self.apa = Controller(config.apa)
        self.diffusion = None
        if isinstance(config, FewImages) and config.diffusion.mode != "off":
            self.diffusion = Diffusion(config.diffusion)

    def observe(self, stats: Mapping[str, Tensor], images: int) -> None:
        """Takes in the stats of one step of `images` images."""
        if self.lecam is not None:
            self.lecam.observe(stats, images)
        if "signs/real" in stats:
            for part in (self.apa, self.diffusion and self.diffusion.controller):
                if part is not None:
                    part.observe(stats["signs/real"], images)

    def figures(self) -> dict[str, Tensor]:
        """Returns what is shown of them (`Family.figures`)."""
        found: dict[str, Tensor] = {} if self.apa is None else {"state/apa_p": self.apa.p}
        return found if self.diffusion is None else {**found, "state/diffusion_steps": self.diffusion.steps}

    def mixed(self, objective: Objective) -> Objective:
        """Returns the objective with pseudo reals among its reals, if the config asks for them."""
        return objective if self.apa is None else WithPseudoReals(objective, self.apa)


def generator_phase(
    config: Objectives,
    *,
    classes: int = 0,
    orthogonal: Callable[[nn.Module], Iterable[Tensor]] | None = None,
    discriminator_first: bool = False,
    extras: Iterable[Extra] = (),
) -> Phase:
    """Returns the phase of the generator's turn.

    classes: the number of classes of the data, 0 if unlabelled. orthogonal: returns the weights that
    `orthogonal_weight` keeps orthogonal; None for a family without such a term. discriminator_first: whether
    the discriminator's turn comes first. If so, a loss that compares with reals uses other reals than those
    which the discriminator has just been fitted to, as the public code of Huang et al. 2024 does. extras: a
    family's own terms.
    """
    extras = list(extras)
    if has_classifier(config, classes):
        extras.append(Classified(config.classifier_weight))
    if config.orthogonal_weight:
        if orthogonal is None:
            raise UserError(
                f"family.orthogonal_weight={config.orthogonal_weight}: this family has no such term; "
                "allowed: 0"
            )
        extras.append(Orthogonal(config.orthogonal_weight, orthogonal))
    loss = ADVERSARIAL[config.loss]
    own_reals = loss.pairs and discriminator_first
    return Phase("generator", "generator", GeneratorTurn(loss, extras), own_reals=int(own_reals))


def discriminator_phases(
    config: Objectives,
    memory: LossMemory,
    *,
    classes: int = 0,
    observed: Callable[[Fakes], dict[str, Tensor]] = lambda fakes: {},
    extras: Iterable[Extra] = (),
    make_turn: Callable[..., DiscriminatorTurn] = DiscriminatorTurn,
) -> list[Phase]:
    """Returns the phase of the discriminator's turn, then one for each penalty that comes less often.

    classes: the number of classes of the data, 0 if unlabelled. observed: see `DiscriminatorTurn`. extras: a
    family's own terms. make_turn: makes the main turn of loss and terms.
    """
    now = [penalty for _, every, penalty in _penalties(config) if every == 1]
    turn = make_turn(
        ADVERSARIAL[config.loss],
        [*_extras(config, memory, classes), *extras, *(penalty.extra for penalty in now)],
        by=[penalty.on for penalty in now if isinstance(penalty, ZeroCentred)],
        slopes=slopes_of(config),
        observed=observed,
    )
    settle = None if config.weight_clip is None else clip_weights(config.weight_clip)
    repeats = config.discriminator_repeats
    main, exact = memory.mixed(turn), any(penalty.exact for penalty in now)
    phases = [Phase("discriminator", "discriminator", main, repeats=repeats, settle=settle, exact=exact)]
    for name, every, penalty in _penalties(config):
        if every > 1:
            of_fakes = isinstance(penalty, ZeroCentred) and penalty.on == "fakes"
            objective = penalty if of_fakes else memory.mixed(penalty)
            lazy = Phase(name, "discriminator", objective, every=every, gain=every, settle=settle)
            phases.append(replace(lazy, exact=penalty.exact))
    return phases


def slopes_of(config: Objectives) -> Slopes:
    """Returns how the slopes that R1 and R2 penalise are found."""
    if config.penalty_method == "exact":
        return Exact()
    return FiniteDifferences(config.penalty_step, config.penalty_directions)


def adam_rules(
    config: Objectives, optimisation: Optimisation, lazy: Mapping[Net, Iterable[int]] | None = None
) -> dict[Net, AdamRule]:
    """Returns Adam's constants, with betas to the power of c (`lazy_factors`), since lazy phases mean more
    updates per step."""
    factors = lazy_factors(config, lazy)
    return {
        net: AdamRule(optimisation.adam_beta1**factor, optimisation.adam_beta2**factor, optimisation.adam_eps)
        for net, factor in factors.items()
    }


def lazy_factors(config: Objectives, lazy: Mapping[Net, Iterable[int]] | None = None) -> dict[Net, float]:
    """Returns c of each network, the updates of its main phase divided by all its updates: k / (k + 1) for
    one lazy phase every k steps (Karras et al. 2020a, appendix B, "lazy regularization").

    lazy: the intervals of a family's own lazy phases, in steps.
    """
    own = [every for _, every, _ in _penalties(config) if every > 1]
    more = lazy or {}
    return {
        "generator": _lazy_factor(1, more.get("generator", ())),
        "discriminator": _lazy_factor(config.discriminator_repeats, [*own, *more.get("discriminator", ())]),
    }


def _lazy_factor(repeats: int, intervals: Iterable[int]) -> float:
    return repeats / (repeats + sum(1 / every for every in intervals))


def has_classifier(config: Objectives, classes: int) -> bool:
    """Returns whether the discriminator has an auxiliary classifier, whose logits are `Verdict.classes`."""
    return config.conditioning == "classifier" and classes > 0


def _extras(config: Objectives, memory: LossMemory, classes: int) -> list[Extra]:
    extras: list[Extra] = []
    if config.drift_weight:
        extras.append(Drift(config.drift_weight))
    if memory.lecam is not None:
        extras.append(memory.lecam)
    if has_classifier(config, classes):
        extras.append(Classified(config.classifier_weight))
    return extras


def _penalties(config: Objectives) -> list[Penalty]:
    penalties: list[Penalty] = []
    slopes = slopes_of(config)
    if config.r1_gamma:
        penalties.append(("r1", config.r1_every, ZeroCentred(config.r1_gamma, "reals", slopes)))
    if config.r2_gamma:
        penalties.append(("r2", config.r2_every, ZeroCentred(config.r2_gamma, "fakes", slopes)))
    if config.gp_weight:
        gp = GradientPenalty(config.gp_weight, config.gp_target)
        penalties.append(("gradient_penalty", config.gp_every, gp))
    return penalties
