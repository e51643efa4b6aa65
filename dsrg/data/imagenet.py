"""ImageNet's classification and localisation data (ILSVRC 2012), as it is unpacked: photographs, lists, XML boxes.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. A synset's identifier (n01440764)
names the folder of its training photographs and the objects of the annotations. The validation photographs lie in one
folder, or in folders of synsets; in the first case a list says what each of them shows: the challenge's own file of
numbers, which the development kit's meta.mat translates, or Kaggle's LOC_val_solution.csv, or the annotations. The
development kit's numbers follow no order, so they are never taken for places in a sorted list.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsrg.data.annotations import document, read_label_names, read_plain_boxes
from dsrg.data.class_folders import read_class_folders
from dsrg.data.ids import MOST
from dsrg.data.matlab import read_mat
from dsrg.data.photograph import describe_left_out, fold, walk
from dsrg.data.prepare import Item, Plan, check_names, name_ids
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import fault_of_name

TRAIN = ("train", "Data/CLS-LOC/train", "ILSVRC2012_img_train")
VAL = ("val", "Data/CLS-LOC/val", "ILSVRC2012_img_val")
BOXES = ("Annotations/CLS-LOC/val", "ILSVRC2012_bbox_val_v3/val", "bbox_val/val", "Annotations/val")
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SOLUTION = "LOC_val_solution.csv"
WORDS = ("LOC_synset_mapping.txt", "synset_words.txt")
"""Lines of a synset and its words."""
NUMBERS = ("meta.mat", "map_clsloc.txt")
"""The development kit's number of each synset: MATLAB's structs, or lines of synset, number, word."""
KITS = ("ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit_t12", "devkit/data", "devkit", "data", "")
HOW = f"add {SOLUTION}, or {TRUTH} with {' or '.join(NUMBERS)}, or the XML annotations, or sort them into folders"
_LINE = re.compile(r"(n\d{8})[ \t]+(\S.*)")
_NUMBER = re.compile(r".*_(\d{1,9})")


def plan_imagenet(root: Path, *, threads: int = 4) -> Plan:
    """Plan the data set of ImageNet's train and val.

    Classes are the synsets of the training photographs in the order of their identifiers, as in torchvision's networks,
    by the first of their words, with the identifier after it where two have the same, and by the identifier where no
    list of words is there. Boxes are those of val, in VOC's form and count.

    Args:
        root: The folder that holds train and val, Kaggle's ILSVRC, or the folder that this lies in.
        threads: Annotations to read at a time.

    Raises:
        InputError: photographs, or what says what they show, are missing or broken.
    """
    bases = [root, root / "ILSVRC"]
    train, val = _find(bases, TRAIN), _find(bases, VAL)
    if val is None:
        raise InputError(f"{root}: holds no folder of validation photographs ({', '.join(VAL)}); check --imagenet.")
    boxes, notes = _find(bases, BOXES), []
    shown: dict[Path, str] = {}
    if train is None:
        notes.append(f"{root}: holds no {TRAIN[0]}, so there is no split to learn from; set data.train_split=val.")
    else:
        shown, more = _by_folder(train)
        notes += more
    measured, more = _validation(val, bases, boxes, threads)
    notes += more
    synsets = sorted({*shown.values()} if train is not None else {*measured.values()})
    names = dict(zip(synsets, _names(synsets, _words(bases)), strict=True))
    strange = [path for path, synset in measured.items() if synset not in names]
    if strange:
        notes.append(f"{len(strange)} photographs of val show no class of train and were left out: {strange[0]}, ….")
    measured = {path: synset for path, synset in measured.items() if synset in names}
    if not measured:
        raise InputError(f"{val}: none of its photographs shows a class of {train}; check --imagenet.")
    annotations = {path.stem: path for path in sorted(boxes.glob("*.xml"))} if boxes is not None else {}
    ids = name_ids([*shown, *measured])
    items = [Item(ids[path], path, (names[synset],)) for path, synset in shown.items()]
    for path, synset in measured.items():
        xml = annotations.get(path.stem)
        content = None if xml is None else functools.partial(voc_annotation, xml, path, names)
        items.append(Item(ids[path], path, (names[synset],), annotation=content))
    if annotations:
        there = sum(path.stem in annotations for path in measured)
        notes.append(f"{there} of the {len(measured)} photographs of val have boxes.")
    splits = {"train": sorted(ids[path] for path in shown), "val": sorted(ids[path] for path in measured)}
    return Plan(
        check_names([names[synset] for synset in synsets], root),
        sorted(items, key=lambda item: item.id),
        {split: own for split, own in splits.items() if own},
        {"kind": "imagenet", "root": str(root.resolve())},
        notes,
    )


def voc_annotation(path: Path, photo: Path, names: Mapping[str, str]) -> bytes:
    """An annotation of ImageNet as VOC would write it.

    ImageNet counts pixels from 0 and names the last one; and its boxes are of the size at which somebody drew them, the
    annotation's own, which need not be that of the photograph. Objects of other synsets are left out.

    Args:
        path: The annotation.
        photo: Its photograph.
        names: The class of each synset.

    Raises:
        InputError: one of the files is missing or broken, or no object is left.
    """
    found, said = read_plain_boxes(path)
    size = pictures.read_size(photo)
    scales = (1.0, 1.0) if said is None else (size[0] / said[0], size[1] / said[1])
    own = [(names[name], edges) for name, edges in found if name in names]
    boxes = []
    for _, (left, top, right, bottom) in own:
        last = [min(scale * (e + 1), side) for scale, e, side in zip(scales, (right, bottom), size, strict=True)]
        boxes.append([scales[0] * left, scales[1] * top, *last])
    if not own:
        raise InputError(f"{path}: has no object of a class of this data set; remove the file or the photograph.")
    return document(photo.name, size, [name for name, _ in own], np.array(boxes))


def _find(bases: Sequence[Path], places: Sequence[str]) -> Path | None:
    """The first of these folders that is there."""
    return next((base / place for base in bases for place in places if (base / place).is_dir()), None)


def _file(bases: Sequence[Path], *names: str) -> Path | None:
    """The first of these files that is there, in the root or in the development kit."""
    paths = (base / kit / name for name in names for base in bases for kit in KITS)
    return next((path for path in paths if path.is_file()), None)


def _by_folder(folder: Path) -> tuple[dict[Path, str], list[str]]:
    """The synset of each photograph of folder/<synset>/, and notes."""
    placed, found = read_class_folders(folder)
    return {photo.path: photo.label for photo in placed}, describe_left_out(folder, found.others, found.skipped)


def _validation(
    folder: Path, bases: Sequence[Path], boxes: Path | None, threads: int
) -> tuple[dict[Path, str], list[str]]:
    """The synset of each validation photograph, and notes."""
    found = walk(folder, recursive=False).check()
    if not found.photographs:
        return _by_folder(folder)
    notes = describe_left_out(folder, found.others, found.skipped)
    solution, truth, numbers = _file(bases, SOLUTION), _file(bases, TRUTH), _file(bases, *NUMBERS)
    if solution is not None:
        said, source = _solution(solution), solution
        synsets = {path: said.get(path.stem) for path in found.photographs}
    elif truth is not None and numbers is not None:
        listed, source = _truth(truth, _numbers(numbers)), truth
        synsets = {path: _at(listed, path, truth) for path in found.photographs}
    elif boxes is not None:
        source = boxes
        with ThreadPoolExecutor(max(1, threads)) as pool:
            own = pool.map(functools.partial(_annotated, boxes), found.photographs)
            bar = tqdm(own, "annotations", len(found.photographs), disable=None)
            synsets = dict(zip(found.photographs, bar, strict=True))
    else:
        raise InputError(f"{folder}: what its photographs show is said nowhere; {HOW}.")
    missing = next((path for path, synset in synsets.items() if synset is None), None)
    if missing is not None:
        raise InputError(f"{missing}: {source} does not say what it shows; complete it, or remove the photograph.")
    return {path: synset for path, synset in synsets.items() if synset is not None}, notes


def _lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """The lines of a list that hold something, with their numbers."""
    lines = disk.read_text(path, what).split("\n")
    if len(lines) > MOST:
        raise InputError(f"{path}: has {len(lines):,} lines, and {MOST:,} are the most; check the file.")
    return ((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip())


def _words(bases: Sequence[Path]) -> dict[str, str]:
    """The words of each synset, as a list of them or the development kit says them; none where neither is there."""
    path = _file(bases, *WORDS)
    if path is None:
        numbers = _file(bases, NUMBERS[0])
        return {} if numbers is None else {synset: words for _, synset, words in _meta(numbers)}
    words = {}
    for number, line in _lines(path, "list of synsets"):
        found = _LINE.fullmatch(line)
        if found is None:
            raise InputError(f"{path}: line {number} is not '<synset> <words>', such as 'n01440764 tench'; correct it.")
        words[found[1]] = found[2]
    return words


def _names(synsets: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """The classes' names: the first word, or what tells the synset from others."""
    first = [words.get(synset, synset).partition(",")[0].strip() for synset in synsets]
    first = [synset if fault_of_name(name) else name for synset, name in zip(synsets, first, strict=True)]
    alike = {name for name, count in Counter(map(fold, first)).items() if count > 1} | {"background"}
    return [f"{name} ({synset})" if fold(name) in alike else name for synset, name in zip(synsets, first, strict=True)]


def _numbers(path: Path) -> dict[int, str]:
    """The synset of each of the development kit's numbers."""
    if path.suffix == ".mat":
        return {number: synset for number, synset, _ in _meta(path)}
    numbers = {}
    for line, text in _lines(path, "list of synsets"):
        synset, number, *_ = [*text.split(), "", ""]
        if not re.fullmatch(r"n\d{8}", synset) or not re.fullmatch(r"[0-9]{1,6}", number):
            raise InputError(f"{path}: line {line} is not '<synset> <number> <word>'; unpack the archive anew.")
        numbers[int(number)] = synset
    return numbers


def _meta(path: Path) -> list[tuple[int, str, str]]:
    """Number, synset and words of each line of the development kit's meta.mat."""
    structs = read_mat(path, "synsets", "list of synsets")
    try:
        fields = [structs[name].ravel() for name in ("ILSVRC2012_ID", "WNID", "words")]
        rows = [tuple(np.asarray(value).ravel()[0] for value in row) for row in zip(*fields, strict=True)]
        return [(int(number), str(synset), str(words)) for number, synset, words in rows]
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: is no list of synsets of ILSVRC 2012 ({error}); unpack the archive anew.") from None


def _truth(path: Path, synsets: Mapping[int, str]) -> list[str]:
    """The synset of each line of the challenge's list."""
    listed = []
    for line, text in _lines(path, "list of numbers"):
        if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) not in synsets:
            raise InputError(f"{path}: line {line} is no number of a synset; unpack the development kit anew.")
        listed.append(synsets[int(text)])
    return listed


def _at(listed: Sequence[str], photo: Path, truth: Path) -> str | None:
    """What the line of the photograph's number says: ILSVRC2012_val_00000001 is the first."""
    number = _NUMBER.fullmatch(photo.stem)
    if number is None:
        raise InputError(f"{photo}: has no number at the end of its name, as {truth} needs it; give it back its name.")
    place = int(number[1]) - 1
    return listed[place] if 0 <= place < len(listed) else None


def _solution(path: Path) -> dict[str, str]:
    """The synset of each photograph of Kaggle's table."""
    found = {}
    for line, text in _lines(path, "table of boxes"):
        name, _, boxes = text.partition(",")
        synsets = {*boxes.split()[::5]}
        if line == 1 and name == "ImageId":
            continue
        if len(synsets) != 1 or not re.fullmatch(r"n\d{8}", next(iter(synsets))):
            raise InputError(f"{path}: line {line} is not '<photograph>,<synset> <box> …' of one synset; correct it.")
        found[name] = next(iter(synsets))
    return found


def _annotated(boxes: Path, photo: Path) -> str | None:
    """The one synset of a photograph's annotation."""
    path = boxes / f"{photo.stem}.xml"
    names = {*read_label_names(path, HOW)} if path.exists() else set()
    if len(names) > 1:
        raise InputError(f"{path}: names {len(names)} synsets, and a photograph of the challenge has one; {HOW}.")
    return next(iter(names), None)
