"""Which columns of a table hold labels, which says whether a label holds, and which are left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from dsrg.data.columns import LABEL, LABELS, NUMBER, OFF, ON, SPLIT, UNNAMED, Sheet, fault, is_number, key, stem
from dsrg.data.divide import Doubt, divide
from dsrg.data.ids import shown

HOLDS = ("present", "is_present", "presence", "exists", "holds")
"""What a column may be called of 1 where the label of its row holds, and 0 where it does not; see `columns.key`."""
WEIGHT = ("confidence", "score", "probability", "prob", "conf", "certainty", "verified", "is_verified")
"""Likewise one of how sure a label is, which no rule turns into a label that holds or does not."""
_WEIGHTS = frozenset(map(key, WEIGHT))
_WEIGHT_WORDS = frozenset(("confidence", "score", "probability", "prob", "conf", "certainty"))
"""The last words of the names of such columns: label_confidence, labelScore. What ends in one is another word,
`underscore`."""
_WEIGHT_ENDINGS = ("confidence", "probability")
"""What their last words may end in, since no other word does: labelconfidence."""
_WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])")
"""A word of a name: AIScore has two."""


class LabelColumns(NamedTuple):
    """What the columns of a table mean that has some of labels."""

    labels: list[int]
    holds: int | None
    """The column of HOLDS."""
    notes: list[str]
    """Sentences for the user: which were joined, followed and left out."""


def find(sheet: Sheet, image: int, known: Collection[str] = ()) -> LabelColumns | None:
    """Find the columns of labels; None for a table that has none, but one of 0 and 1 for each class perhaps.

    Several are labels if they have one name and numbers behind it: label1 and label2, tag and tag2, pandas' labels.1;
    and so are columns without a name right behind, if all that they hold are labels of the others, or known.

    Args:
        sheet: The table.
        image: Its column of the photographs.
        known: The class list, where there is one.

    Raises:
        InputError: several columns may hold the labels, or a column says something of them that cannot be followed.
    """
    first = _first(sheet)
    _check_weights(sheet, has_labels=first is not None)
    if first is None:
        return None
    further = [place for place in range(len(sheet.names)) if place != first and _is_further(sheet, first, place)]
    # An empty one says nothing of what the others hold; alone, it is the column of the labels still.
    labels = sorted([first, *further]) if sheet.has_cells(first) or not further else further
    numbers = [(sheet.names[place], sheet.has_numbers(place)) for place in labels]
    check_alike(sheet.path, "column", numbers)
    labels += _unnamed(sheet, labels, known)
    holds = sheet.place(HOLDS)
    return LabelColumns(labels, holds, _notes(sheet, image, labels, holds))


def is_weight(name: str, *, has_labels: bool = True) -> bool:
    """Whether a column or key says how sure a label is.

    Args:
        name: The column's or key's name.
        has_labels: There are columns of labels beside it; else each column may be a class, so that the last word of its
            name does not count.
    """
    if stem(name) in _WEIGHTS:
        return True
    last = "".join(_WORD.findall(name)[-1:]).casefold()
    return has_labels and (last in _WEIGHT_WORDS or last.endswith(_WEIGHT_ENDINGS))


def is_sure(cell: object) -> bool:
    """Whether such a column or key says nothing against the label: it is empty, null, 1 or 'yes'."""
    text = "" if cell is None else str(cell).strip().casefold()
    return text in ("", *ON) or (is_number(text) and float(text) == 1)


def weight_sentence(what: str, name: str, cell: object, line: int) -> str:
    """What is wrong with a column or key of how sure labels are, and what to do."""
    mend = f"keep only the labels that are true and remove the {what}"
    return f"has a {what} {shown(name)}, which dsrg cannot use (line {line} has {shown(str(cell))}); {mend}"


def are_of_one(one: str, other: str) -> bool:
    """Whether two names of columns differ in their number alone, or in an s at the end too."""
    return stem(one).rstrip("s") == stem(other).rstrip("s")


def _first(sheet: Sheet) -> int | None:
    """The first column of the labels; of two of which one numbers the other's names, that of the names.

    Raises:
        InputError: several columns may hold them.
    """
    keys = sheet.keys
    first = sheet.place(LABEL)
    there = [place for place, name in enumerate(keys) if name in LABELS]
    if first is None:
        numbered = [place for place, name in enumerate(sheet.names) if stem(name) in LABELS]
        cells = {cell for place in numbered for cell in sheet.column(place)}
        # Marks and numbers alone, and each column may be a class: then what is neither 0 nor 1 is refused.
        if not all(cell.casefold() in ("", *ON, *OFF) or is_number(cell) for cell in cells):
            return numbered[0]
        return sheet.place(NUMBER)
    if len(there) == 1 or keys[first] == LABEL[0]:
        return first
    if len(there) == 2:
        named = _named(sheet, *there)
        if named is not None:
            return named
    twice = "' and '".join(sheet.names[place] for place in there[:2])
    raise fault(sheet.path, f"its first line has several columns of the same meaning, '{twice}'; rename one of them")


def _named(sheet: Sheet, one: int, other: int) -> int | None:
    """Of two columns that stand for each other that of the names, the other's being numbers; else None."""
    pairs = {*zip(sheet.column(one), sheet.column(other), strict=True)}
    if len({first for first, _ in pairs}) < len(pairs) or len({second for _, second in pairs}) < len(pairs):
        return None
    numbers = [all(pair[side].isdecimal() for pair in pairs) for side in (0, 1)]
    return {(True, False): other, (False, True): one}.get((numbers[0], numbers[1]))


def _is_further(sheet: Sheet, first: int, place: int) -> bool:
    """Whether a column is a numbered one of that of the labels, and holds anything."""
    name = sheet.names[place]
    numbered = stem(name) != key(name) and are_of_one(name, sheet.names[first])
    return numbered and stem(name) in LABELS and sheet.has_cells(place)


def check_alike(path: Path, what: str, of_numbers: Sequence[tuple[str, bool]]) -> None:
    """Refuse columns or keys of which one has names and another numbers, which may be those of the same labels.

    Args:
        path: The table.
        what: 'column' or 'key'.
        of_numbers: The name of each, and whether it holds numbers alone.

    Raises:
        InputError: there are both.
    """
    number = next((name for name, only in of_numbers if only), None)
    names = next((name for name, only in of_numbers if not only), None)
    if number is not None and names is not None:
        sentence = f"has names in the {what} {shown(names)} and numbers in {shown(number)}"
        raise fault(path, f"{sentence}; remove {shown(number)} if it numbers them, or write names in both")


def _unnamed(sheet: Sheet, labels: Sequence[int], known: Collection[str]) -> list[int]:
    """The columns without a name right behind the last of the labels.

    Raises:
        InputError: one holds something that is no label elsewhere.
    """
    behind = []
    for place in range(labels[-1] + 1, len(sheet.names)):
        if sheet.names[place] and stem(sheet.names[place]) != UNNAMED:
            break
        behind.append(place)
    if not behind:
        return []
    cells = [cell for place in labels for cell in sheet.column(place)]
    divided, _ = divide(cells, known, single=True)
    own = {*known, *cells, *(label for part in divided if not isinstance(part, Doubt) for label in part)}
    found = []
    for place in behind:
        column = sheet.column(place)
        odd = next((row for row, cell in enumerate(column) if cell not in own and cell), None)
        if odd is not None:
            labels_name = sheet.names[labels[0]]
            sentence = f"line {sheet.rows[odd][0]} has {shown(column[odd])} in a column without a name behind "
            mend = f"call it '{labels_name}2' if it holds labels, or remove it"
            raise fault(sheet.path, f"{sentence}'{sheet.names[labels[-1]]}'; {mend}")
        if any(column):
            found.append(place)
    return found


def _check_weights(sheet: Sheet, *, has_labels: bool) -> None:
    """Refuse a column of how sure labels are, unless its cells are 1, 'yes' or the like, or empty (`is_sure`)."""
    for place, name in enumerate(sheet.names):
        if not is_weight(name, has_labels=has_labels):
            continue
        for (line, _), cell in zip(sheet.rows, sheet.column(place), strict=True):
            if not is_sure(cell):
                raise fault(sheet.path, weight_sentence("column", name, cell, line))


def _notes(sheet: Sheet, image: int, labels: Sequence[int], holds: int | None) -> list[str]:
    """Sentences for the user: which columns were joined, followed and left out."""
    notes = []
    if len(labels) > 1:
        notes.append(f"{sheet.path}: the columns {_listed(sheet, labels)} hold labels; a photograph has those of each.")
    if holds is not None:
        off = sum(cell.casefold() in OFF for cell in sheet.column(holds))
        notes.append(f"{sheet.path}: {holds_sentence('column', sheet.names[holds], off, len(sheet.rows))}.")
    used = (image, holds, sheet.place(SPLIT), *labels)
    left = [place for place in range(len(sheet.names)) if place not in used and _is_told(sheet, place)]
    if left:
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        what = f"the columns {_listed(sheet, left[:8])}{more} were" if len(left) > 1 else None
        what = what or f"the column {_listed(sheet, left)} was"
        notes.append(f"{sheet.path}: {what} left out; the labels are those in {_listed(sheet, labels)}.")
    return notes


def holds_sentence(what: str, name: str, off: int, rows: int) -> str:
    """That a column or key says whether labels hold, and in how many rows it says that one does not."""
    return f"the {what} {shown(name)} says whether a label holds; in {off} of {rows} rows it does not"


def _is_told(sheet: Sheet, place: int) -> bool:
    """Whether a column that is left out is worth a word: it holds something, and is no index that pandas wrote."""
    unnamed = not sheet.names[place] or stem(sheet.names[place]) == UNNAMED
    return sheet.has_cells(place) and not (unnamed and sheet.has_numbers(place))


def _listed(sheet: Sheet, places: Sequence[int]) -> str:
    return ", ".join(
        f"'{sheet.names[place]}'" if sheet.names[place] else f"'' (column {place + 1})" for place in places
    )
