"""ImageNet in every layout in which it is unpacked becomes the same data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import Tool, check_refusal, save_photo
from imagenet_files import (
    NAMES,
    SYNSETS,
    VAL,
    photo_name,
    write_boxes,
    write_kit,
    write_photos,
    write_words,
    write_xml,
)

from dsrg.data.annotations import read_boxes_for
from dsrg.data.imagenet import plan_imagenet, voc_annotation
from dsrg.data.prepare import Plan, write_set
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.labels import Classes


def shown(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {item.id: item.labels for item in plan.items}


EXPECTED = {f"{synset}_{number}": (NAMES[number],) for number, synset in enumerate(SYNSETS)} | {
    photo_name(number): (NAMES[place],) for number, place in enumerate(VAL, 1)
}


@pytest.mark.parametrize("layout", ["mat", "map", "solution", "boxes", "folders", "kaggle"])
def test_every_layout_gives_the_same_labels(tmp_path: Path, layout: str) -> None:
    write_photos(tmp_path, sorted_val=layout == "folders")
    write_words(tmp_path)
    if layout in ("mat", "map"):
        write_kit(tmp_path, mat=layout == "mat")
    elif layout == "boxes":
        write_boxes(tmp_path)
    elif layout in ("solution", "kaggle"):
        rows = [f"{photo_name(number)},{SYNSETS[place]} 1 0 19 9 " for number, place in enumerate(VAL, 1)]
        rows[0] += f"{SYNSETS[VAL[0]]} 3 3 5 5 "
        (tmp_path / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows[::-1]]) + "\n")
    root = tmp_path
    if layout == "kaggle":  # the photographs lie deeper than the lists
        inner = tmp_path / "ILSVRC/Data/CLS-LOC"
        inner.mkdir(parents=True)
        for name in ("train", "val"):
            shutil.move(tmp_path / name, inner / name)
    plan = plan_imagenet(root)
    assert plan.classes == ("background", *NAMES)
    assert shown(plan) == EXPECTED
    assert {split: len(ids) for split, ids in plan.splits.items()} == {"train": 4, "val": 3}
    assert all(bool(item.annotation) == (layout == "boxes" and "val" in item.id) for item in plan.items)


def test_without_words_the_synsets_are_the_classes_and_the_kit_has_words_too(tmp_path: Path) -> None:
    write_photos(tmp_path)
    write_kit(tmp_path, mat=False)
    assert plan_imagenet(tmp_path).classes == ("background", *SYNSETS)
    shutil.rmtree(tmp_path / "ILSVRC2012_devkit_t12")
    write_kit(tmp_path)
    assert plan_imagenet(tmp_path).classes == ("background", *NAMES)


def test_a_part_of_the_classes_and_val_alone(tmp_path: Path) -> None:
    write_photos(tmp_path)
    write_kit(tmp_path)
    shutil.rmtree(tmp_path / "train" / SYNSETS[0])  # as ImageNet-100 has a tenth of them
    plan = plan_imagenet(tmp_path)
    assert plan.classes == ("background", "crane (n02012849)", "crane (n03126707)", "menu")
    assert list(plan.splits["val"]) == [photo_name(1), photo_name(3)]
    assert any("1 photographs of val show no class of train" in note for note in plan.notes)
    shutil.rmtree(tmp_path / "train")
    plan = plan_imagenet(tmp_path)
    assert list(plan.splits) == ["val"]
    assert plan.classes == (
        "background",
        NAMES[0],
        "crane",
        "menu",
    )  # of what val shows
    assert any("set data.train_split=val" in note for note in plan.notes)


def test_the_written_set_has_boxes_that_count_as_vocs_do(tmp_path: Path) -> None:
    write_photos(tmp_path / "in")
    write_words(tmp_path / "in")
    write_boxes(tmp_path / "in")
    plan = plan_imagenet(tmp_path / "in")
    assert "3 of the 3 photographs of val have boxes." in plan.notes
    write_set(tmp_path / "out", plan, link="hard")
    folder = VocFolder(tmp_path / "out")
    photos = folder.photos("val")
    assert folder.has_boxes(photos)
    assert not folder.has_boxes(folder.photos("train"))
    for photo, place in zip(photos, VAL, strict=True):
        assert photo.own.tolist() == [place + 1]
        found = read_boxes_for(folder.annotation_path(photo), (20, 10), folder.classes, photo.path)
        assert found.classes.tolist() == [place + 1]
        assert found.boxes.tolist() == [[1, 0, 20, 10]]  # all but the first column, half-open


def test_boxes_of_another_size_are_brought_to_the_photographs(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "a.png")  # 10 x 8
    classes, names = Classes(("background", "x<y")), {"n00000001": "x<y"}

    def boxes(objects: list[tuple[str, tuple[int, int, int, int]]], size: tuple[int, int]) -> np.ndarray:
        write_xml(tmp_path / "in.xml", objects, size)
        (tmp_path / "out.xml").write_bytes(voc_annotation(tmp_path / "in.xml", photo, names))
        return read_boxes_for(tmp_path / "out.xml", (10, 8), classes, photo).boxes

    assert boxes([("n00000001", (2, 2, 5, 7))], (10, 8)).tolist() == [[2, 2, 6, 8]]
    assert boxes([("n00000001", (0, 0, 10, 8))], (10, 8)).tolist() == [[0, 0, 10, 8]]  # some end on the size itself
    half = boxes([("n00000001", (4, 2, 13, 15)), ("n00000002", (0, 0, 3, 3))], (20, 16))
    assert half.tolist() == [[2, 1, 7, 8]]
    assert boxes([("n00000001", (0, 0, 9, 7))], (0, 0)).tolist() == [[0, 0, 10, 8]]  # no size: the photograph's
    with pytest.raises(InputError, match="has no object of a class of this data set"):
        boxes([("n00000002", (0, 0, 3, 3))], (10, 8))


def test_what_is_wrong_is_one_sentence(tmp_path: Path, tool: Tool) -> None:
    root, out = tmp_path / "in", tmp_path / "out"

    def refused(*named: object) -> None:
        check_refusal(tool("prepare-data", "--imagenet", root, "--root", out), *named)
        assert not out.exists()

    root.mkdir()
    refused(root, "holds no folder of validation photographs (val, ")
    write_photos(root)
    refused(root / "val", "what its photographs show is said nowhere", "LOC_val_solution.csv")
    kit = write_kit(root, mat=False)
    truth = kit / "ILSVRC2012_validation_ground_truth.txt"
    valid = truth.read_text()
    truth.write_text("4\n0\n2\n")
    refused(truth, "line 2 is no number of a synset")
    truth.write_text("4\n3\n")
    refused(root / "val" / f"{photo_name(3)}.JPEG", truth, "does not say what it shows")
    truth.write_text(valid)
    save_photo(root / "val/holiday.JPEG")
    refused(root / "val/holiday.JPEG", "has no number at the end of its name")
    (root / "val/holiday.JPEG").unlink()
    (kit / "map_clsloc.txt").write_text("n01440764 tench\n")
    refused(kit / "map_clsloc.txt", "line 1 is not '<synset> <number> <word>'")
    (kit / "meta.mat").write_bytes(b"MATLAB" * 40)
    refused(kit / "meta.mat", "not a readable list of synsets")
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\na,n01440764 1 2 3 4 n02012849 1 2 3 4\n")
    refused(root / "LOC_val_solution.csv", "line 2", "of one synset")
    (root / "LOC_val_solution.csv").unlink()
    (root / "LOC_synset_mapping.txt").write_text("tench\n")
    shutil.rmtree(kit.parent)
    write_boxes(root)
    refused(root / "LOC_synset_mapping.txt", "line 1 is not '<synset> <words>'")
    write_words(root)
    xml = root / "ILSVRC2012_bbox_val_v3/val" / f"{photo_name(2)}.xml"
    write_xml(xml, [(SYNSETS[0], (0, 0, 3, 3)), (SYNSETS[1], (0, 0, 3, 3))], (20, 10))
    refused(xml, "names 2 synsets")
    xml.unlink()
    refused(root / "val" / f"{photo_name(2)}.JPEG", "does not say what it shows")
