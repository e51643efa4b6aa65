"""The photographs that a person is to correct, with their present masks, as the tools open them."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsrg import tables
from dsrg.data.voc import read_mask_for
from dsrg.errors import InputError
from dsrg.files import disk, locks, pictures
from dsrg.run.folder import Run
from dsrg.stages.corrected import learnt_masks
from dsrg.study.pick import Picked

TABLE = "pick.csv"
IMAGES = "images"


def pack(run: Run, chosen: Sequence[Picked], out: Path, kind: str) -> None:
    """Write a folder with pick.csv, copies of the photographs in images/, and their masks.

    Args:
        run: With masks.
        chosen: What to pack.
        out: The folder, which must be new or empty.
        kind: Of `tables.PACKS`.

    Raises:
        InputError: the folder holds files or cannot be written to, or a mask is broken.
    """
    check_out(out)
    folder, names = learnt_masks(run), run.classes.names
    masks: list[tuple[str, np.ndarray]] = []
    with disk.told_of(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with locks.temporary_folder(out) as temporary:
            made = temporary / out.name
            (made / IMAGES).mkdir(parents=True)
            for one in tqdm(chosen, "pack", disable=None):
                photo = one.photo
                shutil.copyfile(photo.path, made / IMAGES / photo.path.name)
                path = pictures.mask_file(folder, photo.id)
                mask = read_mask_for(path, pictures.read_size(photo.path), len(names), photo.path)
                masks.append((photo.path.name, mask))
            disk.write_text(made / TABLE, table(chosen))
            tables.part(tables.PACKS[kind].place)(made, names, masks)
            if out.is_dir():
                out.rmdir()
            made.rename(out)


def check_out(out: Path) -> None:
    """Raise InputError where a folder holds something already."""
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already; choose another --out, for what was corrected there must stay.")


def table(chosen: Sequence[Picked]) -> str:
    """pick.csv: photograph, score, and why in words."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("photograph", "score", "why"))
    rows.writerows((one.photo.path.name, f"{one.score:.4f}", one.why) for one in chosen)
    return text.getvalue()
