"""ImageNet's folders and lists, small, written without the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io
from helpers import save_photo
from PIL import Image

SYNSETS = ("n01440764", "n02012849", "n03126707", "n07565083")
WORDS = ("tench, Tinca tinca", "crane", "crane", "menu")
NAMES = ("tench", "crane (n02012849)", "crane (n03126707)", "menu")
"""What the four become: two cranes, a bird and a machine, as in the real list."""
NUMBERS = (3, 1, 4, 2)
"""The development kit's, in no order."""
VAL = (2, 0, 3)
"""The class of each validation photograph, by its place in SYNSETS."""


def photo_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def write_photos(root: Path, *, sorted_val: bool = False, size: tuple[int, int] = (20, 10)) -> None:
    """train/<synset>/, a photograph each, and val/ with one photograph for each of VAL."""
    for number, synset in enumerate(SYNSETS):
        save_photo(root / "train" / synset / f"{synset}_{number}.JPEG", 40 * number)
    for number, place in enumerate(VAL, 1):
        path = root / "val" / (SYNSETS[place] if sorted_val else "") / f"{photo_name(number)}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((size[1], size[0], 3), 50 * number, np.uint8)).save(path)


def write_words(root: Path) -> None:
    """Kaggle's list of synsets."""
    lines = [f"{synset} {words}" for synset, words in zip(SYNSETS, WORDS, strict=True)]
    (root / "LOC_synset_mapping.txt").write_text("\n".join(lines) + "\n")


def write_kit(root: Path, *, mat: bool = True, further: bool = True) -> Path:
    """The challenge's numbers, and what translates them; the higher levels of the tree follow, as in the real file."""
    kit = root / "ILSVRC2012_devkit_t12/data"
    kit.mkdir(parents=True)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{NUMBERS[place]}\n" for place in VAL))
    rows = sorted(zip(NUMBERS, SYNSETS, WORDS, strict=True))
    if mat:
        rows += [(5, "n00001740", "entity")] if further else []
        kinds = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
        synsets = np.zeros((len(rows), 1), kinds)
        for place, row in enumerate(rows):
            synsets[place, 0] = (*row, 0)
        scipy.io.savemat(kit / "meta.mat", {"synsets": synsets}, do_compression=True)
    else:
        (kit / "map_clsloc.txt").write_text("".join(f"{synset} {number} word\n" for number, synset, _ in rows))
    return kit


def write_xml(path: Path, objects: Sequence[tuple[str, tuple[int, int, int, int]]], size: tuple[int, int]) -> None:
    """An annotation as ImageNet writes them: pixels from 0, the last one named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = ""
    for name, box in objects:
        edges = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        body += f"<object><name>{name}</name><bndbox>{''.join(f'<{k}>{v}</{k}>' for k, v in edges)}</bndbox></object>"
    width, height = size
    sizes = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><folder>val</folder>{sizes}<segmented>0</segmented>{body}</annotation>")


def write_boxes(root: Path) -> None:
    """A box for each validation photograph, all of it but for its first column."""
    for number, place in enumerate(VAL, 1):
        path = root / "ILSVRC2012_bbox_val_v3/val" / f"{photo_name(number)}.xml"
        write_xml(path, [(SYNSETS[place], (1, 0, 19, 9))], (20, 10))
