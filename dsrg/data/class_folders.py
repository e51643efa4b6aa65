"""Labels from folders: one folder a class, below one folder a split where there are such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dsrg.data.photograph import Found, fold, is_system, walk
from dsrg.errors import InputError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Folders' names, in any case, that stand for a split where other tools write one folder a split, and the split."""
PLAIN = frozenset(("images", "image", "imgs", "img", "jpegimages", "photos", "photographs", "pictures", "data"))
"""Names, in any case, of folders that hold all photographs of a data set, or the folders of its classes."""
_NO_CLASSES = PLAIN | {
    *("masks", "labels", "annotations", "annotation", "ann", "gt", "ground_truth", "groundtruth"),
    *("segmentationclass", "segmentationclasspng", "segmentationobject"),
}
"""The same, and names of the folders beside them: where all folders are called so, none is a class."""
NO_FOLDERS = "no folder a class"
"""The kind of fault of a folder whose folders are no classes."""


class Placed(NamedTuple):
    """A photograph and where it lies."""

    path: Path
    label: str
    """The name of its class's folder."""
    split: str
    """One of SPLITS' values; '' where there are no folders of splits."""


def read_class_folders(root: Path, bare: list[Path] | None = None) -> tuple[list[Placed], Found]:
    """Find the photographs of root/<class>/, or of root/<split>/<class>/, at any depth below the class; and what else
    lies there.

    Folders are taken for splits where all of the root's have a split's name and they hold folders of classes; the root
    may hold them in one folder, as Hugging Face's data/ does, and the classes in one that is called so (PLAIN).

    Args:
        root: The folder.
        bare: Gets the photographs that lie in no class's folder, if others do; None to refuse them.

    Raises:
        InputError: there is no folder of photographs, one is empty, a photograph lies in no class's folder, folders are
            splits in part, a class is called background, or no folder is called as a class is.
    """
    found = walk(root).check()
    within = _within(root, found.photographs)
    tops = _folders(within)
    if not tops or not found.photographs:
        sentence = "holds no folder of photographs; make one folder a class, or give a table of labels"
        raise InputError(f"{root}: {sentence}.", NO_FOLDERS)
    splits = {top.name: SPLITS[fold(top.name)] for top in tops if fold(top.name) in SPLITS}
    if splits and len(splits) < len(tops) and len(splits) > 1:
        other = next(top.name for top in tops if top.name not in splits)
        named = "' and '".join(list(splits)[:2])
        raise InputError(
            f"{root}: holds the folders '{named}', which are called as splits are, and '{other}', which is not; give a "
            "folder of classes, or one of splits with folders of classes in each."
        )
    inside = len(splits) == len(tops)
    lost = [path for path in found.photographs if len(path.relative_to(within).parts) < (3 if inside else 2)]
    if bare is not None and len(lost) < len(found.photographs):
        bare += lost
    aside = {*(bare or ())}
    kept = [path for path in found.photographs if path not in aside]
    photographs = [_placed(within, path, splits if inside else {}) for path in kept]
    _check_classes(root, photographs)
    full = {(placed.split, placed.label) for placed in photographs}
    for top in tops:
        for folder in _folders(top) if inside else [top]:
            if (splits[top.name] if inside else "", folder.name) not in full:
                raise InputError(f"{folder}: holds no photograph; add some of '{folder.name}', or remove the folder.")
    return photographs, found


def _check_classes(root: Path, photographs: Sequence[Placed]) -> None:
    """Refuse folders that are called as those of a whole data set are, and one alone that holds folders only."""
    labels = list(dict.fromkeys(placed.label for placed in photographs))
    if all(fold(label) in _NO_CLASSES for label in labels):
        named = "', '".join(labels[:3])
        raise InputError(
            f"{root}: its photographs lie in '{named}', which is called as no class is; make one folder a class, or "
            "give a table of labels.",
            NO_FOLDERS,
        )
    if len(labels) == 1 and all(placed.path.parent.name != labels[0] for placed in photographs):
        folder = next(path for path in photographs[0].path.parents if path.name == labels[0])
        raise InputError(
            f"{root}: its photographs lie in the folders of one folder, '{labels[0]}'; give {folder} if these are the "
            "classes, or move the photographs of the class right into it.",
            NO_FOLDERS,
        )


def _within(root: Path, photographs: Sequence[Path]) -> Path:
    """The root's only folder, if that holds nothing but folders of splits with folders of classes, or is called as no
    class is and holds folders alone; else the root."""
    tops = _folders(root)
    inner = _folders(tops[0]) if len(tops) == 1 else []
    are_splits = bool(inner) and all(fold(path.name) in SPLITS and _folders(path) for path in inner)
    is_plain = bool(inner) and fold(tops[0].name) in PLAIN
    if not (are_splits or is_plain) or not all(path.is_relative_to(tops[0]) for path in photographs):
        return root
    if are_splits:
        return tops[0]
    return root if any(path.parent == tops[0] for path in photographs) else _within(tops[0], photographs)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not is_system(path.name))


def _placed(root: Path, path: Path, splits: dict[str, str]) -> Placed:
    top, *deeper = path.relative_to(root).parts
    if not deeper:
        raise InputError(f"{path}: lies in no class's folder; move it into one, or give a table of labels.")
    if splits and len(deeper) < 2:
        raise InputError(
            f"{path}: lies in '{top}', which is called as a split is; make a folder for each class in it, give a table "
            "of labels, or give the folder another name if it is a class."
        )
    label = deeper[0] if splits else top
    if fold(label) == "background":
        raise InputError(
            f"{path.parent}: background is class 0 and no label, a photograph needs an object to learn; give the "
            "folder another name or remove it."
        )
    return Placed(path, label, splits.get(top, ""))
