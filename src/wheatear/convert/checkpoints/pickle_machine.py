"""Interpreter for the pickle of a state dict: containers, and names that describe tensors.

A pickle is a program. pickle.Unpickler runs all of it, and its results can be hostile without any
call: hashing nested tuples as a key exhausts the stack, a memo index of 2^28 takes gigabytes.
This interpreter knows the operations that torch.save writes. Keys are texts or whole numbers, the
memo is a dict, and nothing is traversed, so time and memory are linear in the program's length.
"""

import pickletools
import reprlib
from collections.abc import Callable
from typing import Any

from wheatear.errors import CheckpointError

LARGEST_PROGRAM = 8 << 20  # bytes; that of a model with a thousand tensors has 150 kB
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = ("PROTO", "FRAME")
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING"),
)
_PUTS, _GETS = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")


class StateDict(dict[Any, Any]):
    """Replaces OrderedDict; the attributes that torch sets on a state dict are dropped."""

    __slots__ = ()


class PickleMachine:
    """Runs a program on a stack. Methods `_op_...` are operations by their name in pickletools."""

    def __init__(
        self, find: Callable[[str, str], Callable[..., Any]], load: Callable[[Any], Any]
    ) -> None:
        """Takes the functions that resolve names and persistent ids.

        Args:
            find: Returns the function for a module and a name in it.
            load: Returns the object for a persistent id. Both raise CheckpointError for unknown
                arguments.
        """
        self._find, self._load = find, load
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> Any:
        """Returns the result. Raises CheckpointError; for a damaged program any exception."""
        for operation, argument, _place in pickletools.genops(program):
            if operation.name == "STOP":
                return self._pop()
            self._step(operation.name, argument)
        raise CheckpointError("its pickle does not end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _PUTS:
            self._memo[argument] = self._top()
        elif name in _GETS:
            self._stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self._stack.append(tuple([self._pop() for _ in range(_TUPLES[name])][::-1]))
        elif name not in _IGNORED:
            operation = getattr(self, f"_op_{name.lower()}", None)
            if operation is None:
                raise CheckpointError(f"its pickle uses {name}, which torch never does")
            operation(argument)

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise CheckpointError("its pickle is malformed")
        return self._stack[-1]

    def _pop(self) -> Any:
        self._top()
        return self._stack.pop()

    def _since_mark(self) -> list[Any]:
        items = []
        while self._stack:
            if (item := self._stack.pop()) is _MARK:
                return items[::-1]
            items.append(item)
        raise CheckpointError("its pickle is malformed")

    def _op_memoize(self, _argument: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def _op_tuple(self, _argument: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _op_setitems(self, _argument: Any) -> None:
        items = self._since_mark()
        if len(items) % 2:
            raise CheckpointError("its pickle is malformed")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _op_setitem(self, _argument: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:
        target = self._top()
        if not isinstance(target, dict) or type(key) not in (str, int):
            raise CheckpointError(f"it has the key {reprlib.repr(key)}, which is no name")
        target[key] = value

    def _op_append(self, _argument: Any) -> None:
        self._extend([self._pop()])

    def _op_appends(self, _argument: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise CheckpointError("its pickle is malformed")
        target.extend(items)

    def _op_global(self, argument: Any) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._find(module, name))

    def _op_stack_global(self, _argument: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise CheckpointError("its pickle is malformed")
        self._stack.append(self._find(module, name))

    def _op_binpersid(self, _argument: Any) -> None:
        self._stack.append(self._load(self._pop()))

    def _op_reduce(self, _argument: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple) or not callable(function):
            raise CheckpointError("its pickle is malformed")
        self._stack.append(function(*arguments))

    def _op_build(self, _argument: Any) -> None:
        self._pop()  # the attributes
        if not isinstance(self._top(), StateDict):
            raise CheckpointError("it alters what it has made")
