"""Folders of masks or XML annotations, as VOC lays them, with classes of their own: of CVAT, labelme and Roboflow."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsrg.data.annotations import read_label_names
from dsrg.data.class_folders import SPLITS
from dsrg.data.doors.legend import CLASS_NAMES, LABELMAP, Legend, read_legend, read_mask
from dsrg.data.doors.tables import of_all, split_of
from dsrg.data.ids import LARGEST_LIST
from dsrg.data.own import Tagged
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import describe_left_out, fold, walk
from dsrg.data.prepare import Item, Plan, check_names, choose_splits, name_ids
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.files.manifest import identity
from dsrg.labels import BACKGROUND, BACKGROUND_NAMES, IGNORE

MASKS = ("SegmentationClass", "SegmentationClassPNG")
ANNOTATIONS = "Annotations"
PHOTOS = ("JPEGImages", "images", "Images")
MASK_ENDING = "_mask"
"""What the names of Roboflow's masks end in, which lie beside the photographs."""


def legend_file(root: Path) -> Path | None:
    """The file of a folder that says what its masks mean."""
    return next((root / name for name in (LABELMAP, CLASS_NAMES) if (root / name).is_file()), None)


def mask_folder(root: Path) -> Path | None:
    """The folder of a layout's masks."""
    return next((root / name for name in MASKS if any((root / name).rglob("*.png"))), None)


def check_legend(root: Path) -> None:
    """Refuse a folder of masks in VOC's layout that has no legend; raises InputError."""
    folder = mask_folder(root)
    if folder is not None and legend_file(root) is None:
        raise InputError(
            f"{folder}: holds masks, and nothing says what their values mean; add CVAT's {LABELMAP} or labelme's "
            f"{CLASS_NAMES} to {root}, or give a table of labels."
        )


def plan_layout(root: Path, photos: Path | None, *, val: float, threads: int = 4) -> Plan:
    """Plan the data set of a folder with SegmentationClass/ and a legend; the labels are what the masks show.

    Args:
        root: The folder.
        photos: Folder of the photographs; None for its own JPEGImages/ or images/.
        val: Share of the photographs set aside where the folder names no splits, in 0..1.
        threads: Masks to read at a time.

    Raises:
        InputError: a mask is broken or has no photograph, the legend does not fit, or there are too few photographs.
    """
    legend, folder = legend_file(root), mask_folder(root)
    assert legend is not None and folder is not None  # else it was not taken for a layout
    photos = photos_of(root, photos)
    found = walk(photos).check()
    masks = {path.relative_to(folder).with_suffix("").as_posix(): path for path in walk(folder).check().photographs}
    files, notes = PhotoIndex(photos, found.photographs).locate(masks, folder)
    pairs = {files[name]: mask for name, mask in masks.items()}
    splits = _listed_splits(root)
    given = {files[name]: splits.get(name, splits.get(Path(name).name, "")) for name in masks}
    notes += describe_left_out(photos, found.others, found.skipped)
    left = len(found.photographs) - len(pairs)
    if left:
        notes.append(f"{photos}: {left} photographs have no mask in {folder} and were left out.")
    return plan_masks(root, pairs, {mask: read_legend(legend) for mask in pairs.values()}, given, notes, val, threads)


def plan_beside(root: Path, legends: Sequence[Path], *, val: float, threads: int = 4) -> Plan:
    """Plan the data set of Roboflow's folders: photographs, their masks <name>_mask.png beside them, and _classes.csv.

    Raises:
        InputError: as `plan_layout`.
    """
    pairs: dict[Path, Path] = {}
    read: dict[Path, Legend] = {}
    notes: list[str] = []
    for file in legends:
        found = walk(file.parent).check()
        legend = read_legend(file)
        is_mask = {path for path in found.photographs if path.stem.endswith(MASK_ENDING)}
        for photo in found.photographs:
            mask = photo.with_name(f"{photo.stem}{MASK_ENDING}.png")
            if photo not in is_mask and mask in is_mask:
                pairs[photo] = mask
                read[mask] = legend
        left = len(found.photographs) - len(is_mask) - sum(photo.is_relative_to(file.parent) for photo in pairs)
        if left:
            notes.append(f"{file.parent}: {left} photographs have no mask beside them and were left out.")
        others = [path for path in found.others if path != file]
        notes += describe_left_out(file.parent, others, found.skipped)
    if not pairs:
        raise InputError(f"{legends[0]}: no photograph has a mask beside it, <name>{MASK_ENDING}.png; export it anew.")
    given = {photo: split_of(photo.relative_to(root)) for photo in pairs}
    return plan_masks(root, pairs, read, given, notes, val, threads)


def plan_masks(
    where: Path,
    pairs: Mapping[Path, Path],
    legends: Mapping[Path, Legend],
    given: Mapping[Path, str],
    notes: Sequence[str],
    val: float,
    threads: int,
) -> Plan:
    """Plan the data set of masks; photographs whose mask shows no object are left out.

    Args:
        where: What holds them, for the error.
        pairs: The mask of each photograph.
        legends: What the values of each mask mean.
        given: Each photograph's split, or ''.
        notes: Sentences that were noted before.
        val: As in `plan_layout`.
        threads: As there.
    """
    names = list(dict.fromkeys(name for legend in legends.values() for name in legend.classes))
    numbers = {name: index for index, name in enumerate(names, 1)}

    def shows(mask: Path) -> list[str]:
        present = np.unique(read_mask(mask, legends[mask], numbers.__getitem__)).tolist()
        return [names[index - 1] for index in present if index not in (BACKGROUND, IGNORE)]

    with ThreadPoolExecutor(threads) as pool:
        shown = list(tqdm(pool.map(shows, pairs.values()), "masks", len(pairs), disable=None))
    labels = {photo: own for photo, own in zip(pairs, shown, strict=True) if own}
    notes = list(notes)
    if len(labels) < len(pairs):
        left = len(pairs) - len(labels)
        notes.append(f"{where}: {left} of {len(pairs)} photographs show no object and were left out.")
    used = [name for name in names if any(name in own for own in labels.values())]
    if len(used) < len(names):
        unused = "', '".join([name for name in names if name not in used][:5])
        notes.append(f"{where}: no mask shows '{unused}', which are no classes then.")
    classes = check_names(used, where, masks=True)
    ids = name_ids(labels)
    items = [
        Item(ids[photo], photo, tuple(own), functools.partial(_read, pairs[photo], legends[pairs[photo]], classes))
        for photo, own in labels.items()
    ]
    splits, lost = of_all({photo: given.get(photo, "") for photo in labels}, where)
    chosen, said = choose_splits(where, items, {ids[photo]: split for photo, split in splits.items()}, val)
    stamps = [[str(mask.resolve()), *identity(mask)] for mask in pairs.values()]
    return Plan(
        classes, items, chosen, {"kind": "masks", "where": str(where.resolve()), "masks": stamps}, notes + lost + said
    )


def is_voc(root: Path) -> bool:
    """Whether a folder has photographs with VOC's XML annotations, or lists of the photographs of each class."""
    has_lists = bool(_class_lists(root))
    has_xml = any(path.suffix.lower() == ".xml" for path in (root / ANNOTATIONS).glob("*.*"))
    return (has_lists or has_xml) and any((root / name).is_dir() for name in PHOTOS)


def read_voc_labels(root: Path, photos: Path | None) -> tuple[Tagged, Path]:
    """The labels of VOC's XML annotations, in Annotations/ or, as LabelImg lays them, beside the photographs; and those
    of the lists of each class in ImageSets/Main/.

    Args:
        root: The folder.
        photos: Folder of the photographs; None for the root's own.

    Returns:
        The photographs and their labels, and the folder of the photographs.

    Raises:
        InputError: an annotation or list is broken or has no photograph.
    """
    beside = not is_voc(root)
    folder = annotation_folder(root)
    lying = walk(folder).check().others if folder.is_dir() else []
    xml = {path.relative_to(folder).with_suffix("").as_posix(): path for path in lying if path.suffix.lower() == ".xml"}
    photos = photos_of(root, photos) if not beside or _are_apart(root, xml.values()) else photos or root
    found = walk(photos).check()
    labels: dict[str, list[str]] = {name: read_label_names(path, "") for name, path in xml.items()}
    for path, label in _class_lists(root).items():
        for name in _marked(path):
            labels.setdefault(name, []).append(label)
    files, notes = PhotoIndex(photos, found.photographs).locate(labels, root)
    splits = _listed_splits(root)
    kept = {files[name]: list(dict.fromkeys(own)) for name, own in labels.items() if own}
    given = {file: splits.get(name, splits.get(Path(name).name, "")) for name, file in files.items()}
    given = {file: split or split_of(file.relative_to(photos)) for file, split in given.items()}
    others = [path for path in found.others if path not in xml.values()]
    notes += describe_left_out(photos, others, found.skipped)
    bare = [photo for photo in found.photographs if photo not in kept]
    given, said = of_all({photo: given[photo] for photo in kept}, root)
    return Tagged(kept, notes + said, given, bare), photos


def _are_apart(root: Path, xml: Iterable[Path]) -> bool:
    """Whether annotations lie beside no photograph, and the photographs in a folder of theirs: in Oxford's pets'
    annotations/ lie masks of the same names too."""
    beside = {path.with_suffix("") for path in walk(root).photographs}
    return any((root / name).is_dir() for name in PHOTOS) and not any(path.with_suffix("") in beside for path in xml)


def annotation_folder(root: Path) -> Path:
    """The folder of a layout's XML: its Annotations/, or itself, where that is beside the photographs."""
    return root / ANNOTATIONS if (root / ANNOTATIONS).is_dir() else root


def _class_lists(root: Path) -> dict[Path, str]:
    """The lists of each class in ImageSets/Main/, such as cat_train.txt beside train.txt, and the classes."""
    paths = sorted((root / "ImageSets/Main").glob("*.txt"))
    stems = {path.stem for path in paths}
    found: dict[Path, str] = {}
    for path in paths:
        ends = [stem for stem in stems if path.stem.endswith(f"_{stem}")]
        label = path.stem.removesuffix(f"_{max(ends, key=len)}") if ends else ""
        if label and label not in BACKGROUND_NAMES:
            found[path] = label
    return found


def _marked(path: Path) -> list[str]:
    """The photographs that a class's list marks: with 1, or with 0 where the object is difficult.

    Raises:
        InputError: a line has no such mark.
    """
    found = []
    for number, line in enumerate(disk.read_text(path, "list", limit=LARGEST_LIST).split("\n"), 1):
        name, _, mark = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if mark not in ("1", "0", "-1") or not name.strip():
            raise InputError(f"{path}: line {number} is not '<photograph> <1, 0 or -1>'; correct it.")
        if mark != "-1":
            found.append(name.strip())
    return found


def photos_of(root: Path, photos: Path | None) -> Path:
    """The folder of a layout's photographs.

    Raises:
        InputError: there is none.
    """
    if photos is not None and photos.resolve() != root.resolve():
        return photos
    own = next((root / name for name in PHOTOS if (root / name).is_dir()), None)
    if own is None:
        raise InputError(f"{root}: holds no {PHOTOS[0]}/ with the photographs; name their folder with --photos.")
    return own


def _listed_splits(root: Path) -> dict[str, str]:
    """The split of each photograph that a list in an ImageSets/ names, which may lie deeper, as in VOCdevkit/VOC2012;
    empty where a list is no split's."""
    found: dict[str, str] = {}
    for folder in ("Segmentation", "Main"):
        for path in [] if found else sorted(root.rglob(f"ImageSets/{folder}/*.txt")):
            split = SPLITS.get(fold(path.stem), "")
            lines = disk.read_text(path, "list", limit=LARGEST_LIST).split("\n") if split else []
            found |= {line.strip(): split for line in lines if line.strip()}
    return found


def _read(mask: Path, legend: Legend, classes: Sequence[str]) -> np.ndarray:
    return read_mask(mask, legend, classes.index)
