"""A pickle machine of our own: it moves values between a stack and a memo, and calls nothing of the file.

Python's unpickler imports what a file names and calls it. Here a name stays a name until `rebuild` knows a
stand-in for it; instructions that have no use in weight files are refused.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, Protocol

from pipeline.importing.rebuild import NESTED, admit, build, make, plain_key
from pipeline.importing.values import Bag, Budget, Global, Refused

STEPS = 1_000_000
"""Instructions and copied items of one file: known weights take less than a tenth."""
_NEITHER = object()


class Source(Protocol):
    """Bytes with a position, such as a BytesIO: reads never give more than there is."""

    def read(self, count: int = -1, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


class Machine:
    """One pickle. persistent: what a persistent id stands for. nested: what `_load_from_bytes` gives.
    budget: what is left of the file's."""

    def __init__(
        self, persistent: Callable[[Any], Any], nested: Callable[[Any], Any], budget: Budget
    ) -> None:
        self._persistent, self._nested, self._budget = persistent, nested, budget
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, source: Source) -> Any:
        """The value of the pickle at the source's position, which moves behind it. Errors: Refused."""
        try:
            for opcode, argument, _ in pickletools.genops(source):  # type: ignore[arg-type]
                self._budget.spend(steps=1)
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
            raise Refused("a pickle that is cut off or damaged") from error
        if len(self._stack) != 1 or self._marks:
            raise Refused("a pickle that is cut off or damaged")
        return self._stack[0]

    def _step(self, name: str, argument: Any) -> None:
        if (value := _CONSTANTS.get(name, _NEITHER)) is not _NEITHER:
            self._stack.append(value() if callable(value) else value)
        elif name in _ARGUMENTS:
            self._stack.append(argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            action = _ACTIONS.get(name)
            if action is None:
                raise Refused(f"refused: a pickle with the instruction {name}, which weight files do not use")
            action(self, argument)

    def _marked(self) -> list[Any]:
        place = self._marks.pop()
        values = self._stack[place:]
        del self._stack[place:]
        return values

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise IndexError("nothing above the mark")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._put(len(self._memo))

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _pop(self, _: Any) -> None:
        self._last(1)

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._marked()))

    def _tuple1(self, _: Any) -> None:
        self._stack.append(tuple(self._last(1)))

    def _tuple2(self, _: Any) -> None:
        self._stack.append(tuple(self._last(2)))

    def _tuple3(self, _: Any) -> None:
        self._stack.append(tuple(self._last(3)))

    def _list(self, _: Any) -> None:
        self._stack.append(self._marked())

    def _dict(self, _: Any) -> None:
        values = self._marked()
        self._stack.append({})
        self._fill(values)

    def _frozenset(self, _: Any) -> None:
        self._stack.append({plain_key(value) for value in self._marked()})

    def _append(self, _: Any) -> None:
        self._extend(self._last(1))

    def _appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise Refused("refused: it appends to what is no list")
        self._stack[-1].extend(values)

    def _setitem(self, _: Any) -> None:
        self._fill(self._last(2))

    def _setitems(self, _: Any) -> None:
        self._fill(self._marked())

    def _fill(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or len(values) % 2:
            raise Refused("refused: it sets items of what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._stack[-1][plain_key(key)] = value

    def _additems(self, _: Any) -> None:
        values = self._marked()
        if not isinstance(self._stack[-1], set):
            raise Refused("refused: it adds members to what is no set")
        self._stack[-1].update(plain_key(value) for value in values)

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(admit(Global(module, name)))

    def _stack_global(self, _: Any) -> None:
        module, name = self._last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("refused: it imports what has no name")
        self._stack.append(admit(Global(module, name)))

    def _reduce(self, _: Any) -> None:
        what, arguments = self._last(2)
        if what == NESTED and isinstance(arguments, tuple) and len(arguments) == 1:
            self._budget.spend(*arguments)
            self._stack.append(self._nested(arguments[0]))
        else:
            self._stack.append(make(what, arguments, self._budget))

    def _newobj(self, _: Any) -> None:
        what, arguments = self._last(2)
        made = make(what, arguments, self._budget)
        if not isinstance(made, Bag | dict):
            raise Refused(f"refused: it makes a {what} without its constructor")
        self._stack.append(made)

    def _build(self, _: Any) -> None:
        (state,) = self._last(1)
        build(self._stack[-1], state, self._budget)

    def _binpersid(self, _: Any) -> None:
        (what,) = self._last(1)
        self._stack.append(self._persistent(what))


_CONSTANTS: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": Machine._mark,
    "POP": Machine._pop,
    "POP_MARK": Machine._pop_mark,
    "DUP": Machine._dup,
    "PUT": Machine._put,
    "BINPUT": Machine._put,
    "LONG_BINPUT": Machine._put,
    "MEMOIZE": Machine._memoize,
    "GET": Machine._get,
    "BINGET": Machine._get,
    "LONG_BINGET": Machine._get,
    "TUPLE": Machine._tuple,
    "TUPLE1": Machine._tuple1,
    "TUPLE2": Machine._tuple2,
    "TUPLE3": Machine._tuple3,
    "LIST": Machine._list,
    "DICT": Machine._dict,
    "FROZENSET": Machine._frozenset,
    "APPEND": Machine._append,
    "APPENDS": Machine._appends,
    "SETITEM": Machine._setitem,
    "SETITEMS": Machine._setitems,
    "ADDITEMS": Machine._additems,
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._newobj,
    "BUILD": Machine._build,
    "BINPERSID": Machine._binpersid,
}
