"""Photographs with labels of any kind: from a CSV, or from one folder for each label."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsrg.data.photograph import describe_left_out, is_system, walk
from dsrg.data.voc import Photo
from dsrg.errors import InputError


class Labelled(NamedTuple):
    """Photographs and the names of their labels."""

    photos: list[Photo]
    """Their tags are (K + 1,): column 0 is always True, as everywhere, column k + 1 belongs to label k."""
    names: tuple[str, ...]
    """The K labels, in alphabetical order."""

    @property
    def tags(self) -> np.ndarray:
        """(N, K) bool, which photograph has which label."""
        return np.stack([photo.tags[1:] for photo in self.photos])


def read_labelled(source: Path, directory: Path | None = None) -> Labelled:
    """Read which photograph has which labels; the photographs themselves are not decoded here.

    Args:
        source: A folder with one folder for each label, which holds its photographs at any depth; or a CSV in UTF-8
            with the columns image (a file name, or its stem) and labels. Labels are divided by ';' if any line of the
            file has one, else by blanks: a label with a blank in it needs a ';' somewhere ("golden retriever;").
        directory: Folder of the CSV's photographs; None for the CSV's own.

    Raises:
        InputError: the source or a photograph is missing, a photograph is listed twice or has no label, or there are
            fewer than two labels.
    """
    if source.is_dir():
        labels = _from_folders(source)
    elif source.is_file():
        labels = _from_csv(source, directory or source.parent)
    else:
        raise InputError(f"{source}: does not exist; give a CSV 'image,labels', or a folder with one folder a label.")
    names = tuple(sorted({name for own in labels.values() for name in own}))
    if len(names) < 2:
        raise InputError(f"{source}: holds {len(names)} labels; there must be two at least to tell apart.")
    root = source if source.is_dir() else (directory or source.parent)
    photos = []
    for path, own in labels.items():
        tags = np.isin(np.array(["", *names]), own)
        tags[0] = True
        photos.append(Photo(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name, path, tags))
    return Labelled(photos, names)


def _from_folders(root: Path) -> dict[Path, list[str]]:
    labels: dict[Path, list[str]] = {}
    above = walk(root, recursive=False)
    if above.photographs:
        raise InputError(f"{above.photographs[0]}: lies in no label's folder; move it into one.")
    for sentence in describe_left_out(root, above.others, above.skipped):
        warnings.warn(sentence, stacklevel=3)
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not is_system(path.name)):
        files = _photographs(folder, recursive=True)
        if not files:
            raise InputError(f"{folder}: holds no photograph; add some of '{folder.name}', or remove the folder.")
        labels |= {path: [folder.name] for path in files}
    return labels


def _from_csv(source: Path, directory: Path) -> dict[Path, list[str]]:
    rows = read_rows(source)
    divider = ";" if any(";" in text for _, text in rows) else None
    if not directory.is_dir():
        raise InputError(f"{directory}: the folder of photographs does not exist; check the path.")
    stems = {path.stem: path for path in reversed(_photographs(directory))}
    labels: dict[Path, list[str]] = {}
    for image, text in rows:
        path = _find(image, directory, stems, source)
        if path in labels:
            raise InputError(f"{source}: '{image}' is listed twice; write its labels on one line.")
        labels[path] = [name.strip() for name in text.split(divider) if name.strip()]
        if not labels[path]:
            raise InputError(f"{source}: '{image}' has no label; write one, or remove the line.")
    return labels


def read_rows(source: Path) -> list[tuple[str, str]]:
    """The columns image and labels of a CSV, as they are.

    Raises:
        InputError: the file is no CSV in UTF-8, or lacks a column.
    """
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"image", "labels"} <= set(reader.fieldnames or ()):
                raise InputError(f"{source}: the first line must be 'image,labels'.")
            rows = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{source}: not a readable CSV in UTF-8 ({error}); save it anew.") from None
    for row in rows:
        if None in row:  # what stands behind the last column
            raise InputError(f"{source}: '{row['image']}' has a comma too many; divide labels by semicolons.")
    return [((row["image"] or "").strip(), row["labels"] or "") for row in rows]


def _find(image: str, directory: Path, stems: Mapping[str, Path], source: Path) -> Path:
    path = directory / image
    if image and path.is_file():
        return path
    if image in stems:
        return stems[image]
    raise InputError(f"{path}: the photograph does not exist, but {source} names it; add the file or remove the line.")


def _photographs(folder: Path, *, recursive: bool = False) -> Sequence[Path]:
    found = walk(folder, recursive=recursive).check()
    others = [path for path in found.others if path.suffix.lower() != ".csv"]  # the table may lie there too
    for sentence in describe_left_out(folder, others, found.skipped):
        warnings.warn(sentence, stacklevel=2)
    return found.photographs
