"""The one rule by which the text of a table becomes labels: `cat;dog`, `cat|dog`, `cat, dog`, lists, `cat dog`.

Every reader of tables divides by this rule. What may be several things is never guessed at: a wrong guess makes a
class of `cat, dog`, or two of `traffic light`, and trains it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.labels import IGNORE, fault_of_name, is_unlabelled

DIVIDERS = (";", "|", ",", "\n", "\t", "\uff1b", "\uff0c", "\u3001", "\u060c")
"""What stands between labels, the semicolons and commas of other scripts among it; blanks do too, but only where a
table has none of these."""
HOW = "divide labels by semicolons, 'cat;dog', and put one behind a label that stands alone, 'traffic light;'"
"""What to do about labels in doubt."""
_OFTEN = "/\\+&:="
"""Letters that people divide by too, but that names have as well."""
_QUOTED = r"""(?:'[^'"\\]*'|"[^'"\\]*")"""
_LIST = re.compile(rf"\[\s*(?:{_QUOTED}\s*(?:,\s*{_QUOTED}\s*)*,?\s*)?\]")
_BLANK = " "
_AND = frozenset(("and", "or"))
_NOTHING = frozenset(("nan", "na", "n/a", "<na>", "#n/a", "null", "none", "-", "--"))
"""What programs and people write for a cell without a value; NA is R's."""


class Doubt(str):
    """Why a text may be several things, as a clause for a sentence."""

    __slots__ = ()


class _Part(NamedTuple):
    """One text, looked at alone."""

    labels: tuple[str, ...] | Doubt
    mark: str = ""
    """What divides it; 'list' for a list, 'known' where the class list decided, a blank where that is left to the table
    as a whole, '' for a label alone."""


def divide(
    texts: Sequence[str | list[str]], known: Collection[str] = (), *, single: bool = False
) -> tuple[list[tuple[str, ...] | Doubt], list[str]]:
    """Divide the texts of one table's column of labels.

    Where the classes are known, a text that is one's name stands alone, and one that is made of their names alone is
    divided so. Else one divider of DIVIDERS divides, or a list as JSON and Python write it. Where there is none in the
    whole table, blanks do. Where there is, a text with blanks and no divider is one label if another text has it as
    such, or if no other has any of its words; and several, if others have all of its words.

    Args:
        texts: As they stand in the table; or lists, where the table itself has such.
        known: The class list, where there is one.
        single: The column is of one label: blanks divide it only where its words are labels of their own, or numbers.

    Returns:
        Each text's labels, each once, in its order, or what makes it doubtful; and sentences on what was decided.
    """
    known = frozenset(known)
    parts = [_list(text) if isinstance(text, list) else _alone(text.strip(), known) for text in texts]
    marks: dict[str, int] = {}
    for position, part in enumerate(parts):
        if part.mark in DIVIDERS and len(part.labels) > 1:
            marks.setdefault(part.mark, position)
    ours = next(iter(marks), "")
    explicit = single or any(part.mark not in ("", _BLANK) for part in parts)
    own = {
        label for part in parts if part.mark != _BLANK and not isinstance(part.labels, Doubt) for label in part.labels
    }
    labels: list[tuple[str, ...] | Doubt] = []
    whole, split = "", ""
    for text, part in zip(texts, parts, strict=True):
        found = part.labels
        if isinstance(found, Doubt):
            pass
        elif part.mark == _BLANK and explicit and not known and not all(map(str.isdecimal, found)):
            found = _in_context(str(text).strip(), own)
            whole = whole or (str(text).strip() if len(found) == 1 and not isinstance(found, Doubt) else "")
        elif part.mark == _BLANK:
            split = split or str(text).strip()
        elif part.mark in marks and part.mark != ours and len(found) > 1:
            found = Doubt(f"are divided by {part.mark!r}, and '{_short(texts[marks[ours]])}' by {ours!r}")
        labels.append(_checked(found, part.mark))
    notes = []
    if split and not known:
        notes.append(f"'{_short(split)}' was divided at the blanks; end a label of several words with ';'.")
    if whole:
        why = "its words are no labels of their own" if own else "other labels are divided by more than blanks"
        notes.append(f"'{_short(whole)}' was read as one label, since {why}.")
    found_names = {label for found in labels if not isinstance(found, Doubt) for label in found}
    if found_names and not known and all(name.lstrip("+-").isdecimal() for name in found_names):
        notes.append(f"the labels are numbers, such as '{min(found_names)}', and become the names of the classes.")
    return labels, notes


def whole(text: str) -> str:
    """The text of one label, with what `divide` heeds behind it, if nothing but blanks could divide it."""
    blank = len(text.split()) > 1 and not any(mark in text for mark in DIVIDERS) and text.strip()[0] not in "[{("
    return f"{text.strip()};" if blank else text


def _alone(text: str, known: Collection[str]) -> _Part:
    if not text:
        return _Part(())
    if text in known:
        return _Part((text,), "known")
    if known:
        ways = {tuple(_pieces(text, mark)) for mark in (*DIVIDERS, None)}
        fitting = [way for way in ways if way and all(piece in known for piece in way)]
        if len(fitting) == 1:
            return _Part(fitting[0], "known")
    if text[0] in "[{(":
        return _list_in(text)
    marks = [mark for mark in DIVIDERS if mark in text]
    if len(marks) > 1:
        return _Part(Doubt(f"have both {marks[0]!r} and {marks[1]!r}"), "both")
    if marks:
        return _Part(tuple(dict.fromkeys(_pieces(text, marks[0]))), marks[0])
    words = tuple(dict.fromkeys(text.split()))
    if len(words) > 1 and any(word.casefold() in _AND or not any(map(str.isalnum, word)) for word in words):
        return _Part(Doubt("have a word between them"), _BLANK)
    return _Part(words, _BLANK) if len(text.split()) > 1 else _Part(words)


def _in_context(text: str, single: Collection[str]) -> tuple[str, ...] | Doubt:
    """A text with blanks and no other divider, in a table that has one elsewhere."""
    words = tuple(dict.fromkeys(text.split()))
    shared = [word for word in words if word in single]
    if text in single or not shared:
        return (text,)
    if len(shared) == len(words):
        return words
    return Doubt(f"have blanks alone, while other labels of the table are divided otherwise and one is '{shared[0]}'")


def _list_in(text: str) -> _Part:
    if _LIST.fullmatch(text):  # of JSON or of Python, without anything escaped
        return _list([item[1:-1] for item in re.findall(_QUOTED, text)])
    try:
        value = disk.parse_json(text, "", "")
    except InputError:
        value = None
    if not isinstance(value, list):
        return _Part(Doubt('begin as a list and are none of JSON or Python, such as ["cat", "dog"]'), "list")
    return _list(value)


def _list(items: list[str]) -> _Part:
    if not all(isinstance(item, str) for item in items):
        return _Part(Doubt("are a list of other things than texts"), "list")
    return _Part(tuple(dict.fromkeys(item.strip() for item in items if item.strip())), "list")


def _pieces(text: str, mark: str | None) -> list[str]:
    return [piece.strip() for piece in text.split(mark) if piece.strip()]


def _checked(labels: tuple[str, ...] | Doubt, mark: str) -> tuple[str, ...] | Doubt:
    """The labels, if all can be classes' names."""
    if isinstance(labels, Doubt):
        return labels
    if len(labels) >= IGNORE:
        return Doubt(f"are {len(labels)}, and {IGNORE - 1} classes are the most")
    for label in labels:
        if fault_of_name(label):
            return Doubt(f"have {label[:60]!a}, which {fault_of_name(label)}")
        if mark in ("list", "known"):
            continue
        if mark != ";" and (label.casefold() in _NOTHING or is_unlabelled(label)):
            return Doubt(f"have {label!r}, which says that there is none: leave them empty")
        if label[0] in "[{(<\"'`" or label[-1] in "]}>\"'`":
            return Doubt(f"have quotes or brackets about '{_short(label)}'")
        doubtful = next((letter for letter in label if letter in _OFTEN), "")
        if doubtful and mark != ";":
            return Doubt(f"have {doubtful!r}, which may divide them or be a part of one")
    return labels


def _short(text: str | list[str]) -> str:
    shown = " ".join(str(text).split())
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
