"""A table's columns: the cells of a CSV in its dialects, and what columns mean by the names that tools give them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dsrg.data.ids import shown
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.files.pictures import IMAGE_EXTENSIONS

IMAGE = (
    *("image", "file_name", "image_name", "image_path", "img_path", "image_file", "image_file_name", "img_name", "img"),
    *("file_path", "file_paths", "path", "file", "photo", "photograph", "picture", "fname", "image_index"),
    *("image_id", "img_id", "photo_id", "id"),
)
"""What the column of the photographs may be called, the first that is there; case, blanks and '_' do not count."""
LABEL = (
    *("labels", "label", "tags", "tag", "classes", "class", "label_names", "label_name", "class_names", "class_name"),
    *("categories", "category", "category_names", "category_name", "tag_names", "tag_name", "species", "breed"),
    *("finding_labels", "choices", "choice", "ground_truth", "targets", "target"),
)
"""Likewise that of the labels; but for the first, two of them at once are refused, unless one numbers the other."""
NUMBER = ("class_id", "class_ids", "category_id", "label_id", "class_index", "class_idx", "label_index", "label_idx")
"""Likewise that of the classes' numbers, where there is no column of labels."""
ONE = ("label", "label_name", "class", "class_name", "category", "category_name", "species", "breed")
"""Those of LABEL that name one thing: blanks in it divide only where they do elsewhere."""
SPLIT = ("split", "subset", "data_set", "partition", "set")
"""Likewise that of the splits, where all that it holds are splits' names."""
ON = frozenset(("1", "1.0", "true", "yes", "y", "x", "✓"))
OFF = frozenset(("0", "0.0", "false", "no", "n"))
"""What the cells hold of a column that says whether something holds, in any case."""
NO_CLASS = {
    *("width", "height", "image_width", "image_height", "img_width", "img_height", "size", "url", "image_url"),
    *("source", "license", "author", "index", "unnamed_0", "date", "timestamp", "md5", "rotation", "is_train"),
    *("is_valid", "is_val", "is_test", "valid", "fold", "kfold", "k_fold", "file_size", "region_count", "region_id"),
}
"""Columns that are no class, where a table has one for each."""
_BOX = ({"xmin", "ymin"}, {"x1", "y1"}, {"xtl", "ytl"}, {"left", "top"}, {"x", "y"}, {"bbox"}, {"bboxes"}, {"boxes"})
_RUNS = {"encodedpixels"}
"""The column of a mask's runs, as Kaggle's competitions have them: a row is an object too."""
UNNAMED = "unnamed"
"""What pandas calls a column without a name, with its number; see `stem`."""
UNREADABLE = "labels unreadable"
"""The kind of fault of a table."""
NO_TABLE = "no table of labels"
"""The kind of fault of a table whose first line is not known."""
LONGEST_LINE = disk.MIB
"""Letters of a line."""
DELIMITERS = (",", ";", "\t")
_SEP = re.compile(r"sep=.\n", re.IGNORECASE)


def key(name: str) -> str:
    """A column's name to compare: without case, and without what is no letter or digit."""
    return re.sub(r"[\W_]+", "", name.casefold())


def stem(name: str) -> str:
    """The same without a number at its end, as columns of one kind have it: label1, tag_2, pandas' labels.1."""
    return key(name).rstrip("0123456789")


IMAGES, LABELS, NUMBERS, ONES = (frozenset(map(key, names)) for names in (IMAGE, LABEL, NUMBER, ONE))
"""What `key` makes of the names."""


def is_number(cell: str) -> bool:
    """Whether a cell is a number of any kind."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def has_boxes(keys: Collection[str]) -> bool:
    """Whether rows with columns of these keys are objects, so that a photograph may have several."""
    return any(names <= {*keys} for names in (*_BOX, _RUNS))


class Sheet(NamedTuple):
    """The cells of a CSV."""

    names: list[str]
    """The first line."""
    rows: list[tuple[int, list[str]]]
    """Each further line's number and cells."""
    path: Path

    @property
    def keys(self) -> list[str]:
        """The names to compare."""
        return list(map(key, self.names))

    def place(self, wanted: Sequence[str]) -> int | None:
        """The column that has the first of the names that is there; None where none is.

        Raises:
            InputError: two columns have it.
        """
        keys = self.keys
        there = [name for name in map(key, wanted) if name in keys]
        if not there:
            return None
        if keys.count(there[0]) > 1:
            twice = self.names[keys.index(there[0])]
            raise fault(self.path, f"its first line has several columns of the same meaning, '{twice}'; rename one")
        return keys.index(there[0])

    def column(self, place: int) -> list[str]:
        """The cells of a column; empty where a line is too short."""
        return [row[place].strip() if place < len(row) else "" for _, row in self.rows]

    def has_cells(self, place: int) -> bool:
        """Whether a column holds anything."""
        return any(place < len(row) and row[place].strip() for _, row in self.rows)

    def has_numbers(self, place: int) -> bool:
        """Whether all that a column holds is whole numbers."""
        return all(map(str.isdecimal, filter(None, self.column(place))))

    @property
    def has_boxes(self) -> bool:
        """Whether its rows are objects, so that a photograph may have several."""
        return has_boxes(self.keys)


def read_sheet(text: str, path: Path) -> Sheet:
    """Read a CSV with commas, semicolons or tabs, whichever alone gives columns that are known (see `rank`).

    Raises:
        InputError: none or several do, or a line is broken or too long.
    """
    text = _SEP.sub("", text, count=1) if text[:4].casefold() == "sep=" else text  # Excel's word for the delimiter
    head = next((line for line in text.split("\n", 1000) if line.strip()), "")
    if len(head) > LONGEST_LINE:
        raise fault(path, f"its first line has more than {LONGEST_LINE:,} letters; check the file")
    ranks = {delimiter: rank(split(head, delimiter)) for delimiter in DELIMITERS}
    best = [delimiter for delimiter in DELIMITERS if ranks[delimiter] == max(ranks.values()) > 0]
    if not head:
        raise fault(path, "is empty, but the first line must be 'image,labels'; export or save it anew")
    if len(best) != 1:
        raise header_fault(path, head)
    lines = csv.reader(_lines(text, path), delimiter=best[0], strict=True, skipinitialspace=True)
    try:
        names = next(row for row in lines if any(cell.strip() for cell in row))
        rows = [(lines.line_num, row) for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise fault(
            path, f"line {lines.line_num} is no line of a CSV ({error}); save the table anew, in Excel as 'CSV UTF-8'"
        ) from None
    return Sheet([name.strip() for name in names], rows, path)


def rank(names: Sequence[str]) -> int:
    """How well the names of columns are known: 2 with photographs and labels, 1 with photographs and two others."""
    keys = list(map(key, names))
    if not {*keys} & IMAGES:
        return 0
    has_labels = {*keys, *map(stem, names)} & (LABELS | NUMBERS)
    return 2 if has_labels else int(sum(map(bool, keys)) > 2)


def lines_of(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text and their numbers; raises InputError for one that is too long."""
    for number, line in enumerate(io.StringIO(text), 1):
        if len(line) > LONGEST_LINE:
            raise fault(path, f"line {number} has more than {LONGEST_LINE:,} letters; check the file")
        yield number, line


def header_fault(path: Path, head: str, why: str = "") -> InputError:
    """The sentence for a first line that is not known: what was found, and what is read."""
    names = max((split(head, delimiter) for delimiter in DELIMITERS), key=len)
    if not why and any(Path(name).suffix.lower() in IMAGE_EXTENSIONS for name in names):
        why = "; it names a photograph and no columns: write that line above it"
    elif not why:
        keys = {*map(key, names)}
        lacking = [
            f"{what} ({', '.join(known[:6])} …)"
            for what, known in (("photographs", IMAGE), ("labels", LABEL))
            if not keys & {*map(key, known)}
        ]
        why = f"; no column is known for the {' nor for the '.join(lacking)}" if lacking else ""
        why += ": rename it, or give each class a column of 0 and 1"
    sentence = f"{path}: the first line must be 'image,labels', but it is {shown(head, 80)}{why}."
    return InputError(sentence, NO_TABLE)


def fault(path: Path, sentence: str) -> InputError:
    """The fault of a table."""
    return InputError(f"{path}: {sentence}.", UNREADABLE)


def split(head: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([head], delimiter=delimiter, strict=True, skipinitialspace=True), [])
    except csv.Error:
        return []


def _lines(text: str, path: Path) -> Iterator[str]:
    for _, line in lines_of(text, path):
        yield line
