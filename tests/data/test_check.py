"""The data check finds each planted fault, by file, and nothing else; a clean folder has none."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import make_voc, write_mask_file
from PIL import Image

from dsrg.data.check import check_data
from dsrg.data.checked import check_files
from dsrg.data.demo import CLASSES, generate
from dsrg.data.faults import DataCheck
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError

TABLE, TRAIN, VAL = "image_labels.csv", "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt"

Found = tuple[str, str]
"""Kind of a fault and the file, relative to the data folder."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "clean"
    generate(root, train=40, val=20, size=48)
    return root


@pytest.fixture
def root(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "data"))


def check(root: Path, **settings: object) -> DataCheck:
    return check_data(VocFolder(root), "train", "val", **settings)  # type: ignore[arg-type]


def found(result: DataCheck, *, warnings: bool = False) -> list[Found]:
    faults = result.warnings if warnings else result.faults
    for fault in faults:
        assert fault.message.startswith(str(fault.file)) or str(fault.file.parent) in fault.message
        assert fault.message.endswith(".")
        assert "\n" not in fault.message
    return sorted((fault.kind, fault.file.relative_to(result.root).as_posix()) for fault in faults)


def photo(number: int) -> str:
    return f"JPEGImages/train_{number:05d}.jpg"


def mask(number: int) -> str:
    return f"SegmentationClass/train_{number:05d}.png"


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text("".join(change(line) for line in path.read_text().splitlines(keepends=True)))


def relabel(root: Path, name: str, labels: str) -> None:
    edit(root / TABLE, lambda line: f"{name},{labels}\n" if line.startswith(f"{name},") else line)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def change_mask(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with Image.open(path) as image:
        pixels, palette = np.array(image), image.getpalette()
    changed = Image.fromarray(change(pixels))
    if changed.mode == "L" and palette:
        changed.putpalette(palette)
    changed.save(path)


def with_corner(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(pixels: np.ndarray) -> np.ndarray:
        pixels = pixels.copy()
        pixels[0, 0] = value
        return pixels

    return change


# Ten faults, each of another photograph, so that all can be planted in one folder.
TEN: dict[str, tuple[Callable[[Path], object], Found]] = {
    "missing": (lambda root: (root / photo(0)).unlink(), ("photograph missing", photo(0))),
    "unreadable": (lambda root: cut_short(root / photo(1)), ("photograph unreadable", photo(1))),
    "no mask": (lambda root: (root / mask(2)).unlink(), ("mask missing", mask(2))),
    "size": (lambda root: change_mask(root / mask(3), lambda pixels: pixels[:-1]), ("size mismatch", mask(3))),
    "colour": (
        lambda root: change_mask(root / mask(4), lambda pixels: np.stack([pixels] * 3, -1)),
        ("mask in colour", mask(4)),
    ),
    "index": (lambda root: change_mask(root / mask(5), with_corner(77)), ("index out of range", mask(5))),
    "unknown label": (lambda root: relabel(root, "train_00006", "zebra"), ("unknown label", TABLE)),
    "no label": (lambda root: relabel(root, "train_00007", ""), ("no label", TABLE)),
    "class": (lambda root: append(root / "classes.txt", "dragon\n"), ("class without photograph", TRAIN)),
    "twice": (lambda root: append(root / TRAIN, "train_00008\n"), ("name twice", TRAIN)),
}

MORE: dict[str, tuple[Callable[[Path], object], Found]] = {
    "mask cut short": (lambda root: cut_short(root / mask(0)), ("mask unreadable", mask(0))),
    "no photograph at all": (lambda root: (root / photo(1)).write_bytes(b""), ("photograph unreadable", photo(1))),
    "text for a photograph": (lambda root: (root / photo(1)).write_text("hello"), ("photograph unreadable", photo(1))),
    "no row": (
        lambda root: edit(root / TABLE, lambda line: "" if line.startswith("train_00002,") else line),
        ("no label", TABLE),
    ),
    "background alone": (lambda root: relabel(root, "train_00003", "background"), ("no label", TABLE)),
    "row twice": (lambda root: append(root / TABLE, "train_00004.jpg,\n"), ("name twice", TABLE)),
    "both splits": (lambda root: append(root / VAL, "train_00005\n"), ("in both splits", VAL)),
    "two endings": (
        lambda root: shutil.copy(root / photo(6), (root / photo(6)).with_suffix(".png")),
        ("name twice", "JPEGImages/train_00006.png"),
    ),
    "capital ending": (
        lambda root: shutil.copy(root / photo(6), (root / photo(6)).with_suffix(".JPG")),
        ("name twice", photo(6)),
    ),
    "capitals of files": (
        lambda root: shutil.copy(root / photo(7), root / "JPEGImages/Train_00007.jpg"),
        ("name twice", TRAIN),
    ),
    "empty split": (lambda root: (root / VAL).write_text("\n"), ("empty split", VAL)),
    "no split": (lambda root: (root / VAL).unlink(), ("split missing", VAL)),
    "split not UTF-8": (lambda root: (root / VAL).write_bytes(b"b\xe4r\n"), ("split unreadable", VAL)),
    "no table": (lambda root: (root / TABLE).unlink(), ("labels missing", TABLE)),
    "table without header": (
        lambda root: edit(root / TABLE, lambda line: "" if line.startswith("image,") else line),
        ("labels unreadable", TABLE),
    ),
    "table not UTF-8": (
        lambda root: (root / TABLE).write_bytes((root / TABLE).read_bytes() + b"b\xe4r,cat\n"),
        ("labels unreadable", TABLE),
    ),
    "index just out": (
        lambda root: change_mask(root / mask(8), with_corner(len(CLASSES))),
        ("index out of range", mask(8)),
    ),
    "index 254": (lambda root: change_mask(root / mask(9), with_corner(254)), ("index out of range", mask(9))),
}


def test_a_clean_folder_has_no_fault_and_is_counted(clean: Path) -> None:
    result = check(clean)
    assert (result.faults, result.warnings, result.unused) == ([], [], 0)
    with (clean / TABLE).open(newline="") as file:
        labels = {row["image"]: row["labels"].split() for row in csv.DictReader(file)}
    for name, split in result.splits.items():
        own = [labels[word] for word in (clean / f"ImageSets/Segmentation/{name}.txt").read_text().split()]
        assert (split.photographs, split.masks) == (len(own), len(own))
        assert split.labels.tolist() == [len(own), *(sum(c in names for names in own) for c in CLASSES[1:])]
        assert split.sizes.tolist() == [[48, 48]] * len(own)
    assert result.table().splitlines()[:2] == [
        "train: 40 photographs of 48 x 48 pixels, 40 masks",
        "val: 20 photographs of 48 x 48 pixels, 20 masks",
    ]


@pytest.mark.parametrize("name", [*TEN, *MORE])
def test_a_planted_fault_is_found_and_nothing_else(root: Path, name: str) -> None:
    plant, expected = (TEN | MORE)[name]
    plant(root)
    result = check(root)
    assert found(result) == [expected]
    assert result.warnings == []


def test_ten_planted_faults_are_all_found_and_nothing_else(root: Path) -> None:
    assert len(TEN) == 10
    for plant, _ in TEN.values():
        plant(root)
    result = check(root)
    assert found(result) == sorted(expected for _, expected in TEN.values())
    assert result.warnings == []
    assert {fault.photo for fault in result.faults} == {f"train_{number:05d}" for number in range(9)} | {""}
    for threads in (1, 8):
        assert check(root, threads=threads).found == result.found


@pytest.mark.parametrize("name", [*TEN, *MORE])
def test_a_run_stops_at_what_the_check_lists(root: Path, name: str) -> None:
    """A run reads with the same code: its one sentence is the check's, for all faults that stop a run."""
    (TEN | MORE)[name][0](root)
    (listed,) = check(root).faults
    folder = VocFolder(root)
    try:
        for split in ("train", "val"):
            photos = folder.photos(split)
            check_files(folder, photos, masks=folder.mask_dir)
    except InputError as error:
        if listed.kind != "mask missing":  # a run does not measure such a split, and goes on
            assert str(error) == listed.message
    else:
        assert listed.kind in ("class without photograph", "in both splits", "name twice")


def test_two_faults_of_one_mask_are_both_listed(root: Path) -> None:
    change_mask(root / mask(3), lambda pixels: with_corner(77)(pixels[:, 1:]))
    assert found(check(root)) == [("index out of range", mask(3)), ("size mismatch", mask(3))]


def test_a_mask_is_read_where_its_photograph_cannot_be(root: Path) -> None:
    cut_short(root / photo(3))
    change_mask(root / mask(3), with_corner(77))
    assert found(check(root)) == [("index out of range", mask(3)), ("photograph unreadable", photo(3))]


def test_several_unknown_labels_of_one_photograph_are_all_listed(root: Path) -> None:
    relabel(root, "train_00003", "zebra frog unicorn")
    result = check(root)
    assert found(result) == [("unknown label", TABLE)] * 2
    assert ["'zebra'" in fault.message for fault in result.faults] == [True, False]


def test_names_in_the_splits_that_differ_in_capitals(root: Path) -> None:
    shutil.copy(root / photo(0), root / "JPEGImages/Train_00000.jpg")
    shutil.copy(root / mask(0), root / "SegmentationClass/Train_00000.png")
    row = next(line for line in (root / TABLE).read_text().splitlines() if line.startswith("train_00000,"))
    append(root / TABLE, row.replace("train", "Train") + "\n")
    append(root / VAL, "Train_00000\n")
    result = check(root)
    assert found(result) == [("name twice", TRAIN)]
    assert "'Train_00000' and 'train_00000' differ in capitals alone" in result.faults[0].message


def test_labels_and_masks_that_differ_are_warned_of(root: Path) -> None:
    labels = dict(line.split(",") for line in (root / TABLE).read_text().splitlines()[1:])
    first = labels["train_00000"].split()
    absent = next(name for name in CLASSES[1:] if name not in first)
    relabel(root, "train_00000", " ".join([*first, absent]))
    change_mask(
        root / mask(1), with_corner(next(i for i, n in enumerate(CLASSES) if n not in labels["train_00001"] and i))
    )
    result = check(root)
    assert result.faults == []
    assert found(result, warnings=True) == [("labels differ from mask", mask(0)), ("labels differ from mask", mask(1))]
    assert f"does not show '{absent}'" in result.warnings[0].message
    assert "not among the photograph's labels" in result.warnings[1].message
    assert check(root, masks=False).found == ()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_photograph_that_the_camera_turned_is_warned_of(root: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(root / photo(2)) as image:
        image.load()
    image.save(root / photo(2), exif=exif)
    result = check(root)
    assert result.faults == []
    assert found(result, warnings=True) == ([] if orientation == 1 else [("photograph turned", photo(2))])


def test_a_class_that_val_alone_lacks_is_a_warning(root: Path) -> None:
    with_frog = {line.split(",")[0] for line in (root / TABLE).read_text().splitlines() if "frog" in line}
    edit(root / VAL, lambda line: "" if line.strip() in with_frog else line)
    result = check(root)
    assert (result.faults, found(result, warnings=True)) == ([], [("class without photograph", VAL)])
    assert result.unused == len([name for name in with_frog if name.startswith("val")]) > 0


def test_masks_that_are_all_missing_are_no_fault(root: Path) -> None:
    shutil.rmtree(root / "SegmentationClass")
    result = check(root)
    assert result.found == ()
    assert [split.masks for split in result.splits.values()] == [0, 0]


def test_masks_can_be_left_out(root: Path) -> None:
    (root / mask(0)).unlink()
    (root / mask(1)).write_bytes(b"")
    assert check(root, masks=False).found == ()


def test_one_split_for_both_is_no_leak(root: Path) -> None:
    assert check_data(VocFolder(root), "train", "train").found == ()


def annotate(root: Path, names: list[str], label: str, box: tuple[int, int, int, int] = (1, 1, 8, 8)) -> None:
    (root / "Annotations").mkdir(exist_ok=True)
    edges = "".join(f"<{e}>{v}</{e}>" for e, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    text = f"<annotation><object><name>{label}</name><bndbox>{edges}</bndbox></object></annotation>"
    for name in names:
        (root / f"Annotations/{name}.xml").write_text(text)


def test_boxes_of_annotations(tmp_path: Path) -> None:
    names = ("background", "cat", "dog")
    root = make_voc(
        tmp_path,
        {"train": ("a", "b", "d"), "val": ("c",)},
        names=names,
        masks=False,
        labels=dict.fromkeys("ab", "cat"),
    )
    assert check(root).found == ()
    annotate(root, ["a", "b", "c"], "cat")
    differ = ("labels differ from boxes", "Annotations/c.xml")
    assert found(check(root), warnings=True) == [("annotation missing", "Annotations/d.xml"), differ]
    annotate(root, ["d"], "cow")
    annotate(root, ["b"], "dog", (1, 1, 99, 8))
    (root / "Annotations/a.xml").write_text("<annotation>")
    expected = [("annotation unreadable", "a"), ("box wrong", "b"), ("unknown label", "d")]
    assert found(check(root)) == [(kind, f"Annotations/{name}.xml") for kind, name in expected]
    assert check(root, boxes=False).found == ()


def test_labels_from_annotations(tmp_path: Path) -> None:
    root = make_voc(tmp_path, {"train": ("a", "b", "d"), "val": ("c",)}, names=("background", "cat"), masks=False)
    annotate(root, ["a", "b", "c", "d"], "cat")
    (root / TABLE).unlink()
    folder = VocFolder(root, labels="Annotations")
    assert check_data(folder, "train", "val").found == ()
    (root / "Annotations/a.xml").write_text("<annotation>")
    (root / "Annotations/b.xml").unlink()
    annotate(root, ["d"], "cow")
    expected = [("annotation missing", "b"), ("annotation unreadable", "a"), ("unknown label", "d")]
    assert found(check_data(folder, "train", "val")) == [(kind, f"Annotations/{name}.xml") for kind, name in expected]


def test_real_photographs_have_no_fault(shared: Path) -> None:
    """A twentieth of them; `dsrg check-data --root ../shared/data/voc6` reads all."""
    folder = VocFolder(shared / "data/voc6")
    result = check_data(folder, "val", "val")
    assert result.found == ()
    assert result.splits["val"].photographs == result.splits["val"].masks == 150


def test_grey_masks_are_as_good_as_palette_ones(root: Path) -> None:
    with Image.open(root / mask(0)) as image:
        pixels = np.array(image)
    write_mask_file(root / mask(0), pixels)
    assert check(root).found == ()


def test_what_lies_there_and_is_not_read_is_warned_of(root: Path) -> None:
    (root / "JPEGImages/new.jpg").symlink_to("/no/such/photograph.jpg")
    (root / "JPEGImages/@eaDir").mkdir()
    (root / "JPEGImages/notes.txt").touch()
    (root / "JPEGImages/IMG_1.NEF").touch()
    (root / "SegmentationClass/train_00000.jpg").touch()
    result = check(root)
    assert found(result) == []
    left = [warning.message for warning in result.warnings]
    for part in ("new.jpg: is a link to /no/such/photograph.jpg", "@eaDir", "notes.txt", "IMG_1.NEF: photographs of"):
        assert sum(part in message for message in left) == 1, part
    assert sum("SegmentationClass: 1 files are no masks" in message for message in left) == 1


def test_masks_whose_ending_is_in_capitals_are_read(root: Path) -> None:
    for path in (root / "SegmentationClass").glob("*.png"):
        path.rename(path.with_suffix(".PNG"))
    result = check(root)
    assert (found(result), result.splits["train"].masks) == ([], 40)
    change_mask(root / mask(5).replace("png", "PNG"), with_corner(77))
    assert found(check(root)) == [("index out of range", mask(5).replace("png", "PNG"))]


def test_masks_that_are_links_to_nothing_are_faults(root: Path) -> None:
    for path in (root / "SegmentationClass").glob("*.png"):
        path.unlink()
        path.symlink_to("/no/such/mask.png")
    faults = check(root).faults
    assert len(faults) == 60
    assert all(".png: is a link to /no/such/mask.png, which does not exist" in fault.message for fault in faults)


@pytest.mark.parametrize("kind", ["photograph", "mask"])
def test_what_is_no_regular_file_is_a_fault_and_does_not_hang(root: Path, kind: str) -> None:
    path = root / (photo(1) if kind == "photograph" else mask(1))
    path.unlink()
    os.mkfifo(path)
    assert found(check(root)) == [(f"{kind} unreadable", path.relative_to(root).as_posix())]
