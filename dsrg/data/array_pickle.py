"""Pickled dictionaries of NumPy arrays, read by a machine of its own that can run nothing.

`pickle.load` calls whatever the file names. An unpickler that admits NumPy's names alone still hands the file's
arguments to NumPy, which trusts them: object arrays, states of data types, sizes to set aside. Here the opcodes are
followed one by one. The few names that arrays are made of are words, none is ever looked up, and NumPy gets bytes and
numbers that have been checked.
"""

from __future__ import annotations

import gzip
import math
import pickletools
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dsrg.errors import InputError
from dsrg.files import disk

LARGEST = 2**28
"""Bytes that a file may have once unpacked, and all its arrays together; the authors' cues of VOC have 104 million."""
MOST_STEPS = 4_000_000
"""Opcodes that a file may have, each of which can take some 100 bytes of memory; the authors' cues have 391,603."""

_NAMES = {
    **{
        f"numpy.{core}.{name}": name.rpartition(".")[2]
        for core in ("core", "_core")  # NumPy 1 and 2
        for name in ("multiarray._reconstruct", "numeric._frombuffer")
    },
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",  # Python 3 writes bytes so where Python 2 shall read them
    "__builtin__.bytes": "bytes",  # and none so
}
"""What a file may name, and the word that stands for it here."""
_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_MOST_AXES = 8
# fmt: off
_VALUES = frozenset((
    "INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
))
# fmt: on
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SMALL_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NOTHING = frozenset(("PROTO", "FRAME", "STOP"))


class _BrokenError(Exception):
    """The file makes up no arrays; the reason in a few words."""


class _HostileError(Exception):
    """The file asks for what no array needs; for what, in a few words."""


@dataclass(frozen=True)
class _Word:
    """Stands for something that the file names."""

    text: str


@dataclass
class _Type:
    """A data type; its byte order comes with a later opcode."""

    code: str
    order: str = "="


@dataclass
class _Array:
    """An array; what it holds comes with a later opcode."""

    value: np.ndarray | None = None


_MARK = _Word("mark")


def read_arrays(path: str | Path) -> dict[str, Any]:
    """Read a pickled dictionary, packed with gzip or not, of any protocol, from Python 2 or 3 and NumPy 1 or 2.

    Args:
        path: The file.

    Returns:
        Its keys and values: arrays of booleans, integers or floats, which are read-only; or plain values.

    Raises:
        InputError: the file is missing, broken or larger than LARGEST, is no dictionary whose keys are strings, or asks
            for anything else than arrays and plain types. Nothing that it asks for has been run.
    """
    try:
        return _run(_unpack(Path(path)))
    except _HostileError as error:
        raise InputError(
            f"{path}: the pickle asks for {error}, which no array needs and which could run code; nothing of it was "
            "run; get the file from its authors."
        ) from None
    # pickletools raises these where an opcode's argument is cut off or is none, NumPy where a shape is impossible.
    except (_BrokenError, ValueError, OverflowError, struct.error) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a readable pickle of arrays by name ({reason}); get the file anew.") from None


def _unpack(path: Path) -> bytes:
    try:
        with disk.open_regular(path, "pickle") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
            with stream:
                content = disk.read_at_most(stream, LARGEST + 1)  # what a small file could unpack to has no bound
    except (OSError, EOFError, zlib.error) as error:
        raise _BrokenError(str(error)) from None
    if len(content) > LARGEST:
        raise InputError(f"{path}: has more than {LARGEST:,} bytes when unpacked, far more than cues have; check it.")
    return content


def _run(content: bytes) -> dict[str, Any]:
    machine = _Machine()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if number == MOST_STEPS:
            raise _BrokenError(f"more than {MOST_STEPS:,} opcodes")
        machine.step(opcode.name, argument)
    result = machine.pop()
    if machine.stack or not isinstance(result, dict) or not all(isinstance(key, str) for key in result):
        raise _BrokenError("no dictionary with names for keys")
    if any(isinstance(value, _Array) and value.value is None for value in result.values()):
        raise _BrokenError("an array without content")
    return {key: value.value if isinstance(value, _Array) else value for key, value in result.items()}


class _Machine:
    """Follows the opcodes of one pickle, with a stack and a memo of plain values, words, types and arrays."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._made = 0

    def step(self, name: str, argument: Any) -> None:
        """Do what one opcode says; every other than those here is refused."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _GETS:
            if argument not in self.memo:
                raise _BrokenError("a value is recalled that was never kept")
            self.stack.append(self.memo[argument])
        elif name in _PUTS:
            self.memo[argument] = self.top()
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _SMALL_TUPLES:
            self.stack.append(tuple(self.take(_SMALL_TUPLES[name])))
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self.stack.append(_word(*(argument.split(" ", 1) if name == "GLOBAL" else self.take(2))))
        elif name == "REDUCE":
            self.stack.append(_make(*self.take(2)))
            self._count(self.top())
        elif name == "BUILD":
            state = self.pop()
            _fill(self.top(), state)
            self._count(self.top())
        elif name == "TUPLE":
            self.stack.append(tuple(self.take_to_mark()))
        elif name == "EMPTY_DICT":
            self.stack.append({})
        elif name == "DICT":
            self.stack.append({})
            _set_items(self.top(), self.take_to_mark(above=1))
        elif name in ("SETITEM", "SETITEMS"):
            items = self.take(2) if name == "SETITEM" else self.take_to_mark()
            _set_items(self.top(), items)
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name == "LIST":
            self.stack.append(self.take_to_mark())
        elif name in ("APPEND", "APPENDS"):
            items = self.take(1) if name == "APPEND" else self.take_to_mark()
            if not isinstance(self.top(), list):
                raise _BrokenError("something is put into a list that is none")
            self.top().extend(items)
        elif name not in _NOTHING:
            raise _HostileError(f"the opcode {name}")

    def top(self) -> Any:
        """The last value."""
        if not self.stack or self.stack[-1] is _MARK:
            raise _BrokenError("a value is missing")
        return self.stack[-1]

    def pop(self) -> Any:
        """The last value, taken off."""
        self.top()
        return self.stack.pop()

    def take(self, count: int) -> list[Any]:
        """The last values in their order, taken off."""
        return [self.pop() for _ in range(count)][::-1]

    def take_to_mark(self, above: int = 0) -> list[Any]:
        """The values behind the last mark in their order, taken off with the mark; the last `above` values stay."""
        kept = self.take(above)
        values = []
        while self.stack and self.stack[-1] is not _MARK:
            values.append(self.stack.pop())
        if not self.stack:
            raise _BrokenError("a mark is missing")
        self.stack[-1:] = kept
        return values[::-1]

    def _count(self, value: Any) -> None:
        """Bound the bytes of all that is made: a few opcodes can make a long value again and again."""
        made = value.value if isinstance(value, _Array) else value
        self._made += made.nbytes if isinstance(made, np.ndarray) else len(made) if isinstance(made, bytes) else 0
        if self._made > 2 * LARGEST:  # bytes that Python 3 wrote for Python 2 are made twice, once as an array
            raise _BrokenError(f"arrays of more than {LARGEST:,} bytes")


def _word(module: Any, name: Any) -> _Word:
    full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""
    full = full.replace("builtins.bytes", "__builtin__.bytes")
    if full not in _NAMES:
        raise _HostileError(ascii(full)[:80])
    return _Word(_NAMES[full])


def _set_items(target: Any, items: list[Any]) -> None:
    # A tuple of tuples could be a key too, and nested well enough, its hash would take for ever.
    if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
        raise _BrokenError("a dictionary whose keys are no names")
    target.update(zip(items[::2], items[1::2], strict=True))


def _make(word: Any, arguments: Any) -> Any:
    """What a word means with its arguments; no word means a call."""
    what = word.text if isinstance(word, _Word) else None
    given = arguments if isinstance(arguments, tuple) else ()
    if what == "_reconstruct" and len(given) == 3 and given[0] == _Word("ndarray"):
        return _Array()
    if what == "dtype" and given and isinstance(given[0], str):
        if given[0] not in _TYPES:
            raise _BrokenError(f"an array of type {ascii(given[0])[:20]}, which is no number")
        return _Type(given[0])
    if what == "_frombuffer" and len(given) == 4:
        content, kind, shape, order = given
        return _Array(_array(content, kind, shape, by_columns=order == "F"))
    if what == "encode" and len(given) == 2 and isinstance(given[0], str) and given[1] == "latin1":
        return given[0].encode("latin1")
    if what == "bytes" and not given:
        return b""
    raise _HostileError(f"a call of {what!a}")


def _fill(target: Any, state: Any) -> None:
    """Give an array its content, or a type its byte order."""
    if isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
        _, shape, kind, by_columns, content = state
        target.value = _array(content, kind, shape, by_columns=bool(by_columns))
    elif isinstance(target, _Type) and isinstance(state, tuple) and len(state) >= 5 and state[1] in ("<", ">", "|"):
        if any(part is not None for part in state[2:5]):
            raise _BrokenError("an array of records")
        target.order = state[1]
    else:
        raise _HostileError("a state that is no array's")


def _array(content: Any, kind: Any, shape: Any, *, by_columns: bool) -> np.ndarray:
    if isinstance(content, str):
        content = content.encode("latin1")  # Python 2 has one type for text and bytes
    if not isinstance(content, bytes | bytearray) or not isinstance(kind, _Type) or not isinstance(shape, tuple):
        raise _BrokenError("an array that is none")
    sides = [side for side in shape if isinstance(side, int) and 0 <= side <= LARGEST]
    kind_of = np.dtype(kind.order + kind.code)
    if len(sides) < len(shape) or len(sides) > _MOST_AXES or math.prod(sides) * kind_of.itemsize != len(content):
        raise _BrokenError("an array whose shape does not fit its content")
    flat = np.frombuffer(bytes(content), kind_of) if content else np.empty(0, kind_of)
    return flat.reshape(sides, order="F" if by_columns else "C")
