"""YAML read by the types of a schema: a text or a path stays as it is written, numbers and truth values are YAML's.

YAML alone decides by a value's form: a folder named 2024-01-05 would be a date, one named 0123 a number. Here the
field's type decides. Of YAML the core schema of version 1.2 is read: 1e-3 is a number, `on` and `no` are words.

A small file can stand for a large value: an alias repeats what it names, and aliases of aliases multiply. So values
are counted with all of their repetitions while the text is parsed, before any is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from yaml.constructor import ConstructorError

MOST_VALUES = 4000
"""Values that a text may stand for, those behind aliases counted each time."""
DEEPEST = 20
"""Lists and sections that may lie in each other."""
LONGEST = 4096
"""Letters that a text or path may have, as in the longest path of Linux."""
_MUCH = f"holds more than {MOST_VALUES:,} values"
_DEEP = f"nested more than {DEEPEST} deep"
_TAG = "tag:yaml.org,2002:"


class NotYamlError(Exception):
    """A text that is no YAML, or none that this project reads; the message says why and where."""


def parse(text: str, kind: Any) -> Any:
    """The value of a YAML text.

    Args:
        text: The text.
        kind: The type that the value should have, such as a model of pydantic's; it decides on plain words alone, and
            whether the value fits is not looked at. None where nothing is known of it.

    Raises:
        NotYamlError: the text is no YAML, is too large or nested too deeply, or gives a key twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _build(loader, node, kind)
    # PyYAML leaves what Python raises on characters and numbers that are none.
    except (yaml.YAMLError, ValueError, OverflowError, KeyError) as error:
        raise NotYamlError(_reason(error)) from None


def parse_word(text: str, kind: Any) -> Any:
    """The value of what stands behind `key=`: the text itself for a text or a path, else YAML.

    Args:
        text, kind: As for `parse`.

    Raises:
        NotYamlError: as `parse`.
    """
    leaves = set(_leaves(kind))
    if kind is not None and not _holds_text(leaves):
        return parse(text, kind)
    if NoneType in leaves and text in ("null", "~"):
        return None
    try:
        return _checked(text)
    except ConstructorError as error:
        raise NotYamlError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """What is wrong, and where, on one line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f", line {mark.line + 1}"
    return f"{error.problem or error.context}{place}"


class _Loader(yaml.SafeLoader):
    """Parses, counts what the text stands for, and refuses keys that are given twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open = self._composed = 0
        # By the node's identity: the values that it stands for, and the depth below it.
        self._extent: dict[int, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node and those below it, as PyYAML composes them."""
        alias = self.check_event(yaml.AliasEvent)
        self._open += 1
        self._composed += 1
        if self._open > DEEPEST or self._composed > MOST_VALUES:
            much = _DEEP if self._open > DEEPEST else _MUCH
            raise ConstructorError(None, None, much, None if parent is None else parent.start_mark)
        node = super().compose_node(parent, index)
        self._open -= 1
        if node is not None and alias and id(node) not in self._extent:
            raise ConstructorError(None, None, "an alias leads back to what it is a part of", node.start_mark)
        if node is not None and not alias:
            self._measure(node)
        return node

    def _measure(self, node: yaml.Node) -> None:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            given: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in given:
                    raise ConstructorError(None, None, f"the key '{key.value}' is given twice", node.start_mark)
                given.add((key.tag, str(key.value)))
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        extents = [self._extent[id(part)] for part in inner]
        count, depth = 1 + sum(count for count, _ in extents), 1 + max((depth for _, depth in extents), default=0)
        if count > MOST_VALUES or depth > DEEPEST:
            much = _MUCH if count > MOST_VALUES else _DEEP
            raise ConstructorError(None, None, much, node.start_mark)
        self._extent[id(node)] = (count, depth)


def _number(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > 100:
        raise ConstructorError(None, None, f"a number of {len(text)} digits", node.start_mark)
    base = {"0x": 16, "0o": 8}.get(text.lstrip("+-")[:2].lower(), 10)
    return int(text, base)


_RESOLVED = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "merge": ("<<", "<"),
}
for _name, (_pattern, _first) in _RESOLVED.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list(_first))
# Nothing else is built: no date, no set, no bytes.
_Loader.yaml_constructors = {
    tag: call
    for tag, call in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("bool", "null", "float", "str", "seq", "map")
}
_Loader.add_constructor(_TAG + "int", _number)


def _build(loader: _Loader, node: yaml.Node, kind: Any) -> Any:
    """The value of a node that may be of type `kind`."""
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        item = _items(kind)
        return [_build(loader, part, item(number)) for number, part in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        loader.flatten_mapping(node)
        models = [leaf for leaf in _leaves(kind) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
        fields: dict[str, Any] = models[0].model_fields if models else {}
        values = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            field = fields.get(key)
            values[key] = _build(loader, value_node, field and field.annotation)
        return values
    leaves = set(_leaves(kind))
    if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_TAG) and _holds_text(leaves):
        # A key without a value, and null where it may be left out, are the only plain words that are no text.
        none = node.style is None and (not node.value or (node.tag == _TAG + "null" and NoneType in leaves))
        return None if none else _checked(node.value)
    value = loader.construct_object(node, deep=True)
    # Where a number belongs pydantic would take true for 1.
    return node.value if isinstance(value, bool) and kind is not None and bool not in leaves else value


def _checked(text: str) -> str:
    """A text that can be a name."""
    if "\0" in text:
        raise ConstructorError(None, None, "a text holds a NUL")
    if len(text) > LONGEST:
        raise ConstructorError(None, None, f"a text of {len(text):,} letters; {LONGEST:,} are allowed")
    return text


def _leaves(kind: Any) -> Iterator[Any]:
    """The types that a union, annotation or literal is made of."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _leaves(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for option in get_args(kind):
            yield from _leaves(option)
    elif origin is Literal:
        yield from map(type, get_args(kind))
    else:
        yield kind


def _holds_text(leaves: set[Any]) -> bool:
    return bool(leaves & {str, Path}) and not leaves & {bool, int, float}


def _items(kind: Any) -> Callable[[int], Any]:
    """From the number of an item in a list of that type to the item's type."""
    for leaf in _leaves(kind):
        if get_origin(leaf) in (tuple, list):
            kinds = [one for one in get_args(leaf) if one is not Ellipsis]
            return lambda number: kinds[min(number, len(kinds) - 1)]
    return lambda number: None
