"""Which tool a file or folder comes from, by its content: the front of all doors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dsrg.data import class_folders, coco, columns, labelme, own
from dsrg.data.doors import (
    beginnings,
    coco_files,
    cvat,
    label_studio,
    labelme_files,
    layouts,
    legend,
    open_images,
    tables,
    unread,
    yolo,
)
from dsrg.data.own import Tagged, Unlabelled, plan_tagged
from dsrg.data.photograph import Found, check_folder, describe_left_out, fold, walk
from dsrg.data.prepare import Plan
from dsrg.data.table import LabelTable, match, read_labels, read_objects
from dsrg.errors import InputError
from dsrg.files.manifest import identity
from dsrg.files.markup import read_xml
from dsrg.files.pictures import IMAGE_EXTENSIONS

TABLES = (".csv", ".tsv", ".jsonl")
ENDINGS = (*TABLES, ".json", ".xml")
"""Of files that may hold labels."""
READ = (
    "a table 'image,labels' (CSV, JSON Lines), Label Studio's CSV, JSON, JSON-MIN and COCO, CVAT's COCO, VOC and 'CVAT "
    "for images', Roboflow's COCO and CSV, LabelMe's JSON, Hugging Face's metadata.csv and .jsonl, Open Images' CSV, "
    "YOLO"
)


class Choice(NamedTuple):
    """What the user says of the data set to be made."""

    val: float
    """Share of the photographs set aside where nothing names splits, in 0..1."""
    unlabelled: Unlabelled
    threads: int = 4
    boxes: Path | None = None
    """Folder of annotations, VOC XML or LabelMe JSON, of some or all of the photographs."""

    def check_boxes(self, where: Path) -> None:
        """Refuse a folder of annotations beside labels that have places of their own; raises InputError."""
        if self.boxes is not None:
            raise InputError(f"--boxes: the objects in {where} have places of their own; leave it out.")


class Door(NamedTuple):
    """Something that is known."""

    title: str
    """The tool and its format, for the note; empty for what tools of no name write."""
    files: Sequence[Path]
    plan: Callable[[Path, Choice], Plan]
    """From the folder of photographs."""


def plan_any(photos: Path, labels: Path | None, choice: Choice) -> Plan:
    """Plan the data set of photographs with labels from anywhere.

    Args:
        photos: Folder of the photographs, or of an export that has them within.
        labels: A file of labels or annotations, or the folder of an export; None where `photos` holds them, or is one
            folder a class.
        choice: What else was asked for.

    Raises:
        InputError: the labels are not known, or as their reader.
    """
    if labels is not None and labels.is_dir():
        door = door_of_folder(labels)
        if door is None:
            raise InputError(f"{labels}: holds no labels that are known; give the file of them. Read are {READ}.")
    elif labels is not None:
        door = door_of_file(labels)
    else:
        unread.check_format(photos)
        check_folder(photos, "photographs", "--photos")
        door = door_of_folder(photos)
    if door is None:
        return _plan_folders(photos, choice)
    plan = door.plan(photos, choice)
    where = door.files[0] if len(door.files) == 1 else labels or photos
    if door.title:
        plan.notes.insert(0, f"{where}: read as {door.title}.")
    elif labels is None:
        plan.notes.insert(0, f"{where}: the labels were read from it.")
    return plan


def photos_by(file: Path) -> Path:
    """The folder where the photographs of a file of annotations lie: its own, or of annotations/a.json that above."""
    above = file.parent.resolve().name.casefold() == "annotations" and not walk(file.parent).photographs
    return file.parent.parent if above else file.parent


def door_of_file(path: Path) -> Door:
    """The door of a file of labels or annotations.

    Raises:
        InputError: it is of no kind that is known, or cannot be read.
    """
    unread.check_format(path)
    begin = beginnings.begin_of(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _yolo(path.parent, path)
    if begin.lstrip()[:1] == "<":
        return _door_of_xml(path)
    if begin.lstrip()[:1] in ("{", "[") and path.suffix.lower() != ".jsonl" and not beginnings.is_lines(begin):
        return _door_of_json(path)
    if begin.lstrip()[:1] not in ("{", "[") and open_images.is_header(beginnings.header_in(begin)):
        return _open_images([path], path)
    if begin.lstrip()[:1] not in ("{", "[") and label_studio.is_header(beginnings.header_in(begin)):
        title = "Label Studio's " + ("TSV" if "\t" in begin.split("\n", 1)[0] else "CSV")
        return _label_studio(title, path, lambda: label_studio.read_sheet(beginnings.sheet_of(path)))
    return Door("", [path], lambda photos, choice: _plan_table(photos, path, choice))


def door_of_folder(root: Path) -> Door | None:
    """The door of an unpacked export, by the files in it; None for a folder of photographs alone.

    Raises:
        InputError: several files may be the labels, or the export is of a kind that is not read.
    """
    if not root.is_dir():
        return None
    found = walk(root)
    others = found.others
    named: dict[str, list[Path]] = {}
    for path in others:
        named.setdefault(fold(path.name), []).append(path)
    for title, files in (
        ("Roboflow's COCO", named.get(coco_files.ROBOFLOW, [])),
        ("Hugging Face's metadata", [*named.get("metadata.csv", []), *named.get("metadata.jsonl", [])]),
        ("Roboflow's CSV", [*named.get("_classes.csv", []), *named.get("_annotations.csv", [])]),
    ):
        if files:
            return _several(title, files, root)
    if layouts.legend_file(root) and layouts.mask_folder(root):
        tool = legend.FILES[layouts.legend_file(root).name]  # type: ignore[union-attr]
        return Door(
            f"{tool}'s masks in VOC's layout", [root], lambda photos, choice: _plan_layout(root, photos, choice)
        )
    if layouts.is_voc(root):
        return _voc(root)
    unread.check_export(named, READ)
    return _door_of_content(root, found)


def _door_of_content(root: Path, found: Found) -> Door | None:
    """The door of the only files in a folder, or in its annotations/, that hold labels."""
    shapes = [path for path in found.others if path.suffix.lower() == ".json" and labelme.begins(path)]
    if shapes:
        return _labelme(root, shapes)
    places = (root, root / "annotations", root / "Annotations")
    candidates = [path for path in found.others if path.parent in places and path.suffix.lower() in ENDINGS]
    xml = [path for path in found.others if path.suffix.lower() == ".xml"]
    of_voc = bool(xml) and "<annotations" not in beginnings.begin_of(xml[0])[:10_000]  # one a photograph
    if of_voc and len(xml) > 1:
        return _voc(root)
    tables = [path for path in candidates if path.suffix.lower() == ".csv"]
    tables = [path for path in tables if open_images.is_header(beginnings.header_of(path))]
    if tables:
        return _open_images(tables, root)
    doors = [door for path in candidates if (door := _door_if_known(path, root, found)) is not None]
    if len(doors) > 1:  # such as a competition's example of what is to be handed in
        doors = [door for door in doors if not _is_of_others(door, root, found)] or doors
    if len(doors) > 1 and all(path.name.startswith("instances_") for door in doors for path in door.files):
        files = [path for door in doors for path in door.files]
        title = f"{doors[0].title or 'COCO'}, one file a subset"
        return Door(title, files, _coco({path: beginnings.json_of(path) for path in files}, root))
    if len(doors) > 1:
        names = "' and '".join(door.files[0].relative_to(root).as_posix() for door in doors[:2])
        raise InputError(f"{root}: both '{names}' may be the labels; name the right one with --labels.")
    if not doors and xml:
        return _voc(root) if of_voc else _cvat(root, xml)
    if not doors and yolo.texts_in(root, found):
        return _yolo(root, yolo.legend_file(root, found))
    return doors[0] if doors else None


def _is_of_others(door: Door, root: Path, found: Found) -> bool:
    """Whether a door is of a table of photographs that are not there."""
    path = door.files[0]
    return path.suffix.lower() in (".csv", ".tsv") and not unread.names_photographs(path, root, found)


def _door_if_known(path: Path, root: Path, found: Found) -> Door | None:
    """The door of a file that lies in a folder of photographs; None for one that holds no labels.

    Raises:
        InputError: it cannot be read, or is a table of labels of these photographs and broken.
    """
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            header = beginnings.header_of(path)
            known = columns.rank(header) > 1 or label_studio.is_header(header) or open_images.is_header(header)
            if not known and not read_labels(path).rows:  # a column for each class
                return None
        return door_of_file(path)
    except InputError as error:
        if error.kind == columns.UNREADABLE and unread.names_photographs(path, root, found):
            raise InputError(f"{error} If it is no table of labels, take it out of {root}.", error.kind) from None
        if error.kind in (_UNKNOWN, columns.UNREADABLE, columns.NO_TABLE):
            return None
        raise


_UNKNOWN = "labels unknown"
"""The kind of fault of a file that holds no labels."""


def _door_of_json(path: Path) -> Door:
    value = beginnings.json_of(path)
    if coco_files.is_content(value):
        tool = coco_files.tool_of(value, path)
        return Door(f"{tool}'s COCO" if tool else "", [path], _coco({path: value}, path))
    if label_studio.is_export(value):
        kind = "JSON" if not isinstance(value, list) or "data" in value[0] else "JSON-MIN"
        return _label_studio(f"Label Studio's {kind}", path, lambda: label_studio.read_json(value, path))
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return Door("", [path], lambda photos, choice: _plan_rows(value, photos, path, choice))
    if isinstance(value, dict) and value and all(Path(name).suffix.lower() in IMAGE_EXTENSIONS for name in value):
        pairs = [{"image": name, "labels": labels} for name, labels in value.items()]
        return Door("", [path], lambda photos, choice: _plan_rows(pairs, photos, path, choice))
    if isinstance(value, dict) and isinstance(value.get("shapes"), list):
        raise InputError(f"{path}: is LabelMe's file of one photograph; give the folder that holds all.", _UNKNOWN)
    keys = ", ".join(map(str, list(value)[:6]))[:120] if isinstance(value, dict) else f"a {type(value).__name__}"
    raise InputError(f"{path}: is JSON of no kind that is known ({keys}); read are {READ}.", _UNKNOWN)


def _door_of_xml(path: Path) -> Door:
    root = read_xml(path, "annotation file", limit=cvat.LARGEST)
    if root.tag == "annotation":
        raise InputError(f"{path}: is a VOC annotation of one photograph; give the folder that holds all.", _UNKNOWN)
    if not cvat.is_export(root):
        raise InputError(f"{path}: is XML of no kind that is known (<{root.tag[:40]}>); read are {READ}.", _UNKNOWN)
    read = cvat.read_export(root, path)

    def plan(photos: Path, choice: Choice) -> Plan:
        export = read.among([photo.relative_to(photos) for photo in walk(photos).photographs])
        if not export.has_shapes:
            return _plan_matched(export.table(), photos, path, choice)
        choice.check_boxes(path)
        names = coco.used_names({path: export.content})
        found = coco.instances_of(export.content, path, photos, names=names, in_order=True)
        given = {file: export.splits[name] for file, name in found.names.items()} if export.splits else {}
        found.notes[:0] = export.notes
        return coco.plan_instances(path, [found], names, given, val=choice.val)

    return Door("CVAT's 'CVAT for images'", [path], plan)


def _label_studio(title: str, path: Path, read: Callable[[], label_studio.Export]) -> Door:
    def plan(photos: Path, choice: Choice) -> Plan:
        export = read()
        if not export.has_regions:
            return _plan_matched(label_studio.table_of(export), photos, path, choice)
        choice.check_boxes(path)
        content, notes = label_studio.content_of(export)
        names = coco.used_names({path: content})
        found = coco.instances_of(content, path, photos, names=names)
        found.notes[:0] = notes
        return coco.plan_instances(path, [found], names, {}, val=choice.val)

    return Door(title, [path], plan)


def _several(title: str, files: Sequence[Path], root: Path) -> Door:
    """The door of files of one kind, one a folder."""
    if title.endswith("COCO"):
        return Door(title, files, _coco({path: beginnings.json_of(path) for path in files}, root))
    masks = [path for path in files if path.name == legend.PIXEL_VALUES and legend.is_pixel_values(path)]
    if masks:
        return Door("Roboflow's masks", masks, lambda photos, choice: _plan_beside(root, masks, choice))

    def plan(photos: Path, choice: Choice) -> Plan:
        tagged = tables.read_tables(root, files)
        stamps = {"tables": [[str(path.resolve()), *identity(path)] for path in files]}
        where = files[0] if len(files) == 1 else root
        return _plan_tagged(tagged, root, where, choice, stamps)

    return Door(title, files, plan)


def _coco(values: dict[Path, Any], where: Path) -> Callable[[Path, Choice], Plan]:
    def plan(photos: Path, choice: Choice) -> Plan:
        choice.check_boxes(where)
        folders = coco_files.photos_of(list(values), photos)
        return coco_files.plan_files(where, values, folders, val=choice.val)

    return plan


def _cvat(root: Path, files: Sequence[Path]) -> Door:
    """The door of CVAT's export that lies deeper in a folder; raises InputError for several."""
    if len(files) > 1:
        names = "' and '".join(path.relative_to(root).as_posix() for path in files[:2])
        sentence = f"'{names}' are of several of CVAT's tasks; give the folder of one, or export their project"
        raise InputError(f"{root}: {sentence}.")
    return _door_of_xml(files[0])


def _labelme(root: Path, files: Sequence[Path]) -> Door:
    def plan(photos: Path, choice: Choice) -> Plan:
        choice.check_boxes(root)
        return labelme_files.plan_files(root, files, photos, val=choice.val)

    return Door("LabelMe's JSON", [root], plan)


def _yolo(root: Path, legend: Path | None) -> Door:
    def plan(photos: Path, choice: Choice) -> Plan:
        choice.check_boxes(root)
        return yolo.plan_files(root, legend, photos, val=choice.val)

    return Door("YOLO", [root], plan)


def _voc(root: Path) -> Door:
    def plan(photos: Path, choice: Choice) -> Plan:
        choice.check_boxes(root)
        tagged, folder = layouts.read_voc_labels(root, photos)
        boxes = layouts.annotation_folder(root)
        has_xml = any(path.suffix.lower() == ".xml" for path in walk(boxes).others) if boxes.is_dir() else False
        return _plan_tagged(tagged, folder, root, choice._replace(boxes=boxes if has_xml else None))

    return Door("VOC's annotations", [root], plan)


def _open_images(tables: Sequence[Path], where: Path) -> Door:
    def plan(photos: Path, choice: Choice) -> Plan:
        tagged = open_images.read_tables(photos, tables)
        return _plan_tagged(tagged, photos, where, choice)

    return Door("Open Images' CSV", tables, plan)


def _plan_layout(root: Path, photos: Path, choice: Choice) -> Plan:
    choice.check_boxes(root)
    return layouts.plan_layout(root, photos, val=choice.val, threads=choice.threads)


def _plan_beside(root: Path, masks: Sequence[Path], choice: Choice) -> Plan:
    choice.check_boxes(root)
    return layouts.plan_beside(root, masks, val=choice.val, threads=choice.threads)


def _plan_folders(photos: Path, choice: Choice) -> Plan:
    """The plan of one folder a class; where there are none, what is wrong with the files that may be labels is told."""
    try:
        return own.plan_own(photos, val=choice.val, unlabelled=choice.unlabelled, boxes=choice.boxes)
    except InputError as error:
        if error.kind != class_folders.NO_FOLDERS:
            raise
        layouts.check_legend(photos)
        found = walk(photos)
        files = [path for path in found.others if path.suffix.lower() in (*ENDINGS, *unread.ENDINGS)]
        for path in [*(path for path in found.others if path.name in yolo.YAML), *files]:
            door_of_file(path).plan(photos, choice)  # it was not taken for labels, and tells why
            raise InputError(f"{path}: may be the labels of {photos}; if so, name it with --labels.") from None
        raise


def _plan_table(photos: Path, path: Path, choice: Choice) -> Plan:
    return own.plan_own(photos, path, val=choice.val, unlabelled=choice.unlabelled, boxes=choice.boxes)


def _plan_rows(rows: Sequence[Any], photos: Path, path: Path, choice: Choice) -> Plan:
    """A JSON list of objects as JSON Lines have them."""
    return _plan_matched(read_objects(enumerate(rows, 1), path), photos, path, choice)


def _plan_matched(table: LabelTable, photos: Path, path: Path, choice: Choice) -> Plan:
    found = match(table, photos, path)
    notes = found.notes + describe_left_out(photos, found.found.others, found.found.skipped)
    return _plan_tagged(Tagged(found.labels, notes, found.splits, found.bare), photos, path, choice)


def _plan_tagged(
    tagged: Tagged, photos: Path, where: Path, choice: Choice, files: Mapping[str, Any] | None = None
) -> Plan:
    return plan_tagged(
        tagged, photos, where, val=choice.val, unlabelled=choice.unlabelled, files=files, boxes=choice.boxes
    )
