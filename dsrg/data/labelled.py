"""Photographs with labels of any kind: from a table, or from one folder for each label."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsrg.data.class_folders import read_class_folders
from dsrg.data.photograph import PhotoIndex, describe_left_out, find_photographs
from dsrg.data.table import read_labels
from dsrg.data.voc import Photo
from dsrg.errors import InputError


class Labelled(NamedTuple):
    """Photographs and the names of their labels."""

    photos: list[Photo]
    """Their tags are (K + 1,): column 0 is always True, as everywhere, column k + 1 belongs to label k."""
    names: tuple[str, ...]
    """The K labels, in alphabetical order."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: what was decided when labels were divided."""

    @property
    def tags(self) -> np.ndarray:
        """(N, K) bool, which photograph has which label."""
        return np.stack([photo.tags[1:] for photo in self.photos])


def read_labelled(source: Path, directory: Path | None = None) -> Labelled:
    """Read which photograph has which labels; the photographs themselves are not decoded here.

    Args:
        source: A folder with one folder of photographs for each label; or a table (see `dsrg.data.table.read_labels`),
            which names photographs as `PhotoIndex` finds them.
        directory: Folder of the table's photographs; None for the table's own.

    Raises:
        InputError: the source or a photograph is missing, a photograph is listed twice or has no label, or there are
            fewer than two labels.
    """
    notes: list[str] = []
    if source.is_dir():
        labels = _from_folders(source)
    elif source.is_file():
        labels, notes = _from_table(source, directory or source.parent)
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
    return Labelled(photos, names, tuple(notes))


def _from_folders(root: Path) -> dict[Path, list[str]]:
    photographs, others, skipped = read_class_folders(root)
    if any(placed.split for placed in photographs):
        one = root / photographs[0].path.relative_to(root).parts[0]
        raise InputError(f"{root}: holds folders of splits; give one of them, {one} say.")
    for sentence in describe_left_out(root, others, skipped):
        warnings.warn(sentence, stacklevel=3)
    return {placed.path: [placed.label] for placed in photographs}


def _from_table(source: Path, directory: Path) -> tuple[dict[Path, list[str]], list[str]]:
    rows, notes = read_labels(source)
    found = find_photographs(directory)
    others = [path for path in found.others if path.resolve() != source.resolve()]
    for sentence in describe_left_out(directory, others, found.skipped):
        warnings.warn(sentence, stacklevel=3)
    index = PhotoIndex(directory, found.photographs)
    labels: dict[Path, list[str]] = {}
    for image, names, _ in rows:
        files = index.find(image)
        if not files:
            raise InputError(
                f"{directory / image}: the photograph does not exist, but {source} names it; add the file or remove "
                "the line."
            )
        if len(files) > 1:
            raise InputError(f"{source}: '{image}' may be {files[0]} or {files[1]}; write the path below {directory}.")
        if files[0] in labels:
            raise InputError(f"{source}: '{image}' is listed twice; write its labels on one line.")
        if not names:
            raise InputError(f"{source}: '{image}' has no label; write one, or remove the line.")
        labels[files[0]] = list(names)
    return labels, notes
