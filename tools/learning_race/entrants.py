"""Who runs: configurations of ours, and other projects' code at the sizes that one of ours gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.load import load_config
from pipeline.config.run import RunConfig
from pipeline.errors import UserError
from tools.learning_race import peers

_NAME = re.compile(r"[\w.+-]{1,40}")
_PEER = "peer:"
_FORMS = "NAME=CONFIG[,key=value...] or NAME=peer:KIND:CHECKOUT[:CONFIG[,key=value...]]"


@dataclass(frozen=True)
class Entrant:
    """One of those who race.

    name: in tables. config: a configuration file of ours. changes: key=value over it. peer: whose code trains
    instead of ours; "" for ours. checkout: the folder of that code.
    """

    name: str
    config: Path
    changes: tuple[str, ...] = ()
    peer: str = ""
    checkout: Path | None = None

    @property
    def told(self) -> str:
        """What it is, in one line."""
        ours = ",".join((str(self.config), *self.changes))
        return f"{_PEER}{self.peer}:{self.checkout}:{ours}" if self.peer else ours

    def settings(self, *more: str) -> RunConfig:
        """The configuration with its changes and `more` of them. UserError as `hrgan train` has it."""
        return load_config(self.config, (*self.changes, *more))


def entrants_of(texts: Sequence[str]) -> list[Entrant]:
    """The entrants that the command line names. A peer without a CONFIG takes that of the first of ours.

    Errors: UserError for less than two, for a name that is none or comes twice, for an unknown peer, a folder
    that is no checkout of it, or a configuration that is wrong or that the peer cannot follow.
    """
    entrants = [_parsed(text) for text in texts]
    if len(entrants) < 2:
        raise UserError(f"{len(entrants)} entrants: a race takes at least two, each as {_FORMS}")
    names = [entrant.name for entrant in entrants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{twice[0]}: names two entrants; allowed: each name once")
    first = next((entrant for entrant in entrants if not entrant.peer), None)
    complete = [_completed(entrant, first) for entrant in entrants]
    for entrant in complete:
        settings = entrant.settings()
        if entrant.peer:
            peers.check(entrant.peer, settings, entrant.name)
    return complete


def _parsed(text: str) -> Entrant:
    name, equals, rest = text.partition("=")
    if not equals or not rest or not _NAME.fullmatch(name):
        raise UserError(f"{text}: {_FORMS} is wanted; names are of letters, digits, and . + - _")
    if not rest.startswith(_PEER):
        config, *changes = _split(rest)
        return Entrant(name, Path(config), tuple(changes))
    kind, _, rest = rest.removeprefix(_PEER).partition(":")
    folder, _, rest = rest.partition(":")
    config, *changes = _split(rest)
    checkout = peers.checkout_of(kind, folder, text)
    return Entrant(name, Path(config), tuple(changes), kind, checkout)


def _split(text: str) -> list[str]:
    """At commas before a key, so that values may hold commas."""
    return re.split(r",(?=[a-z_][\w.]*=)", text)


def _completed(entrant: Entrant, first: Entrant | None) -> Entrant:
    if entrant.config != Path():
        return entrant
    if first is None:
        raise UserError(
            f"{entrant.name}: has no CONFIG, and no entrant of ours whose it could take; {_FORMS}"
        )
    return replace(entrant, config=first.config, changes=first.changes)
