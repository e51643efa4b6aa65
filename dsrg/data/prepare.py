"""From a folder of tagged photographs to the data-set layout that the stages read."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsrg import storage
from dsrg.errors import InputError


def read_folders(photos: Path) -> dict[Path, list[str]]:
    """Labels from one folder a class: photos/<class>/<any>.jpg. The same file name in two folders has both labels.

    Returns:
        From each photograph's file to its labels.

    Raises:
        InputError: there is no folder with photographs.
    """
    if not photos.is_dir():
        raise InputError(f"{photos}: the folder does not exist; check --photos.")
    by_name: dict[str, tuple[Path, list[str]]] = {}
    for folder in sorted(path for path in photos.iterdir() if path.is_dir()):
        for file in _images_in(folder):
            by_name.setdefault(file.name, (file, []))[1].append(folder.name)
    if not by_name:
        raise InputError(f"{photos}: holds no folder of photographs; make one folder a class, or use --labels.")
    return dict(by_name.values())


def read_table(photos: Path, labels: Path) -> dict[Path, list[str]]:
    """Labels from a CSV with the columns image and labels; several labels are divided by semicolons or blanks.

    Returns:
        From each photograph's file to its labels.

    Raises:
        InputError: the CSV is missing or lacks a column, a row names no photograph, or one photograph has no row.
    """
    if not labels.is_file():
        raise InputError(f"{labels}: the table of labels does not exist; write a CSV 'image,labels'.")
    files = {file.name: file for file in _images_in(photos)} if photos.is_dir() else {}
    files |= {file.stem: file for file in files.values()}
    found: dict[Path, list[str]] = {}
    with labels.open(newline="", encoding="utf-8-sig") as table:
        reader = csv.DictReader(table)
        if not {"image", "labels"} <= set(reader.fieldnames or ()):
            raise InputError(f"{labels}: the first line must be 'image,labels'.")
        for row in reader:
            if row["image"] not in files:
                raise InputError(f"{photos / row['image']}: the photograph does not exist, but {labels} names it.")
            text = row["labels"] or ""
            names = text.split(";") if ";" in text else text.split()
            found[files[row["image"]]] = [name.strip() for name in names if name.strip()]
    missing = sorted(set(files.values()) - found.keys())
    if missing:
        raise InputError(f"{missing[0]}: has no row in {labels}; add one or remove the photograph.")
    return found


def write_voc(root: Path, labels: Mapping[Path, Sequence[str]], *, val: float = 0.1, seed: int = 0) -> dict[str, int]:
    """Copy the photographs into VOC's layout below `root`, with class list, image-level labels and splits.

    Everything is written beside `root` under a temporary name and renamed at the end.

    Args:
        root: The new data folder; must not exist, or be empty.
        labels: From each photograph's file to its labels.
        val: Share of the photographs set aside for measuring the classifier, in 0..1; at least one.
        seed: Chooses them.

    Returns:
        Number of photographs of each class.

    Raises:
        InputError: root is in use, a photograph cannot be decoded or has no label, or two share a name.
    """
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root}: is not empty; choose another --root.")
    classes = sorted({name for names in labels.values() for name in names} - {"background"})
    ids: dict[str, Path] = {}
    for file in labels:
        name = "_".join(file.stem.split())  # a split file has one id a line, without blanks
        if name in ids:
            raise InputError(f"{file}: has the same name as {ids[name]}; rename one of them.")
        if not labels[file]:
            raise InputError(f"{file}: has no label; give it at least one.")
        ids[name] = file
    if len(ids) < 2:
        raise InputError(f"{root}: two photographs are the least, one to learn from and one to measure on.")
    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        for name, file in tqdm(ids.items(), "photographs"):
            storage.read_image(file)
            target = temporary / "JPEGImages" / f"{name}{file.suffix.lower()}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)
        order = np.random.default_rng(seed).permutation(sorted(ids)).tolist()
        count = max(1, round(val * len(order)))
        for split, names in (("val", order[:count]), ("train", order[count:])):
            storage.write_text(temporary / f"ImageSets/Segmentation/{split}.txt", "\n".join(sorted(names)) + "\n")
        storage.write_text(temporary / "classes.txt", "\n".join(["background", *classes]) + "\n")
        with (temporary / "image_labels.csv").open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            writer.writerow(["image", "labels"])
            # A semicolon behind every label keeps "traffic light" one label where it stands alone.
            writer.writerows([name, "".join(f"{label};" for label in labels[file])] for name, file in ids.items())
        if root.exists():
            root.rmdir()
        temporary.chmod(0o755)
        temporary.replace(root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return {name: sum(name in names for names in labels.values()) for name in classes}


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in storage.IMAGE_EXTENSIONS)
