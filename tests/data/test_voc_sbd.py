"""VOC 2012 and SBD, written in their official layout and structs: lists, labels, masks, and files left as they were."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from helpers import write_mask_file
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import SBDataset

from dsrg.data.prepare import write_set
from dsrg.data.voc import VocFolder
from dsrg.data.voc_sbd import find_sbd, find_voc, plan_voc, read_sbd_mask, train_aug
from dsrg.errors import InputError
from dsrg.files.pictures import read_mask
from dsrg.labels import VOC

LISTS = {
    "voc_train": ["2007_1", "2007_2"],
    "voc_val": ["2007_3", "2008_4"],
    "sbd_train": ["2007_2", "2008_4", "2008_5"],  # one of VOC's val, as SBD's own lists have it
    "sbd_val": ["2008_6", "2007_3"],
}
SIZE = (14, 10)


def make_mask(name: str, first: int, second: int) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[2:8, 1 : 3 + int(name[-1])] = first
    mask[4:6, 10:13] = second
    return mask


def write_mat(path: Path, mask: np.ndarray) -> None:
    """The struct of an official file: GTcls with Boundaries (a sparse map a class), Segmentation, CategoriesPresent."""
    boundaries = np.empty((20, 1), object)
    for index in range(20):
        boundaries[index, 0] = scipy.sparse.csc_matrix((mask == index + 1).astype(np.float64))
    present = np.setdiff1d(np.unique(mask), [0]).astype(np.uint8)[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    struct = {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": present}
    scipy.io.savemat(path, {"GTcls": struct}, do_compression=True)


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def official(tmp_path: Path) -> tuple[Path, Path]:
    """VOCdevkit/VOC2012 and benchmark_RELEASE/dataset, tiny; XML and masks differ in their classes."""
    voc, sbd = tmp_path / "in/VOCdevkit/VOC2012", tmp_path / "in/benchmark_RELEASE/dataset"
    for name in sorted({name for names in LISTS.values() for name in names}):
        for folder in (voc / "JPEGImages", sbd / "img"):
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE, (0, 99, 0)).save(folder / f"{name}.jpg")
        objects = "<object><name>dog</name><difficult>1</difficult></object><object><name>cat</name></object>"
        write_lines(voc / f"Annotations/{name}.xml", [f"<annotation>{objects * 2}</annotation>"])
    for name in LISTS["voc_train"] + LISTS["voc_val"]:
        mask = make_mask(name, VOC.index("sofa"), VOC.index("person"))
        mask[1] = 255
        write_mask_file(voc / f"SegmentationClass/{name}.png", mask)
    for name in LISTS["sbd_train"] + LISTS["sbd_val"]:
        write_mat(sbd / f"cls/{name}.mat", make_mask(name, VOC.index("bus"), VOC.index("tvmonitor")))
    for split in ("train", "val"):
        write_lines(voc / f"ImageSets/Segmentation/{split}.txt", LISTS[f"voc_{split}"])
        write_lines(sbd / f"{split}.txt", LISTS[f"sbd_{split}"])
    return voc, sbd


ids = st.sets(st.text("0123456789_", min_size=1, max_size=3))


@given(ids, ids, ids, ids)
def test_train_aug_is_all_of_sbd_and_voc_train_without_voc_val(
    sbd_train: set[str], sbd_val: set[str], voc_train: set[str], voc_val: set[str]
) -> None:
    found = train_aug(sbd_train, sbd_val, voc_train, voc_val)
    everything = [*sbd_train, *sbd_val, *voc_train, *voc_val]
    for name in everything:
        assert (name in found) == (name not in voc_val and (name in sbd_train or name in sbd_val or name in voc_train))
    assert set(found) <= set(everything)
    assert found == sorted(set(found))


def test_train_aug_with_labels_and_masks(official: tuple[Path, Path], tmp_path: Path) -> None:
    voc, _ = official
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "in").rglob("*.*") if path.is_file()
    }
    plan = plan_voc(tmp_path / "in/VOCdevkit", tmp_path / "in")
    assert plan.notes == ["train_aug has 4 photographs; with the official lists it has 10582."]
    assert write_set(tmp_path / "set", plan, link="hard") == []
    folder = VocFolder(tmp_path / "set", classes="voc")
    photos = {split: [photo.id for photo in folder.photos(split)] for split in ("train", "val", "train_aug")}
    assert photos["train"] == LISTS["voc_train"]
    assert photos["val"] == LISTS["voc_val"]
    assert photos["train_aug"] == ["2007_1", "2007_2", "2008_5", "2008_6"]
    expected = np.isin(VOC, ("background", "cat", "dog"))
    for photo in folder.photos("train_aug") + folder.photos("val"):
        np.testing.assert_array_equal(photo.tags, expected)
        mask = read_mask(folder.mask_path(photo), len(VOC))
        own = voc / f"SegmentationClass/{photo.id}.png"
        # VOC's where both exist, as for 2007_2 and VOC's val
        truth = read_mask(own) if own.is_file() else make_mask(photo.id, VOC.index("bus"), VOC.index("tvmonitor"))
        np.testing.assert_array_equal(mask, truth)
    with_xml = VocFolder(tmp_path / "set", classes="voc", labels="Annotations").photos("train_aug")
    np.testing.assert_array_equal([photo.tags for photo in with_xml], [expected] * 4)
    after = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "in").rglob("*.*") if path.is_file()
    }
    assert after == before


def test_labels_from_masks(official: tuple[Path, Path]) -> None:
    voc, sbd = official
    for path in (voc / "Annotations").iterdir():
        path.unlink()
    plan = plan_voc(voc, sbd, label_source="masks")
    assert {item.id: item.labels for item in plan.items} == {
        **dict.fromkeys(LISTS["voc_train"] + LISTS["voc_val"], ("person", "sofa")),
        **dict.fromkeys(["2008_5", "2008_6"], ("bus", "tvmonitor")),
    }
    assert all(item.annotation is None for item in plan.items)
    with pytest.raises(InputError, match=r"\.xml: the annotation does not exist; add it or add --label-source masks"):
        plan_voc(voc, sbd)


def test_voc_alone(official: tuple[Path, Path]) -> None:
    plan = plan_voc(official[0])
    assert dict(plan.splits) == {"train": LISTS["voc_train"], "val": LISTS["voc_val"]}
    assert plan.notes == []
    assert plan.counts == {name: 4 * (name in ("cat", "dog")) for name in VOC[1:]}


def test_masks_of_sbd_are_those_that_torchvision_reads(official: tuple[Path, Path]) -> None:
    _, sbd = official
    dataset = SBDataset(sbd, "train", mode="segmentation")  # sbd has torchvision's own layout: cls, img, train.txt
    for position, name in enumerate(LISTS["sbd_train"]):
        np.testing.assert_array_equal(read_sbd_mask(sbd / f"cls/{name}.mat"), np.array(dataset[position][1]))


def test_folders_are_found_where_the_archives_put_them(official: tuple[Path, Path], tmp_path: Path) -> None:
    voc, sbd = official
    assert find_voc(voc) == find_voc(voc.parent) == find_voc(voc.parents[1]) == voc
    assert find_sbd(sbd) == find_sbd(sbd.parent) == find_sbd(sbd.parents[1]) == sbd
    with pytest.raises(InputError, match="holds no VOCdevkit/VOC2012 .*check --voc"):
        find_voc(sbd)
    with pytest.raises(InputError, match="holds no benchmark_RELEASE/dataset .*check --sbd"):
        find_sbd(voc)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("voc/ImageSets/Segmentation/val.txt", None, r"val\.txt: the list does not exist"),
        ("sbd/train.txt", b"\n", r"train\.txt: the list is empty"),
        ("sbd/val.txt", b"\xff\xfe\xff", r"val\.txt: the list is not in UTF-8"),
        ("sbd/cls/2008_5.mat", None, r"2008_5\.mat: the mask does not exist"),
        ("voc/Annotations/2007_1.xml", b"<annotation>", r"2007_1\.xml: not valid XML"),
        ("voc/Annotations/2007_1.xml", b"<annotation/>", r"2007_1\.xml: shows no object"),
        (
            "voc/Annotations/2007_1.xml",
            b"<annotation><object><name>wolf</name></object></annotation>",
            r"2007_1\.xml: the label 'wolf' is not in the classes of VOC",
        ),
    ],
)
def test_what_is_missing_or_broken_is_named(
    official: tuple[Path, Path], file: str, content: bytes | None, message: str
) -> None:
    folder, _, rest = file.partition("/")
    path = dict(zip(("voc", "sbd"), official, strict=True))[folder] / rest
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        plan_voc(*official)


def test_a_photograph_that_voc_lacks_comes_from_sbd(official: tuple[Path, Path]) -> None:
    voc, sbd = official
    (voc / "JPEGImages/2008_5.jpg").unlink()
    photos = {item.id: item.photo for item in plan_voc(voc, sbd).items}
    assert photos["2008_5"] == sbd / "img/2008_5.jpg"
    (sbd / "img/2008_5.jpg").unlink()
    with pytest.raises(InputError, match=r"2008_5\.jpg: the photograph does not exist"):
        plan_voc(voc, sbd)


@pytest.mark.parametrize(
    "content", [b"", b"MATLAB 5.0", {"other": 1}, {"GTcls": {"Segmentation": np.full((3, 3), 21, np.uint8)}}]
)
def test_broken_masks_of_sbd_are_refused(tmp_path: Path, content: bytes | dict) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, content) if isinstance(content, dict) else path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mat: (not a readable annotation of SBD|its Segmentation is no mask)"):
        read_sbd_mask(path)
    with pytest.raises(InputError, match=r"b\.mat: the annotation of SBD does not exist"):
        read_sbd_mask(tmp_path / "b.mat")
