"""Which columns of a table hold labels, which says whether a label holds, and which are left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from dsrg.data.columns import LABEL, NUMBER, OFF, ON, SPLIT, UNNAMED, Sheet, fault, key, stem
from dsrg.data.divide import DIVIDERS
from dsrg.data.ids import shown

HOLDS = ("present", "is_present", "presence", "exists", "holds")
"""What a column may be called of 1 where the label of its row holds, and 0 where it does not; see `columns.key`."""
WEIGHT = ("confidence", "score", "probability", "prob", "conf", "certainty", "verified", "is_verified")
"""Likewise one of how sure a label is, which no rule turns into a label that holds or does not."""
_WEIGHT_ENDINGS = ("confidence", "score", "probability", "prob", "certainty")
"""What the names of such columns end in: label_confidence."""
_SURE = ("", "1", "1.0", "true")


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
    _check_weights(sheet, WEIGHT, () if first is None else _WEIGHT_ENDINGS)
    if first is None:
        return None
    labels = [place for place in range(len(sheet.names)) if place == first or _is_further(sheet, first, place)]
    _check_alike(sheet, labels)
    labels += _unnamed(sheet, labels, known)
    holds = sheet.place(HOLDS)
    notes = []
    if len(labels) > 1:
        notes.append(f"{sheet.path}: the columns {_listed(sheet, labels)} hold labels; a photograph has those of each.")
    if holds is not None:
        off = sum(cell.casefold() in OFF for cell in sheet.column(holds))
        said = f"'{sheet.names[holds]}' says whether a label holds; {off} of {len(sheet.rows)} rows say that it does"
        notes.append(f"{sheet.path}: the column {said} not.")
    used = (image, holds, sheet.place(SPLIT), *labels)
    left = [place for place in range(len(sheet.names)) if place not in used and sheet.has_cells(place)]
    if left:
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        what = f"the columns {_listed(sheet, left[:8])}{more} were left out"
        notes.append(f"{sheet.path}: {what}; the labels are those in {_listed(sheet, labels)}.")
    return LabelColumns(labels, holds, notes)


def is_weight(name: str) -> bool:
    """Whether a column or key beside a label says how sure it is."""
    return stem(name) in map(key, WEIGHT) or stem(name).endswith(_WEIGHT_ENDINGS)


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
    there = [place for place, name in enumerate(keys) if name in map(key, LABEL)]
    if first is None:
        numbered = [place for place, name in enumerate(sheet.names) if stem(name) in map(key, LABEL)]
        marks = {cell.casefold() for place in numbered for cell in sheet.column(place)}
        if numbered and not marks <= {*ON, *OFF, "", "-1"}:  # else each may be a class
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
    return numbered and stem(name) in map(key, LABEL) and sheet.has_cells(place)


def _check_alike(sheet: Sheet, labels: Sequence[int]) -> None:
    """Refuse columns of which one has names and another numbers, which may be those of the same labels."""
    of_numbers = {place: all(cell.isdecimal() for cell in sheet.column(place) if cell) for place in labels}
    if len({*of_numbers.values()}) > 1:
        number = sheet.names[next(place for place, only in of_numbers.items() if only)]
        names = sheet.names[next(place for place, only in of_numbers.items() if not only)]
        sentence = f"has names in the column '{names}' and numbers in '{number}'; remove '{number}' if it numbers them"
        raise fault(sheet.path, f"{sentence}, or write names in both")


def _unnamed(sheet: Sheet, labels: Sequence[int], known: Collection[str]) -> list[int]:
    """The columns without a name right behind the last of the labels.

    Raises:
        InputError: one holds something that is no label elsewhere.
    """
    divider = f"[{re.escape(''.join(DIVIDERS))}]"
    cells = [cell for place in labels for cell in sheet.column(place)]
    own = {*known, *cells, *(part.strip() for cell in cells for part in re.split(divider, cell))}
    found = []
    for place in range(labels[-1] + 1, len(sheet.names)):
        if sheet.names[place] and stem(sheet.names[place]) != UNNAMED:
            break
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


def _check_weights(sheet: Sheet, exact: Sequence[str], endings: tuple[str, ...]) -> None:
    """Refuse a column of how sure labels are, unless it holds 1 alone."""
    for place, name in enumerate(sheet.names):
        if not (stem(name) in map(key, exact) or (endings and stem(name).endswith(endings))):
            continue
        row = next((row for row, cell in enumerate(sheet.column(place)) if cell.casefold() not in _SURE), None)
        if row is not None:
            where = f"{shown(sheet.column(place)[row])} in line {sheet.rows[row][0]}"
            raise fault(sheet.path, weight_sentence("column", name, where))


def weight_sentence(what: str, name: str, where: str) -> str:
    """What is wrong with a column or key of how sure labels are, and what to do."""
    return f"has a {what} '{name}', which is not heeded ({where}); keep the labels that hold and remove the {what}"


def _listed(sheet: Sheet, places: Sequence[int]) -> str:
    return ", ".join(
        f"'{sheet.names[place]}'" if sheet.names[place] else f"'' (column {place + 1})" for place in places
    )
