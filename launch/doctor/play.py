"""Diagnoses of the game between the two networks."""

from __future__ import annotations

from launch.doctor.diagnosis import Diagnose, Diagnosis, at
from launch.doctor.run_readings import RunReadings, middle, since
from pipeline.config.families import Caution

_P, _PSEUDO = "state/ada_p", "state/apa_p"
_SIGNS = "signs/real"
_BOUND, _FEW_TICKS = 0.99, 3
_WON_LOSS, _LOST_LOSS = 0.02, 4.0
_SURE = 0.9  # mean sign of D on reals
_PASSES = 5.0  # over the data set, before which a discriminator cannot know it by heart
_NO_LOGIT = 0.02
_EARLY = 10_000  # images, before which networks may know nothing


def p_at_bound(run: RunReadings) -> Diagnosis | None:
    """ADA's probability at 1: it can do no more."""
    held = since(run.course(_P), lambda p: p >= _BOUND)
    if held is None or held[1] < _FEW_TICKS:
        return None
    signs = run.late(_SIGNS)
    target = getattr(getattr(run.config and run.config.family, "ada", None), "target", None)
    aims = f"; the mean sign of D on reals is {signs:.2f}" if signs is not None else ""
    aims += f", and family.ada.target asks for {target:g}" if signs is not None and target is not None else ""
    return Diagnosis(
        "ADA at its bound",
        True,
        f"{_P} has been at {run.course(_P)[-1][1]:.2f} since {at(held[0])}{aims}",
        "augmentation is as strong as it gets and the discriminator is still too sure: it knows the images "
        "by heart, or the target cannot be reached; augmentations begin to show in the samples",
        "more images; start.source= a generator of something similar; family.ada.target=0.6 if another is "
        "set; a stronger gradient penalty; more of family.ada.kinds",
    )


def pseudo_at_bound(run: RunReadings) -> Diagnosis | None:
    """APA's probability near 1: the discriminator is shown no reals any more."""
    held = since(run.course(_PSEUDO), lambda p: p >= _BOUND)
    if held is None or held[1] < _FEW_TICKS:
        return None
    return Diagnosis(
        "APA at its bound",
        True,
        f"{_PSEUDO} has been at {run.course(_PSEUDO)[-1][1]:.2f} since {at(held[0])}",
        "nearly all that the discriminator takes for reals are fakes, so that it learns nothing of the reals",
        "more images; start.source= a generator of something similar; a stronger gradient penalty; beside it "
        "augmentation (family.ada.mode=adaptive where the family has it, or family.diffaugment)",
    )


def known_to_fail(run: RunReadings) -> Diagnosis | None:
    """Settings that the family warns of."""
    cautions = run.config.family.cautions() if run.config is not None else ()
    if not cautions:
        return None
    seen, means, attempt = ("; ".join(part) for part in zip(*map(_parts, cautions), strict=True))
    return Diagnosis("settings known to fail", False, seen, means, attempt)


def _parts(caution: Caution) -> tuple[str, str, str]:
    return caution.setting, caution.known, caution.instead


def one_sided(run: RunReadings) -> Diagnosis | None:
    """A discriminator that is always right."""
    if getattr(run.config and run.config.family, "loss", None) == "wasserstein":
        return None  # its losses have no floor
    mine, others = run.late("loss/discriminator"), run.late("loss/generator")
    if mine is None or others is None or mine > _WON_LOSS or others < _LOST_LOSS:
        return None
    held = since(run.course("loss/discriminator"), lambda loss: loss <= 2 * _WON_LOSS)
    return Diagnosis(
        "the discriminator has won",
        True,
        f"loss/discriminator is {mine:.2g} and loss/generator {others:.3g}"
        + (f", since {at(held[0])}" if held else ""),
        "a discriminator that is never wrong gives gradients that teach nothing",
        "a lower family.discriminator_rate, a stronger gradient penalty, or augmentation if there are few "
        "images, in another run",
    )


def nobody_learns(run: RunReadings) -> Diagnosis | None:
    """Logits that never leave zero."""
    keys = ("logits/real", "logits/fake")
    values = [abs(value) for key in keys for _, value in run.course(key)]
    if run.seen < _EARLY or not values or max(values) > _NO_LOGIT:
        return None
    return Diagnosis(
        "nobody learns",
        True,
        f"the discriminator's logits have stayed within {max(values):.2g} of 0 up to {at(run.seen)}",
        "it tells nothing from nothing: rates are far too low, or the gradient penalty far too strong",
        "the family's default rates, or a tenth of the gradient penalty's weight, in another run",
    )


def by_heart(run: RunReadings) -> Diagnosis | None:
    """Few images, no augmentation, and a discriminator that is sure of them."""
    signs, passes = run.course(_SIGNS), run.passes
    few = getattr(run.config and run.config.family, "diffaugment", ())
    hidden = few or run.course(_P) or run.course(_PSEUDO) or run.late("stage/weight/augment_p")
    if hidden or passes is None or passes < _PASSES:
        return None
    held, late = since(signs, lambda sign: sign > _SURE), middle(signs[-_FEW_TICKS:])
    if held is None or held[1] < _FEW_TICKS or late is None:
        return None
    return Diagnosis(
        "learnt by heart",
        True,
        f"the mean sign of D on reals is {late:.2f}, above {_SURE} since {at(held[0])}; each of the "
        f"{run.images} images was seen {passes:.0f} times, without augmentation",
        "the discriminator knows the images one by one, so the generator is told nothing about the rest",
        "augmentation (family.ada.mode=adaptive where the family has it, family.diffaugment, family.apa), "
        "data.mirror=true where left and right mean nothing, more images",
    )


PLAY: tuple[Diagnose, ...] = (
    p_at_bound,
    pseudo_at_bound,
    one_sided,
    by_heart,
    nobody_learns,
    known_to_fail,
)
