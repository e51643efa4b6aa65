"""The generated demo data set: the same bytes each time, labels that agree with the masks, nobody's folder touched."""

import csv
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dsrg.data import demo
from dsrg.errors import InputError
from dsrg.labels import IGNORE


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def labels_of(root):
    with (root / "image_labels.csv").open() as file:
        return {row["image"]: row["labels"].split() for row in csv.DictReader(file)}


def mask_of(root, name):
    return np.array(Image.open(root / "SegmentationClass" / f"{name}.png"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "set"
    demo.generate(root, train=20, val=6, size=64, seed=3)
    return root


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made, tmp_path):
    demo.generate(tmp_path / "again", train=20, val=6, size=64, seed=3)
    demo.generate(tmp_path / "other", train=20, val=6, size=64, seed=4)
    assert contents(tmp_path / "again") == contents(made)
    photo = "JPEGImages/train_00000.jpg"
    assert (tmp_path / "other" / photo).read_bytes() != (made / photo).read_bytes()


def test_a_picture_does_not_depend_on_how_many_there_are(made, tmp_path):
    demo.generate(tmp_path / "few", train=2, val=1, size=64, seed=3)
    for name in ("train_00001", "val_00000"):
        photo = f"JPEGImages/{name}.jpg"
        assert (tmp_path / "few" / photo).read_bytes() == (made / photo).read_bytes()


def test_the_layout_is_complete_and_the_splits_are_disjoint(made):
    splits = [(made / "ImageSets/Segmentation" / f"{split}.txt").read_text().split() for split in ("train", "val")]
    assert [len(split) for split in splits] == [20, 6]
    names = set(splits[0]) | set(splits[1])
    assert len(names) == 26
    assert {path.stem for path in (made / "JPEGImages").glob("*.jpg")} == names
    assert {path.stem for path in (made / "SegmentationClass").glob("*.png")} == names
    assert set(labels_of(made)) == names
    assert (made / "classes.txt").read_text().split() == list(demo.CLASSES)
    assert demo.CLASSES[0] == "background"
    assert not list(made.rglob("*.tmp"))
    assert not (made / demo.UNFINISHED).exists()


def test_the_labels_are_the_classes_seen_in_the_masks(made):
    for name, labels in labels_of(made).items():
        seen = set(np.unique(mask_of(made, name))) - {0, IGNORE}
        assert [demo.CLASSES[label] for label in sorted(seen)] == labels


def test_every_class_occurs_and_some_pictures_hold_two(made):
    labels = labels_of(made)
    assert {label for own in labels.values() for label in own} == set(demo.CLASSES[1:])
    assert {len(own) for own in labels.values()} == {1, 2}


def test_masks_have_the_size_of_the_photographs_and_a_sensible_share_of_object(made):
    for name in labels_of(made):
        image, mask = (
            Image.open(made / "JPEGImages" / f"{name}.jpg"),
            Image.open(made / f"SegmentationClass/{name}.png"),
        )
        assert (image.mode, mask.mode) == ("RGB", "P")
        assert image.size == mask.size == (64, 64)
        labels = np.array(mask)
        assert 0.08 <= ((labels > 0) & (labels < IGNORE)).mean() <= 0.55
        assert 0.005 <= (labels == IGNORE).mean() <= 0.15


def test_a_void_border_parts_every_object_from_the_background(made):
    for name in labels_of(made):
        mask = mask_of(made, name).astype(int)
        for one, other in ((mask[:, 1:], mask[:, :-1]), (mask[1:], mask[:-1])):
            assert not ((one != other) & (one != IGNORE) & (other != IGNORE)).any()


@pytest.mark.parametrize("seed", range(40))
def test_every_pose_ends_with_each_animal_in_sight(seed):
    _, mask = demo.draw(np.random.default_rng(seed), 48, 1 + seed % 5)
    assert (mask == 1 + seed % 5).mean() > 0.05


def test_a_complete_set_is_left_alone(made, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    monkeypatch.setattr(demo, "draw", lambda *_: pytest.fail("drew a picture of a complete set"))
    demo.generate(made, train=20, val=6, size=64, seed=3)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_an_interrupted_generation_is_finished(tmp_path, monkeypatch):
    demo.generate(tmp_path / "whole", train=5, val=2, size=48)
    draw, drawn = demo.draw, []

    def interrupt(*arguments):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(arguments)
        return draw(*arguments)

    monkeypatch.setattr(demo, "draw", interrupt)
    with pytest.raises(KeyboardInterrupt):
        demo.generate(tmp_path / "cut", train=5, val=2, size=48)
    assert not (tmp_path / "cut" / demo.MARK).exists()
    monkeypatch.undo()
    demo.generate(tmp_path / "cut", train=5, val=2, size=48)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_lost_file_is_drawn_again(tmp_path):
    demo.generate(tmp_path / "set", train=2, val=1, size=48)
    whole = contents(tmp_path / "set")
    (tmp_path / "set/JPEGImages/train_00001.jpg").unlink()
    demo.generate(tmp_path / "set", train=2, val=1, size=48)
    assert contents(tmp_path / "set") == whole


def test_other_parameters_replace_an_earlier_demo_set(tmp_path):
    demo.generate(tmp_path / "set", train=6, val=3, size=48)
    demo.generate(tmp_path / "set", train=2, val=1, size=64, seed=1)
    demo.generate(tmp_path / "fresh", train=2, val=1, size=64, seed=1)
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("stray", ["notes.txt", "JPEGImages/2007_000032.jpg", "demo.json"])
def test_a_folder_of_somebody_elses_is_refused_and_untouched(tmp_path, stray):
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    (tmp_path / stray).write_text("{}")
    with pytest.raises(InputError, match=str(tmp_path)):
        demo.generate(tmp_path, train=1, val=1)
    assert list(contents(tmp_path)) == [stray]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        demo.generate(tmp_path / "set")


@pytest.mark.parametrize("wrong", [{"train": 0}, {"val": -1}, {"size": 20}, {"seed": -1}])
def test_arguments_out_of_range_are_named(tmp_path, wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        demo.generate(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()


def run_tool(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "dsrg", "make-demo-data", *arguments], capture_output=True, text=True, check=False
    )


def test_the_tool_writes_the_set_and_refuses_with_status_2(tmp_path):
    done = run_tool("--root", str(tmp_path / "set"), "--train", "2", "--val", "1", "--size", "48")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "set" / demo.MARK).is_file()
    (tmp_path / "notes.txt").write_text("mine")
    refused = run_tool("--root", str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ") and "Traceback" not in refused.stderr
