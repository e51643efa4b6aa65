"""What the files outside a run are, whatever their path: so a run knows its data again after they have moved.

Each is a short text, equal for equal content: photographs are told by their ids and sizes in bytes, labels by their
names, a weights file by its SHA-256.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dsrg import tables
from dsrg.data import segments
from dsrg.data.voc import Photo
from dsrg.files import disk
from dsrg.labels import Classes

NAMES = {
    "classes": "the class list",
    "photographs": "the list of photographs",
    "labels": "the image-level labels",
    "files": "the photographs (some have another size in bytes)",
    "predicted": "the list of photographs that are predicted",
    "predicted_labels": "their image-level labels",
    "predicted_files": "the photographs that are predicted (some have another size in bytes)",
    "truth": "the true masks",
    "boxes": "the boxes of the training photographs",
    "corrections": "the true masks in corrections.masks",
    "weights": "the file of model.weights",
    "saliency": "the saliency maps in seeds.saliency_dir",
    "saliency_weights": "the file of saliency.weights",
    "segments": "the segments in masks.segments",
}
"""What a difference is called."""
PATHS = (
    *("data.root", "data.images", "data.masks", "data.splits", "data.classes", "data.labels", "data.annotations"),
    "seeds.saliency_dir",
)
"""Keys that say where files are. A run may be continued with others, for contents are compared in their place."""
NAMED: dict[str, Sequence[str]] = {
    "model.weights": tables.NAMED_WEIGHTS,
    "saliency.weights": tuple(tables.SALIENCY),
    "corrections.masks": (),
    "masks.segments": tables.SUPERPIXELS,
}
"""Keys that say so too, unless they are null or one of these names."""


def of_photos(photos: Sequence[Photo], classes: Classes) -> dict[str, str]:
    """The class list, and ids, labels and sizes of photographs; the order of the ids does not count."""
    ordered = sorted(photos, key=lambda photo: photo.id)
    labels = (f"{photo.id}: {';'.join(classes.names[index] for index in photo.own)}" for photo in ordered)
    return {
        "classes": ", ".join(classes.names),
        "photographs": _digest(photo.id for photo in ordered),
        "labels": _digest(labels),
        "files": of_files(photo.path for photo in ordered) or "",
    }


def of_files(paths: Iterable[Path]) -> str | None:
    """Names (without endings) and sizes of files; None where one of them is missing, and so cannot be compared."""
    try:
        return _digest(f"{path.stem} {path.stat().st_size}" for path in paths)
    except OSError:
        return None


def of_segments(folder: Path | None, photos: Sequence[Photo]) -> str | None:
    """The files of masks.segments; None where no folder is named, or one is missing, and so cannot be compared."""
    return None if folder is None else of_files(segments.find(folder, photo.id) for photo in photos)


def of_bytes(paths: Iterable[Path]) -> str | None:
    """Names (without endings) and content of files, in whatever order; None where one of them is missing, and so cannot
    be compared."""
    try:
        return _digest(f"{path.stem} {disk.digest(path, 'sha256')}" for path in sorted(paths))
    except OSError:
        return None


def of_file(path: Path) -> str | None:
    """A file's content; None where it is missing, and so cannot be compared."""
    try:
        state = path.stat()
        return _sha256(path, state.st_size, state.st_mtime_ns)
    except OSError:
        return None


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first content that is known of both times and differs, in words; None for none."""
    for key, what in NAMES.items():
        if key in before and key in now and before[key] != now[key]:
            was, is_now = (text.partition("sha256:")[0].strip() for text in (before[key], now[key]))
            return f"{what} ({was} then, {is_now} now)" if was != is_now else what
    return None


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    return f"sha256:{disk.digest(path, 'sha256')}"


def _digest(lines: Iterable[str]) -> str:
    found, count = hashlib.sha256(), 0
    for line in lines:
        found.update(line.encode("utf-8", "surrogateescape") + b"\n")
        count += 1
    return f"{count} sha256:{found.hexdigest()}"
