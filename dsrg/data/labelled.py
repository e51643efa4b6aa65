"""Photographs with labels of any kind: from a table, or from one folder for each label."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsrg.data.class_folders import read_class_folders
from dsrg.data.photograph import describe_left_out, walk
from dsrg.data.table import labels_by_photograph
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


def read_labelled(source: Path, directory: Path | None = None, negatives: Path | None = None) -> Labelled:
    """Read which photograph has which labels; the photographs themselves are not decoded here.

    Args:
        source: A folder with one folder of photographs for each label; or a table (see
            `dsrg.data.table.labels_by_photograph`), in which a row without a label is a photograph that shows none of
            them.
        directory: Folder of the table's photographs; None for the table's own.
        negatives: Folder of further photographs that show none of the labels, at any depth.

    Raises:
        InputError: the source or a photograph is missing, a photograph is listed twice, or there is nothing to tell
            apart: fewer than two labels, or one and no photograph without it.
    """
    root = source if source.is_dir() else directory or source.parent
    notes: list[str] = []
    if source.is_dir():
        placed, found = read_class_folders(source)
        if any(photo.split for photo in placed):
            one = root / placed[0].path.relative_to(root).parts[0]
            raise InputError(f"{root}: holds folders of splits; give one of them, {one} say.")
        labels = {photo.path: [photo.label] for photo in placed}
    elif source.is_file():
        labels, notes, found = labels_by_photograph(root, source, unlabelled=True)
    else:
        raise InputError(f"{source}: does not exist; give a CSV 'image,labels', or a folder with one folder a label.")
    for sentence in describe_left_out(root, found.others, found.skipped):
        warnings.warn(sentence, stacklevel=2)
    if negatives is not None:
        more = walk(negatives).check()
        twice = next((path for path in more.photographs if labels.get(path)), None)
        if twice is not None:
            raise InputError(f"{twice}: has a label in {source}, and lies in {negatives}; take it out of one of them.")
        labels |= {path: [] for path in more.photographs}
        for sentence in describe_left_out(negatives, more.others, more.skipped):
            warnings.warn(sentence, stacklevel=2)
    names = tuple(sorted({name for own in labels.values() for name in own}))
    if not names or (len(names) < 2 and all(labels.values())):
        raise InputError(
            f"{source}: holds {len(names)} labels; there must be two to tell apart, or photographs without any."
        )
    photos = []
    for path, own in labels.items():
        tags = np.isin(np.array(["", *names]), own)
        tags[0] = True
        photos.append(Photo((path.relative_to(root) if path.is_relative_to(root) else path).as_posix(), path, tags))
    return Labelled(photos, names, tuple(notes))
