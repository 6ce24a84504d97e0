"""The data in a pickle, without unpickling it: CIFAR's files are pickles, and a pickle is a program.

The standard library's ``pickletools`` only lists a pickle's steps. Here the few steps that build lists, dictionaries,
texts, numbers and NumPy arrays of bytes are followed; nothing is imported or called by name, and anything else is
refused.
"""

import pickletools
from typing import Any

import numpy as np

from calligram.errors import UserError

_LITERALS = frozenset(
    "BININT BININT1 BININT2 INT LONG LONG1 LONG4 BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE SHORT_BINBYTES "
    "BINBYTES BINBYTES8 STRING SHORT_BINSTRING BINSTRING BINFLOAT FLOAT".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NAMES = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy ndarray", "numpy dtype")
_NAMES += ("_codecs encode",)  # Python 3 writes bytes so in the protocol of Python 2
_MARK = object()


class _Name(str):
    """What a pickle would import; here a word and no more."""


class _Array:
    """An array, or its type, that the next step tells about."""

    def __init__(self, kind: str):
        self.kind = kind
        self.value: Any = None


def read(data: bytes, name: str) -> Any:
    """Lists, dictionaries, texts, numbers and arrays of uint8. Raises UserError for a pickle of anything else."""
    try:
        return _finished(_Reader().run(data))
    except UserError as error:
        raise UserError(f"{name} {error}: fetch the original file") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError, RecursionError) as error:
        raise UserError(f"{name} is damaged or no pickle ({error}): fetch it again") from None


class _Reader:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise ValueError("it has no end")

    def step(self, name: str, argument: Any) -> None:
        if name in ("PROTO", "FRAME"):
            return
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[int(argument)])
        else:
            self.build(name, argument)

    def build(self, name: str, argument: Any) -> None:
        """The steps that make something of what lies on the stack."""
        if name in _TUPLES:
            items = [self.stack.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(reversed(items)))
        elif name in ("TUPLE", "LIST", "DICT"):
            items = self.to_mark()
            make = {"TUPLE": tuple, "LIST": list, "DICT": lambda each: dict(zip(each[::2], each[1::2], strict=True))}
            self.stack.append(make[name](items))
        elif name in ("APPEND", "APPENDS"):
            items = [self.stack.pop()] if name == "APPEND" else self.to_mark()
            self.stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [self.stack.pop(), self.stack.pop()][::-1] if name == "SETITEM" else self.to_mark()
            self.stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            self.stack.append(_named(argument))
        elif name == "STACK_GLOBAL":
            last, first = self.stack.pop(), self.stack.pop()
            self.stack.append(_named(f"{first} {last}"))
        elif name == "REDUCE":
            arguments, what = self.stack.pop(), self.stack.pop()
            self.stack.append(_stand_in(what, arguments))
        elif name == "BUILD":
            state = self.stack.pop()
            _tell(self.stack[-1], state)
        else:
            raise UserError(f"has a step {name} that is not for data")

    def to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]


def _named(words: str) -> _Name:
    if words not in _NAMES:
        raise UserError(f"would run {words.replace(' ', '.')}, which is refused")
    return _Name(words)


def _stand_in(what: Any, arguments: tuple) -> Any:
    if not isinstance(what, _Name):
        raise UserError("would run something without a name, which is refused")
    if what == "_codecs encode":
        text, coding = arguments
        if coding != "latin1":
            raise ValueError(f"bytes in {coding}")
        return text.encode("latin1")
    if what == "numpy dtype":
        return _Array(str(arguments[0]))
    return _Array("array")


def _tell(what: Any, state: Any) -> None:
    """Of a type the details do not matter; of an array (version, shape, type, order, bytes)."""
    if not isinstance(what, _Array) or what.kind != "array":
        if isinstance(what, _Array):
            return
        raise UserError("would set what an object is made of, which is refused")
    _, shape, dtype, is_fortran, data = state
    if not isinstance(dtype, _Array) or dtype.kind not in ("u1", "|u1"):
        raise ValueError("an array of something else than bytes")
    data = data.encode("latin1") if isinstance(data, str) else data
    what.value = np.frombuffer(data, np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _finished(value: Any) -> Any:
    """The arrays in place of what stood for them."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array without content")
        return value.value
    if isinstance(value, dict):
        return {key: _finished(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_finished(each) for each in value)
    return value
