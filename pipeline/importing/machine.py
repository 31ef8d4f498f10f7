"""A pickle machine of our own, which only moves values between a stack and a memo and never calls anything
that a file names.

Python's unpickler imports what a file names and calls it. Here a name remains a name until `rebuild` replaces
it by a stand-in. Instructions that weight files do not use are refused.

A subclass of `pickle.Unpickler` with stand-ins would not be safe, because it puts a file's keys into dicts
and sets before they can be checked. Hashing a key of 70 bytes (a tuple that contains itself twice, thirty
levels deep) takes forever, a key nested 100,000 deep crashes the process, and a 9-byte memo index allocates
gigabytes. Therefore every instruction that hashes, copies or calls is implemented here, within a budget.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, Protocol

from pipeline.importing.rebuild import NESTED, admit, build, make, plain_key
from pipeline.importing.values import Bag, Budget, Global, Refused

STEPS = 1_000_000
"""The largest number of instructions and copied items for one file. Known weights take less than a tenth of
it."""

_NOTHING_TO_DO = {"PROTO", "FRAME", "STOP"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}


class Bytes(Protocol):
    """Bytes with a position, such as a BytesIO. Reading never returns more than there is."""

    def read(self, count: int = -1, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


class Machine:
    """Runs one pickle.

    persistent: makes the stand-in for a persistent id. nested: makes the stand-in for a call of
    `_load_from_bytes`. budget: what remains of the file's budget. The method `on_name` executes the
    instruction NAME; instructions without such a method are refused.
    """

    def __init__(
        self, persistent: Callable[[Any], Any], nested: Callable[[Any], Any], budget: Budget
    ) -> None:
        self._persistent, self._nested, self._budget = persistent, nested, budget
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: Bytes) -> Any:
        """The value of the pickle at the file's position, which is moved to the pickle's end. Raises
        Refused."""
        try:
            for opcode, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
                self._budget.spend(steps=1)
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
            raise Refused("a pickle that is cut off or damaged") from error
        if len(self._stack) != 1 or self._marks:
            raise Refused("a pickle that is cut off or damaged")
        return self._stack[0]

    def _step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _ARGUMENTS:
            self._stack.append(argument)
        elif name not in _NOTHING_TO_DO:
            action = getattr(self, f"on_{name.lower()}", None)
            if action is None:
                raise Refused(f"refused: a pickle with the instruction {name}, which weight files do not use")
            action(argument)

    def _pop_marked(self) -> list[Any]:
        place = self._marks.pop()
        values = self._stack[place:]
        del self._stack[place:]
        return values

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise IndexError("nothing above the mark")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def on_put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def on_get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    on_binput = on_long_binput = on_put
    on_binget = on_long_binget = on_get

    def on_memoize(self, _: Any) -> None:
        self.on_put(len(self._memo))

    def on_mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def on_pop(self, _: Any) -> None:
        self._pop(1)

    def on_pop_mark(self, _: Any) -> None:
        self._pop_marked()

    def on_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def on_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_marked()))

    def on_tuple1(self, _: Any) -> None:
        self._stack.append(tuple(self._pop(1)))

    def on_tuple2(self, _: Any) -> None:
        self._stack.append(tuple(self._pop(2)))

    def on_tuple3(self, _: Any) -> None:
        self._stack.append(tuple(self._pop(3)))

    def on_list(self, _: Any) -> None:
        self._stack.append(self._pop_marked())

    def on_dict(self, _: Any) -> None:
        values = self._pop_marked()
        self._stack.append({})
        self._set_items(values)

    def on_frozenset(self, _: Any) -> None:
        self._stack.append({plain_key(value) for value in self._pop_marked()})

    def on_append(self, _: Any) -> None:
        self._extend(self._pop(1))

    def on_appends(self, _: Any) -> None:
        self._extend(self._pop_marked())

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise Refused("refused: it appends to something that is not a list")
        self._stack[-1].extend(values)

    def on_setitem(self, _: Any) -> None:
        self._set_items(self._pop(2))

    def on_setitems(self, _: Any) -> None:
        self._set_items(self._pop_marked())

    def _set_items(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or len(values) % 2:
            raise Refused("refused: it sets items of something that is not a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._stack[-1][plain_key(key)] = value

    def on_additems(self, _: Any) -> None:
        values = self._pop_marked()
        if not isinstance(self._stack[-1], set):
            raise Refused("refused: it adds members to something that is not a set")
        self._stack[-1].update(plain_key(value) for value in values)

    def on_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(admit(Global(module, name)))

    def on_stack_global(self, _: Any) -> None:
        module, name = self._pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("refused: it imports something without a name")
        self._stack.append(admit(Global(module, name)))

    def on_reduce(self, _: Any) -> None:
        what, arguments = self._pop(2)
        if what == NESTED and isinstance(arguments, tuple) and len(arguments) == 1:
            self._budget.spend(*arguments)
            self._stack.append(self._nested(arguments[0]))
        else:
            self._stack.append(make(what, arguments, self._budget))

    def on_newobj(self, _: Any) -> None:
        what, arguments = self._pop(2)
        made = make(what, arguments, self._budget)
        if not isinstance(made, Bag | dict):
            raise Refused(f"refused: it makes a {what} without its constructor")
        self._stack.append(made)

    def on_build(self, _: Any) -> None:
        (state,) = self._pop(1)
        build(self._stack[-1], state, self._budget)

    def on_binpersid(self, _: Any) -> None:
        (what,) = self._pop(1)
        self._stack.append(self._persistent(what))
