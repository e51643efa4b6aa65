"""Labels from folders: one folder a class, below one folder a split where there are such."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dsrg.data.photograph import Found, fold, is_system, walk
from dsrg.errors import InputError
from dsrg.files.pictures import JPEG_EXTENSIONS
from dsrg.labels import is_unlabelled

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
_FILLING = PLAIN | {"sets", "data", "seg", "split", "folder", "files", "full", "small", "mask", "masks", "labels"}
"""Words that say nothing of what a folder shows: with them alone beside it, a split's name is one still."""
_MASK = re.compile(r"[ _-](?:masks?|seg|segmentation|gt|groundtruth)(?:[ _-]?\d+)?$", re.IGNORECASE)
"""What the name of a photograph's mask ends in, behind that of the photograph, and that of a folder of masks."""
_MASK_FOLDERS = frozenset(("mask", "masks", "gt", "ground_truth", "groundtruth", "segmentation", "segmentations"))
NO_FOLDERS = "no folder a class"
"""The kind of fault of a folder whose folders are no classes."""


class Placed(NamedTuple):
    """A photograph and where it lies."""

    path: Path
    label: str
    """The name of its class's folder."""
    split: str
    """One of SPLITS' values; '' where there are no folders of splits."""


def split_in(name: str) -> str:
    """The split that the name of a file or folder has in it, as seg_train, training_set and instances_val2017 have;
    '' where it has none or two."""
    found = {SPLITS[word] for word in _words(name) & SPLITS.keys()}
    return found.pop() if len(found) == 1 else ""


def split_named(name: str) -> str:
    """The same, where the name says nothing else: '' for train_station."""
    return split_in(name) if _words(name) - SPLITS.keys() <= _FILLING else ""


def _words(name: str) -> set[str]:
    """The words of a name, divided at capitals, digits and marks, 'set' at an end cut off."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return {word.removesuffix("set") for word in re.findall(r"[^\W\d_]+", fold(parted))} - {""}


def read_class_folders(root: Path, bare: list[Path] | None = None) -> tuple[list[Placed], Found]:
    """Find the photographs of root/<class>/, or of root/<split>/<class>/, at any depth below the class; and what else
    lies there, the masks of photographs beside them too.

    Folders are taken for splits where all of the root's have a split's name and they hold folders of classes, or all
    have a split in their name and hold the same classes; the root may hold them in one folder, as Hugging Face's data/
    does, and the classes in one that is called so (PLAIN).

    Args:
        root: The folder.
        bare: Gets the photographs that lie in no class's folder, if others do; None to refuse them.

    Raises:
        InputError: there is no folder of photographs, one is empty, a photograph lies in no class's folder, folders are
            splits or masks in part, a class is called background, or no folder is called as a class is.
    """
    found = _without_masks(walk(root).check(), root)
    within = _within(root, found.photographs)
    tops = _folders(within)
    if not tops or not found.photographs:
        sentence = "holds no folder of photographs; make one folder a class, or give a table of labels"
        raise InputError(f"{root}: {sentence}.", NO_FOLDERS)
    bases = _splits(tops)
    if not bases:
        _check_tops(root, tops, found.photographs)
        bases = {within: ""}
    homes = {path: next((base for base in bases if path.is_relative_to(base)), within) for path in found.photographs}
    lost = [path for path, home in homes.items() if home not in bases or not _label(path, home)]
    if bare is not None and len(lost) < len(found.photographs):
        bare += lost
    elif lost:
        raise _lost(lost[0], homes[lost[0]], bases)
    aside = {*lost}
    kept = [path for path in found.photographs if path not in aside]
    photographs = [Placed(path, _label(path, homes[path]), bases[homes[path]]) for path in kept]
    _check_classes(root, photographs)
    full = {(placed.split, placed.label) for placed in photographs}
    for base, split in bases.items():
        for folder in _folders(base):
            if (split, folder.name) not in full:
                raise InputError(f"{folder}: holds no photograph; add some of '{folder.name}', or remove the folder.")
    return photographs, found


def _without_masks(found: Found, root: Path) -> Found:
    """What was found, the masks of photographs among what is no photograph: X_mask.png beside X.jpg, as in BUSI, and
    masks/X.png beside images/X.jpg in a class's folder. Masks are no JPEG, whose values are not exact."""
    doubtful = [path for path in found.photographs if path.suffix.lower() not in JPEG_EXTENSIONS]
    keys = {(path.parent, path.stem) for path in found.photographs} if doubtful else set()

    def is_mask(path: Path) -> bool:
        folder, stem = path.parent, _MASK.sub("", path.stem)
        beside = stem != path.stem and (folder, stem) in keys
        if beside or fold(folder.name) not in _MASK_FOLDERS or folder.parent == root:
            return beside
        return any((folder.with_name(name), stem) in keys for name in ("images", "Images", "image", "imgs", "img"))

    masks = {*filter(is_mask, doubtful)}
    photographs = [path for path in found.photographs if path not in masks]
    return found._replace(photographs=photographs, others=sorted([*found.others, *masks])) if masks else found


def _splits(tops: Sequence[Path]) -> dict[Path, str]:
    """The folders of the classes in folders of splits, and each one's split; empty where these are no splits."""
    exact = all(fold(top.name) in SPLITS for top in tops)
    if not exact and not _differ_by_split(tops):  # before any file is asked for: classes may hold a million
        return {}
    inner = {top: top for top in tops}
    for top in tops:  # Kaggle's archives have train/train/
        below = _folders(top)
        alone = len(below) == 1 and below[0].name == top.name
        if alone and not any(path.is_file() and not is_system(path.name) for path in top.iterdir()):
            inner[top] = below[0]
    if exact:
        return {inner[top]: SPLITS[fold(top.name)] for top in tops}
    splits = {inner[top]: split_in(top.name) for top in tops}
    return splits if set.intersection(*({path.name for path in _folders(base)} for base in splits)) else {}


def _differ_by_split(tops: Sequence[Path]) -> bool:
    """Whether the names of folders have different splits in them and nothing else in which they differ: birds_train and
    birds_test, but not test tube and train car."""
    splits = {split_in(top.name) for top in tops}
    others = {frozenset(_words(top.name) - SPLITS.keys() - _FILLING) for top in tops}
    return "" not in splits and len(splits) > 1 and len(others) == 1


def _check_tops(root: Path, tops: Sequence[Path], photographs: Sequence[Path]) -> None:
    """Refuse folders of which only some are called as splits are, or one that holds the masks of another.

    Raises:
        InputError: they are.
    """
    nested = _differ_by_split(tops) and all(map(_folders, tops))
    splits = {top.name for top in tops if (split_in if nested else split_named)(top.name)}
    other = next((top.name for top in tops if top.name not in splits), None)
    suspects = [top for top in tops if top.name in splits or _MASK.search(top.name)]
    held = {top: [path for path in photographs if path.is_relative_to(top)] for top in suspects}
    for top, own in held.items():
        of = top.with_name(_MASK.sub("", top.name))
        if of != top and _are_masks(own, [path for path in photographs if path.is_relative_to(of)]):
            sentence = f"holds masks of the photographs in '{of.name}', and no class; take it out"
            raise InputError(f"{top}: {sentence}, and give a table of labels or one folder a class.", NO_FOLDERS)
    mend = "give a folder of classes, or one of splits alone with folders of the same classes in each"
    if len(splits) > 1:
        named = "' and '".join(sorted(splits)[:2])
        rest = ", but not the same classes in each" if other is None else f", beside '{other}'"
        raise InputError(f"{root}: holds '{named}', which have the names of splits{rest}; {mend}.", NO_FOLDERS)
    if splits and other is not None:
        (top,) = (top for top in tops if top.name in splits)
        deep = any(path.name != path.parent.name for one in tops if one != top for path in _folders(one))
        if held[top] and not deep and all(path.parent != top for path in held[top]):
            raise InputError(
                f"{root}: '{top.name}' has the name of a split and holds folders alone, and '{other}' lies beside it; "
                f"{mend}, or move the photographs right into '{top.name}' if it is a class.",
                NO_FOLDERS,
            )


def _are_masks(files: Sequence[Path], photographs: Sequence[Path]) -> bool:
    """Whether files are called as these photographs, or their masks, and none is a JPEG."""
    stems = {_MASK.sub("", path.stem) for path in files if path.suffix.lower() not in JPEG_EXTENSIONS}
    return bool(stems) and len(stems) == len(files) and stems <= {path.stem for path in photographs}


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
    are_splits = bool(inner) and all(map(_folders, inner)) and bool(_splits(inner))
    is_plain = bool(inner) and fold(tops[0].name) in PLAIN
    if not (are_splits or is_plain) or not all(path.is_relative_to(tops[0]) for path in photographs):
        return root
    if are_splits:
        return tops[0]
    return root if any(path.parent == tops[0] for path in photographs) else _within(tops[0], photographs)


def _folders(root: Path) -> list[Path]:
    """The folders of a folder that may be classes or splits."""
    return sorted(
        path for path in root.iterdir() if path.is_dir() and not is_system(path.name) and not is_unlabelled(path.name)
    )


def _label(path: Path, base: Path) -> str:
    """The class of a photograph below the folder of the classes; '' where it lies in none's folder.

    Raises:
        InputError: it is background.
    """
    label, *deeper = path.relative_to(base).parts
    if not deeper or is_unlabelled(label):
        return ""
    if fold(label) == "background":
        raise InputError(
            f"{path.parent}: background is class 0 and no label, a photograph needs an object to learn; give the "
            "folder another name or remove it."
        )
    return label


def _lost(path: Path, home: Path, bases: Mapping[Path, str]) -> InputError:
    """What is wrong with a photograph that lies in no class's folder."""
    parts = path.relative_to(home).parts
    if is_unlabelled(parts[0]):
        return InputError(
            f"{path}: lies in '{parts[0]}', which says that it has no label; take that folder out, or give it another "
            "name if it is a class."
        )
    if bases.get(home):
        return InputError(
            f"{path}: lies in '{home.name}', which has the name of a split; make a folder for each class in it, give a "
            "table of labels, or give the folder another name if it is a class."
        )
    return InputError(f"{path}: lies in no class's folder; move it into one, or give a table of labels.")
