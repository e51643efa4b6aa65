"""Tables with a column for each class: 1 where the photograph shows it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dsrg.data.columns import IMAGE, NO_CLASS, OFF, ON, SPLIT, UNNAMED, Sheet, fault, header_fault, is_number, key, stem
from dsrg.data.ids import shown
from dsrg.data.mask_folders import VOID_NAMES
from dsrg.errors import InputError
from dsrg.labels import is_unlabelled

NEGATIVE = frozenset(("-1", "-1.0"))
"""Not there, where a table has neither 0 nor empty cells, as CelebA's; else it may be 'uncertain', as CheXpert's is."""


def classes_of(sheet: Sheet, image: int, known: Collection[str]) -> tuple[dict[int, str], list[str]]:
    """The columns that are classes and their names, and sentences on the others.

    Args:
        sheet: The table.
        image: Its column of the photographs.
        known: The class list, where there is one.

    Raises:
        InputError: there is none, two are one, one is not known, or one holds anything but 0 and 1.
    """
    aside = {key(name) for name in (*IMAGE, *NO_CLASS, *SPLIT, *VOID_NAMES)}
    named = {place: name for place, name in enumerate(sheet.names) if name and place != image}
    left = [
        place
        for place, name in named.items()
        if name not in known
        and (
            key(name) in aside
            or is_unlabelled(name)
            or stem(name) == UNNAMED
            or (not known and _is_no_class(sheet.column(place)))
        )
    ]
    names = {place: name for place, name in named.items() if place not in left}
    if not sheet.rows or not names or (known and not {*names.values()} & {*known}):
        raise header_fault(sheet.path, ",".join(sheet.names))
    if len({*names.values()}) < len(names) or (known and not {*names.values()} <= {*known}):
        why = "; the columns of 0 and 1 must be the classes, each once"
        raise header_fault(sheet.path, ",".join(sheet.names), why)
    listed = ", ".join(list(names.values())[:6]) + (" …" if len(names) > 6 else "")
    notes = [f"{sheet.path}: read as a table with a column of 0 and 1 for each of {len(names)} classes: {listed}."]
    if left:
        listed = "', '".join(named[place] for place in left[:5])
        notes.append(f"{sheet.path}: the columns '{listed}' were taken for no classes.")
    return names, notes


def labels_of(sheet: Sheet, names: Mapping[int, str]) -> list[list[str] | InputError]:
    """The classes that each row marks, or what is wrong with it.

    A cell is 1 or 0, or another of ON and OFF. Empty cells are 0 where the table marks what is there alone.

    Args:
        sheet: The table.
        names: The columns that are classes.
    """
    cells = {place: [cell.casefold() for cell in sheet.column(place)] for place in names}
    values = set().union(*cells.values())
    off = set(OFF)
    if not values & OFF:
        off |= NEGATIVE if "" not in values else {""}
    found: list[list[str] | InputError] = []
    for index, (number, row) in enumerate(sheet.rows):
        wrong = next((place for place in names if cells[place][index] not in ON | off), None)
        if len(row) <= max(names) or any(cell.strip() for cell in row[len(sheet.names) :]):
            sentence = f"line {number} has {len(row)} columns, and the first {len(sheet.names)}; correct it"
            found.append(fault(sheet.path, sentence))
        elif wrong is not None:
            sentence = f"line {number} has {shown(row[wrong].strip())} in the column '{names[wrong]}', which must be "
            found.append(fault(sheet.path, f"{sentence}0 or 1; correct it, or remove the column"))
        else:
            found.append([name for place, name in names.items() if cells[place][index] in ON])
    return found


def _is_no_class(cells: list[str]) -> bool:
    """Whether a column is empty or holds words, and so is no class's: none of its cells is a number or a mark."""
    return not any(cell.casefold() in ON | OFF or is_number(cell) for cell in cells if cell)
