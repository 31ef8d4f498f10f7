"""A sentence about a portrait, which says what can be seen in it."""

from __future__ import annotations

from pipeline.data.sources.faces.traits import Traits
from pipeline.randomness import derive_seed

LONGEST = 120
"""Bytes that a sentence takes at most."""

_SMILES = 0.45  # from here on teeth show
_SENTENCES = (
    "a {mood} person with {head}{more} and {skin} skin, in {clothes} clothes",
    "a portrait of someone {mood}, with {skin} skin and {head}{more}, who wears {clothes} clothes",
    "{head}{more}, {skin} skin, {clothes} clothes, {mood}",
    "in {clothes} clothes, a {mood} face of {skin} skin with {head}{more}",
)


def caption(traits: Traits) -> str:
    """A sentence about hair, glasses, beard, skin, smile and clothes, in one of a few wordings, which is
    drawn for each face."""
    more = ["glasses"] * traits.glasses + [f"a {traits.hair} beard"] * traits.beard
    return _SENTENCES[derive_seed(traits.grain, "caption") % len(_SENTENCES)].format(
        mood=mood(traits),
        head="no hair" if traits.style == "bald" else f"{traits.style} {traits.hair} hair",
        more="".join(f", {name}" for name in more),
        skin=traits.skin,
        clothes=traits.clothes,
    )


def mood(traits: Traits) -> str:
    """Whether the person smiles, in a word."""
    return "smiling" if traits.smile > _SMILES else "serious"
