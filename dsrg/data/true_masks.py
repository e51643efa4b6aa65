"""True masks put into a data folder: all of them or none, and none that was there touched unless that is asked for."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from dsrg.data.corrections import Correction
from dsrg.data.voc import Photo, VocFolder
from dsrg.errors import InputError
from dsrg.files import disk, locks, pictures
from dsrg.labels import BACKGROUND, IGNORE

State = Literal["new", "same", "other"]


class Staged(NamedTuple):
    """A mask that is made and checked, and its place."""

    photo: Path
    source: Path
    target: Path
    made: Path
    """Where it waits; nothing lies there where the target is the same."""
    state: State
    """Whether the target is not there, is the same, or is another mask."""
    classes: tuple[int, ...]
    """Foreground classes that it shows, rising."""
    void: bool
    """Whether it has pixels of no class, 255."""


def put_masks(
    folder: VocFolder, corrections: Sequence[Correction], *, replace: bool = False, dry: bool = False, threads: int = 4
) -> list[Staged]:
    """Make masks, check them, and put them into the data set's folder of true masks.

    All are made and checked before the first is put there; should one fail then, those that were put are taken back.

    Args:
        folder: The data set.
        corrections: The masks.
        replace: Take the place of other masks of the same photographs.
        dry: Make and check alone.
        threads: Masks to make at a time.

    Returns:
        The masks, in the order of the corrections.

    Raises:
        InputError: a mask is broken, or not of its photograph's size; another is there and `replace` is not set; or the
            folder cannot be written to.
    """
    place = folder.mask_dir.resolve()  # a link's end, for files to be moved on one disk
    with contextlib.ExitStack() as within:
        within.enter_context(disk.told_of(folder.mask_dir))
        place.parent.mkdir(parents=True, exist_ok=True)
        stage = within.enter_context(locks.temporary_folder(place))
        make = functools.partial(_make, folder, stage)
        with ThreadPoolExecutor(threads) as pool:
            staged = list(tqdm(pool.map(make, corrections), "masks", len(corrections), disable=None))
        _refuse_void(staged)
        others = [one for one in staged if one.state == "other"]
        if others and not replace:
            more = f", as {len(others) - 1} more are" if len(others) > 1 else ""
            raise InputError(
                f"{others[0].target}: is there already and differs from {others[0].source}{more}; nothing was written. "
                "Add --replace to put the new masks in their place."
            )
        if not dry:
            _put([one for one in staged if one.state != "same"], stage)
    return staged


def _make(folder: VocFolder, stage: Path, correction: Correction) -> Staged:
    if correction.size is not None:
        _check_size(correction, correction.size)  # before a canvas of that size is painted
    mask = correction.mask()
    _check_size(correction, (mask.shape[1], mask.shape[0]))
    pictures.check_indices(mask, len(folder.classes), correction.source)
    name = correction.photo.stem
    target = folder.mask_path(Photo(name, correction.photo, np.zeros(0, bool)))
    state: State = "new"
    if os.path.lexists(target):
        state = "same" if _holds(target, mask) else "other"
    made = stage / f"{name}.png"
    if state != "same":
        disk.write_bytes(made, pictures.mask_png(mask))
    present = [int(index) for index in np.unique(mask) if index not in (BACKGROUND, IGNORE)]
    return Staged(
        correction.photo, correction.source, target, made, state, tuple(present), bool((mask == IGNORE).any())
    )


def _refuse_void(staged: Sequence[Staged]) -> None:
    """Masks of background and void alone: those of one object in black and white would be, or boxes for outlines."""
    if any(one.classes for one in staged) or not any(one.void for one in staged):
        return
    source, count = next(one.source for one in staged if one.void), len(staged)
    mend = "Draw the objects' outlines, or leave the file out"
    if source.suffix.lower() == ".png":
        mend = (
            "If white is an object's, say whose: --palette FILE, with the lines 'background:0,0,0' and "
            "'cat:255,255,255'; else leave the file out"
        )
    raise InputError(
        f"{source}: shows no object{f', nor do the other {count - 1} masks' if count > 1 else ''}: only {BACKGROUND} "
        f"and {IGNORE} (void). {mend}, for nothing can be learnt from it."
    )


def _check_size(correction: Correction, size: tuple[int, int]) -> None:
    stored = pictures.read_size(correction.photo)
    if size != stored:
        raise InputError(
            f"{correction.source}: is a mask of {size[0]} x {size[1]} pixels, but {correction.photo} has {stored[0]} x "
            f"{stored[1]}; make the mask of the data set's own photograph, at its size."
        )


def _holds(path: Path, mask: np.ndarray) -> bool:
    """Whether a mask's file holds just these indices."""
    try:
        return np.array_equal(pictures.read_mask(path), mask)
    except InputError:  # a broken one is another
        return False


def _put(staged: Sequence[Staged], stage: Path) -> None:
    """Put files in their places; where that fails, or is interrupted, put back what was there.

    Each is renamed onto what was there, so that a process that is killed leaves the old mask or the new one, and the
    same command, run again, puts the rest.
    """
    begun: list[tuple[Staged, Path]] = []
    try:
        for one in staged:
            old = stage / f"old.{one.target.name}"
            begun.append((one, old))
            if os.path.lexists(one.target):
                _keep(one.target, old)
            one.target.parent.mkdir(parents=True, exist_ok=True)
            one.made.replace(one.target)
    except BaseException:
        for one, old in reversed(begun):  # what lies where tells how far each has come
            with contextlib.suppress(OSError):
                if os.path.lexists(one.made):
                    continue
                if os.path.lexists(old):
                    old.replace(one.target)
                else:
                    one.target.unlink(missing_ok=True)
        raise


def _keep(path: Path, copy: Path) -> None:
    """Give a file, or a link as such, a second name, or where the disk knows no such thing, a copy."""
    try:
        os.link(path, copy, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(path, copy, follow_symlinks=False)
