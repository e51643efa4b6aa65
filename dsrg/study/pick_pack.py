"""The photographs that a person is to correct, with their present masks, as the tools open them."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsrg.data.doors.legend import LABELMAP
from dsrg.data.voc import read_mask_for
from dsrg.errors import InputError
from dsrg.files import disk, locks, pictures
from dsrg.labels import palette
from dsrg.predict.formats import coco, labelme
from dsrg.run.folder import Run
from dsrg.study.pick import Picked

TABLE = "pick.csv"
IMAGES = "images"


def pack(run: Run, chosen: Sequence[Picked], out: Path, kind: str) -> None:
    """Write a folder with pick.csv, copies of the photographs in images/, and their masks.

    Args:
        run: With masks.
        chosen: What to pack.
        out: The folder, which must be new or empty.
        kind: Of `tables.PACKS`: "labelme" puts <id>.json beside each photograph; "coco" writes annotations.json;
            "masks" writes SegmentationClass/<id>.png and labelmap.txt, as CVAT's "Segmentation mask".

    Raises:
        InputError: the folder holds files or cannot be written to, or a mask is broken.
    """
    check_out(out)
    folder, names = run.require("masks"), run.classes.names
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
            _PACKERS[kind](made, names, masks)
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


def _labelme(out: Path, names: Sequence[str], masks: Sequence[tuple[str, np.ndarray]]) -> None:
    for name, mask in masks:
        disk.write_json((out / IMAGES / name).with_suffix(".json"), labelme.document(mask, names, name))


def _coco(out: Path, names: Sequence[str], masks: Sequence[tuple[str, np.ndarray]]) -> None:
    disk.write_json(out / "annotations.json", coco.document(names, masks, "made by dsrg pick"))


def _masks(out: Path, names: Sequence[str], masks: Sequence[tuple[str, np.ndarray]]) -> None:
    for name, mask in masks:
        disk.write_bytes(out / "SegmentationClass" / f"{Path(name).stem}.png", pictures.mask_png(mask))
    pairs = zip(names, palette().tolist(), strict=False)
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in pairs]
    disk.write_text(out / LABELMAP, "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    listed = "".join(f"{Path(name).stem}\n" for name, _ in masks)
    disk.write_text(out / "ImageSets/Segmentation/default.txt", listed)


_PACKERS: dict[str, Callable[[Path, Sequence[str], Sequence[tuple[str, np.ndarray]]], None]] = {
    "labelme": _labelme,
    "coco": _coco,
    "masks": _masks,
}
