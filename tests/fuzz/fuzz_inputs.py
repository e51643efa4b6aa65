"""Contents of files that are nearly right: bytes changed, and values exchanged within their structure."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import strategies as st

TOKENS = (
    *(b"\0", b"\xff\xfe", b"\n", b"\r", b",", b";", b'"', b"'", b"../", b"/etc/passwd", b"\x1b[2J", b"%s", b"\xf0\x9f"),
    *(b"[" * 3000, b"{" * 3000, b"<a>" * 3000, b"&a ", b"*a", b"<!ENTITY a 'b'>", b"!!python/name:os.system ", b"nan"),
    *(b"9" * 5000, b"1e999", b"-1", "猫".encode(), "\u202e".encode(), b"\xed\xa0\x80", b"\\ud800", b"a" * 70_000),
)
"""What readers stumble over."""
NUMBERS = (b"-1", b"0", b"1e308", b"1e999", b"NaN", b"60000", b"4294967296", b"9" * 19, b"9" * 5000, b"0.5", b"true")
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 255, 256, 60_000, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "\0", "x" * 5000, "../../x", "\ud800", "猫", "1", [], {}, [[]], [None], {"": None}, [1] * 2000, {"a": [{}]}),
)
"""Values in places where they do not belong."""


@dataclass(frozen=True, repr=False)
class Form:
    """How a file's bytes hold a value, and what else may be put into it."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    junk: tuple[Any, ...] = JUNK


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _arrays(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: np.asarray(value) for key, value in dict(values).items()})
    return buffer.getvalue()


def _read_safetensors(content: bytes) -> Any:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    said = header["__metadata__"]
    header["__metadata__"] = {key: text if key == "format" else json.loads(text) for key, text in said.items()}
    return {"header": header, "tensors": content[8 + length :]}


def _write_safetensors(value: Any) -> bytes:
    header = dict(value["header"])
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"] = {key: json.dumps(part) for key, part in header["__metadata__"].items()}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + (value["tensors"] if isinstance(value["tensors"], bytes) else b"")


_TENSORS = (torch.zeros(0), torch.zeros(3, dtype=torch.int8), torch.tensor(float("nan")), torch.zeros(2, 2, 2, 2))
_NUMPY = (np.zeros(0), np.zeros((3, 2, 2)), np.array([9, -1]), np.full((2, 1, 2), np.nan), np.array(["a"]), np.int64(3))
TEXT = None
JSON = Form(json.loads, lambda value: json.dumps(value).encode())
LINES = Form(
    lambda content: [json.loads(line) for line in content.splitlines()],
    lambda value: "".join(f"{json.dumps(line)}\n" for line in (value if isinstance(value, list) else [value])).encode(),
)
"""A JSON value a line."""
YAML = Form(yaml.safe_load, lambda value: yaml.safe_dump(value, allow_unicode=False).encode())
TORCH = Form(lambda content: torch.load(io.BytesIO(content), weights_only=True), _saved, (*JUNK, *_TENSORS))
ARRAYS = Form(lambda content: dict(np.load(io.BytesIO(content))), _arrays, (*_NUMPY, 0, "x"))
PICKLE = Form(pickle.loads, lambda value: pickle.dumps(value, 2), (*JUNK, *_NUMPY))
SAFETENSORS = Form(_read_safetensors, _write_safetensors)


class Content:
    """A file's bytes. They may be many, and hypothesis shows every value that it draws (a dataclass's fields too)."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        shown = self.data if len(self.data) <= 600 else self.data[:300] + b" ... " + self.data[-300:]
        return f"{len(self.data)} bytes: {shown!r}"


def contents(valid: bytes, form: Form | None) -> st.SearchStrategy[Content]:
    """Any bytes; the valid ones with a few edits; and, for a form, with a few of their values exchanged.

    Args:
        valid: What the reader takes.
        form: How it holds a value; None for plain text and pictures.
    """
    right = Content(valid)
    kinds = [st.binary(max_size=300).map(Content), _edited(right), _edited(right)]
    return st.one_of(*kinds, *([_altered(right, form), _altered(right, form)] if form else []))


@st.composite
def _edited(draw: st.DrawFn, valid: Content) -> Content:
    content = valid.data
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 64))
        edit = draw(st.sampled_from(("flip", "cut", "drop", "repeat", "token", "number")))
        if edit == "flip" and content:
            flipped = content[where] ^ (1 << draw(st.integers(0, 7)))
            content = content[:where] + bytes([flipped]) + content[where + 1 :]
        elif edit == "cut":
            content = content[:where]
        elif edit == "drop":
            content = content[:where] + content[where + length :]
        elif edit == "repeat":
            times = draw(st.sampled_from((2, 30, 2000)))
            content = content[:where] + content[where : where + length] * times + content[where + length :]
        elif edit == "token":
            content = content[:where] + draw(st.sampled_from(TOKENS)) + content[where:]
        elif found := list(re.finditer(rb"\d+", content[:100_000])):
            start, end = draw(st.sampled_from(found)).span()
            content = content[:start] + draw(st.sampled_from(NUMBERS)) + content[end:]
    return Content(content)


@st.composite
def _altered(draw: st.DrawFn, valid: Content, form: Form) -> Content:
    value = form.decode(valid.data)
    for _ in range(draw(st.integers(1, 3))):
        value = _exchange(draw, value, form.junk, 0)
    try:
        return Content(form.encode(value))
    except Exception:  # what the form cannot hold is no input
        return Content(b"")


def _exchange(draw: st.DrawFn, value: Any, junk: tuple[Any, ...], depth: int) -> Any:
    """A copy of the value with one part of it replaced, removed or added, at any depth."""
    if not isinstance(value, dict | list) or not value or (depth and draw(st.integers(0, 5)) == 0):
        return draw(st.sampled_from(junk))
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    action = draw(st.sampled_from(("within", "within", "within", "within", "remove", "add")))
    if action == "remove":
        del copy[key]
    elif action == "add" and isinstance(copy, list):
        copy.append(copy[key])
    elif action == "add":
        copy["another"] = draw(st.sampled_from(junk))
    else:
        copy[key] = _exchange(draw, value[key], junk, depth + 1)
    return copy
