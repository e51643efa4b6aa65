"""The rows of JSON objects such as {"file_name": "a.jpg", "labels": ["cat", "dog"]}."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dsrg.data import columns, divide, label_columns, table_rows
from dsrg.data.columns import fault, key, stem
from dsrg.data.ids import shown
from dsrg.data.table_rows import Raw
from dsrg.errors import InputError

GIVE = "give a CSV whose first line is 'image,labels', one with a column of 0 and 1 for each class, or JSON Lines"
"""What to do about a file that is no table."""
_OBJECTS = "objects."
"""What stands here before the keys of Hugging Face's objects."""


class JsonRows(NamedTuple):
    """The objects, read."""

    rows: list[Raw]
    notes: list[str]
    """Sentences for the user: which keys were joined, followed and left out."""
    together: bool
    """A photograph may have several lines."""
    single: bool
    """Its keys divide, as columns do."""


class _Keys(NamedTuple):
    """What the keys of an object mean."""

    image: str
    labels: list[str]
    holds: str | None
    split: str | None
    weights: list[str]
    left: list[str]
    are_numbered: bool
    """No key of the labels is without a number, so that each may be a class."""
    has_boxes: bool


class _Line(NamedTuple):
    """What an object says."""

    number: int
    image: str
    labels: list[str | list[str] | InputError]
    holds: str
    split: str


class _Seen:
    """What the keys of all objects hold, for what only all of them tell."""

    def __init__(self) -> None:
        self.joined: dict[str, None] = {}
        self.numbered: dict[str, bool] = {}
        """Whether all that a key holds is marks and numbers, where its name is numbered and none beside it is not."""
        self.of_numbers: dict[str, bool] = {}
        """Whether all that a joined key holds is whole numbers."""
        self.left: dict[str, None] = {}
        self.holds = self.split = ""
        self.has_boxes = False

    def add(self, value: Mapping[str, Any], keys: _Keys, given: Mapping[str, str | list[str] | InputError]) -> None:
        self.left |= dict.fromkeys(name for name in keys.left if value[name] is not None)
        self.holds = self.holds or keys.holds or ""
        self.split = self.split or keys.split or ""
        self.has_boxes |= keys.has_boxes
        for name, own in given.items():
            cells = [] if isinstance(own, InputError) else [own] if isinstance(own, str) else own
            if len(keys.labels) > 1:
                self.joined[name] = None
                self.of_numbers[name] = self.of_numbers.get(name, True) and all(map(str.isdecimal, cells))
            if keys.are_numbered:
                marks = all(cell.casefold() in columns.ON | columns.OFF or columns.is_number(cell) for cell in cells)
                self.numbered[name] = self.numbered.get(name, True) and marks

    def check(self, path: Path) -> None:
        """Raise InputError for keys that may be those of the classes, or of which some number the labels of others."""
        if self.numbered and all(self.numbered.values()):
            names = ", ".join(map(shown, list(self.numbered)[:8]))
            raise fault(path, f"has numbers alone below {names}, which may be classes; write the labels below 'labels'")
        label_columns.check_alike(path, "key", [*self.of_numbers.items()])

    def notes(self, lines: list[_Line], path: Path) -> list[str]:
        """Sentences for the user."""
        notes = []
        if len(self.joined) > 1:
            notes.append(f"the keys {', '.join(map(shown, self.joined))} hold labels; a photograph has those of each")
        if self.holds:
            off = sum(line.holds.casefold() in columns.OFF for line in lines)
            notes.append(label_columns.holds_sentence("key", self.holds, off, len(lines)))
        if self.left:
            names = ", ".join(map(shown, list(self.left)[:8]))
            names += f" and {len(self.left) - 8} more" if len(self.left) > 8 else ""
            notes.append(f"the keys {names} were left out" if len(self.left) > 1 else f"the key {names} was left out")
        return [f"{path}: {note}." for note in notes]


def json_rows(values: Iterable[tuple[int, Any]], path: Path) -> JsonRows:
    """The rows of JSON objects, and sentences on their keys.

    Hugging Face writes objects as {"objects": {"bbox": [...], "category": ["cat", "dog"]}} too. The keys mean what
    columns of the same names do, see `dsrg.data.label_columns`, and null, or no such key, is an empty cell. But no key
    is a class, and of several keys that may hold the labels none is taken for the numbers of another's.

    Args:
        values: The number of each object's line, and the object.
        path: The file, for the error.

    Raises:
        InputError: its keys are not known, or one says something of the labels that cannot be followed.
    """
    keys_of = functools.lru_cache(maxsize=64)(_keys_of)  # nearly all lines have the same
    seen = _Seen()
    lines: list[_Line] = []
    for number, value in values:
        if not isinstance(value, dict):
            raise fault(path, f"line {number} is no JSON object; {GIVE}")
        if not value:
            raise fault(path, f"line {number} is an empty object; give it 'file_name' and 'labels', or remove it")
        if isinstance(value.get("objects"), dict):
            value = value | {f"{_OBJECTS}{name}": part for name, part in value["objects"].items()}
        keys = keys_of(tuple(value))
        if isinstance(keys, str):
            raise fault(path, f"line {number} has {keys}")
        weight = next((name for name in keys.weights if not label_columns.is_sure(value[name])), None)
        if weight is not None:
            raise fault(path, label_columns.weight_sentence("key", weight, value[weight], number))
        given = {name: _labels(value[name], name, number, path) for name in keys.labels}
        given = {name: own for name, own in given.items() if own not in ("", [])}
        seen.add(value, keys, given)
        image = value[keys.image]
        labels = list(given.values()) or [""]
        if not isinstance(image, str) or not image.strip():
            image, labels = "", [fault(path, f"line {number} has no photograph's name; correct it")]
        cells = ["" if name is None else _cell(value[name]) for name in (keys.holds, keys.split)]
        lines.append(_Line(number, image.strip(), labels, *cells))
    seen.check(path)
    what = f"key {shown(seen.split)}"
    splits, said = table_rows.follow([line.split for line in lines], [line.number for line in lines], what, path)
    rows = [row for line, split in zip(lines, splits, strict=True) for row in _rows(line, split, seen.holds, path)]
    together = bool(seen.holds) or seen.has_boxes
    return JsonRows(rows, [*seen.notes(lines, path), *said], together, len(seen.joined) > 1)


def _rows(line: _Line, split: str, holds_name: str, path: Path) -> list[Raw]:
    """The rows of a line: one for each key of labels."""
    labels = line.labels
    holds = table_rows.read_holds(line.holds, "key", holds_name, line.number, path) if holds_name else True
    if isinstance(holds, InputError):
        labels = [holds]
    holding = holds is not False
    return [table_rows.named(line.image, own, line.number, path, split, holds=holding) for own in labels]


def _keys_of(names: tuple[str, ...]) -> _Keys | str:
    """What keys mean, or which ones there are of which none or several are known."""
    own = [name for name in names if not name.startswith(_OBJECTS)]
    by_key: dict[str, list[str]] = {}
    for name in own:
        by_key.setdefault(key(name), []).append(name)

    def given(wanted: Iterable[str]) -> list[str]:
        return [name for word in map(key, wanted) for name in by_key.get(word, ())]

    images, holds, splits, labels = map(given, (columns.IMAGE, label_columns.HOLDS, columns.SPLIT, columns.LABEL))
    further = [name for name in own if stem(name) in columns.LABELS]
    called = labels or further[:1] or given(columns.NUMBER)[:1]
    lifted = [] if called else [name for name in names if key(name.removeprefix(_OBJECTS)) in columns.LABELS]
    called = called or lifted
    if not images or not called:
        return f"the keys {', '.join(map(shown, own[:8]))}, not 'file_name' and 'labels'; {GIVE}"
    for found in (images, holds, splits, called):
        if len(found) > 1 and key(found[0]) == key(found[1]):
            return _twice(found)
    if len(called) > 1 and key(called[0].removeprefix(_OBJECTS)) != columns.LABEL[0]:
        return _twice(called)
    numbered = [name for name in further if name != called[0] and stem(name) != key(name)]
    taken = [called[0], *(name for name in numbered if label_columns.are_of_one(name, called[0]))]
    used = {images[0], *taken, *holds[:1], *splits[:1], *(["objects"] if lifted else [])}
    left = [name for name in (names if lifted else own) if name not in used]
    return _Keys(
        image=images[0],
        labels=taken,
        holds=next(iter(holds), None),
        split=next(iter(splits), None),
        weights=[name for name in own if label_columns.is_weight(name)],
        left=left,
        are_numbered=not labels and bool(further),
        has_boxes=columns.has_boxes(by_key),
    )


def _twice(names: list[str]) -> str:
    return f"several keys of the same meaning, {shown(names[0])} and {shown(names[1])}; rename one of them"


def _labels(value: Any, name: str, number: int, path: Path) -> str | list[str] | InputError:
    """What a key holds: a text to be divided, or labels."""
    if value is None:
        return ""
    if isinstance(value, str) and stem(name) in columns.ONES and divide.whole(value) != value:
        return [value]  # of several there would be a list
    if _is_number(value):
        return str(value)
    if isinstance(value, list):
        value = [str(label) if _is_number(label) else label for label in value]
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and all(isinstance(label, str) for label in value):
        return value
    return fault(path, f"line {number} has labels that are no text or list of texts; correct it")


def _cell(value: Any) -> str:
    """What a CSV would hold."""
    return "" if value is None else value.strip() if isinstance(value, str) else json.dumps(value)


def _is_number(value: Any) -> bool:
    """Whether it is a whole number, as the number of a class is."""
    return isinstance(value, int) and not isinstance(value, bool)
