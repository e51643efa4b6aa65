"""Tagged photographs of a user, in folders or in a table, become a plan of a data set."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import save_photo

from dsrg.data.labelled import Labelled, read_labelled
from dsrg.data.own import plan_own, read_folders, read_table
from dsrg.data.prepare import Plan, write_set
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError


def labels_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {item.id: item.labels for item in plan.items}


def test_one_folder_a_class(tmp_path: Path) -> None:
    for name in ("dog/a.jpg", "dog/deeper/b.PNG", "traffic light/c.jpg", "traffic light/a.jpg"):
        save_photo(tmp_path / "photos" / name)
    (tmp_path / "photos/readme.txt").touch()
    save_photo(tmp_path / "photos/@eaDir/thumb.jpg")
    plan = plan_own(tmp_path / "photos")
    # a.jpg lies in both folders with the same content: one photograph with two labels.
    assert labels_of(plan) == {"a": ("dog", "traffic light"), "b": ("dog",), "c": ("traffic light",)}
    assert plan.classes == ("background", "dog", "traffic light")
    assert plan.counts == {"dog": 2, "traffic light": 2}
    assert plan.notes == [
        f"{tmp_path / 'photos'}: 1 files are no photographs and were left out: readme.txt.",
        f"{tmp_path / 'photos'}: 1 files or folders are hidden, a system's, or found twice, and were left out: @eaDir.",
    ]


def test_different_photographs_of_one_name_stay_two(tmp_path: Path) -> None:
    for colour, name in enumerate(("cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "cow/x/1.JPG", "cow/y/1.jpg")):
        save_photo(tmp_path / name, 40 * colour)
    plan = plan_own(tmp_path)
    cow, dog = ("cow",), ("dog",)
    assert labels_of(plan) == {"cat_1": ("cat",), "dog_1": dog, "2": dog, "x_1": cow, "y_1": cow}
    assert any("1 file names stand for different photographs" in note for note in plan.notes)


def test_a_table_and_folders_give_the_same_set(tmp_path: Path) -> None:
    for colour, name in enumerate(("cat/u.jpg", "dog/v.jpg", "dog/w.jpg", "cat/x.jpg")):
        save_photo(tmp_path / "folders" / name, 40 * colour)
        save_photo(tmp_path / "flat" / Path(name).name, 40 * colour)
    save_photo(tmp_path / "folders/dog/u.jpg", 0)
    table = tmp_path / "flat/labels.csv"
    table.write_text("image,labels\nx.jpg,cat\nw,dog\nv.jpg,dog\nu.jpg,dog cat\n")
    write_set(tmp_path / "one", plan_own(tmp_path / "folders"))
    write_set(tmp_path / "two", plan_own(tmp_path / "flat", table))
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert files == sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*.*"))
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)


def test_table_with_several_labels(tmp_path: Path) -> None:
    for name in ("one.jpg", "my photo.jpg", "sub/three.jpg"):
        save_photo(tmp_path / "photos" / name)
    table = tmp_path / "labels.csv"
    # With a byte order mark and Windows line ends, as Excel writes "CSV UTF-8"; paths of Windows; other case.
    text = "image,labels\none.jpg,dog cat\nMY PHOTO.JPG,traffic light;dog;background\nsub\\three.jpg,cat\n"
    table.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    write_set(tmp_path / "set", plan_own(tmp_path / "photos", table, val=0.3))
    folder = VocFolder(tmp_path / "set")
    assert folder.classes.names == ("background", "cat", "dog", "traffic light")
    assert len(folder.photos("val")) == 1
    tags = {photo.id: photo.tags.tolist() for photo in folder.photos("train") + folder.photos("val")}
    assert tags["my_photo"] == [True, False, True, True]
    assert tags["three"] == [True, True, False, False]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"image,labels\nghost.jpg,dog\n", r"ghost\.jpg: the photograph does not exist"),
        (
            b"image,labels\none.jpg,dog\n",
            r"1 of 2 photographs have no label in .*labels\.csv: two\.jpg; add their labels",
        ),
        (b"thing,tags\none.jpg,dog\n", "the first line must be 'image,labels'"),
        (b"image;tag;class\none.jpg;dog;x\n", "several columns of the same meaning, 'tag' and 'class'"),
        (b"image,labels\none.jpg,dog\ntwo.jpg,\n", r"1 of 2 photographs have no label"),
        (b"image,labels\none.jpg,dog\ntwo.jpg,background\n", r"no label in .*: two\.jpg"),
        (b"image,labels\none.jpg,dog\ntwo.jpg,dog\none,cat\n", "'one' is listed twice"),
        (b"image,labels\none.jpg,dog,cat\ntwo.jpg,dog\n", "line 2 has more columns than the first"),
        (b"image,labels\n,dog\n", "line 2 names no photograph"),
        ("image,labels\none.jpg,käse\n".encode("latin-1"), "the table of labels is not in UTF-8"),
        ("image,labels\n".encode("utf-16"), "the table of labels is not in UTF-8"),
        (b"image,labels\none.jpg,dog\ntwo.jpg,Dog\n", r"the class 'dog' has the same name as 'Dog'"),
        (b"image,labels\none.jpg,Background\ntwo.jpg,dog\n", "the class 'Background' has the same name as background"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, table: bytes, message: str) -> None:
    for name in ("one.jpg", "two.jpg"):
        save_photo(tmp_path / "photos" / name)
    path = tmp_path / "labels.csv"
    path.write_bytes(table)
    with pytest.raises(InputError, match=message):
        plan_own(tmp_path / "photos", path)


def test_a_name_that_means_two_photographs_is_refused(tmp_path: Path) -> None:
    for name in ("x/a.jpg", "y/a.jpg"):
        save_photo(tmp_path / "photos" / name)
    table = tmp_path / "labels.csv"
    table.write_text("image,labels\na.jpg,dog\n")
    with pytest.raises(InputError, match=r"'a\.jpg' may be .*x/a\.jpg or .*y/a\.jpg; write the path"):
        read_table(tmp_path / "photos", table)
    with pytest.raises(InputError, match=r"none\.csv: the table of labels does not exist"):
        read_table(tmp_path / "photos", tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds no folder of photographs"),
        (["a.jpg"], "holds no folder of photographs"),
        (["dog/a.jpg", "b.jpg"], r"1 of 2 photographs lie in no class's folder: b\.jpg; move them into one, or go on"),
        (["dog/a.jpg", "cat/notes.txt"], "cat: holds no photograph"),
        (["dog/a.jpg", "Background/b.jpg"], "Background: background is class 0"),
        (["dog/a.jpg", "DOG/b.jpg"], "the class 'dog' has the same name as 'DOG'"),
        (["dog/a.jpg", "a;b/b.jpg"], "the class 'a;b' is empty or has a ';'"),
        (["dog/a.jpg", "dog/A.JPG"], r"a\.jpg: has the same name as .*A\.JPG"),
        (["dog/a.jpg"], "two photographs are the least"),
        (["images/a.jpg", "images/b.jpg"], "its photographs lie in 'images', which is called as no class is"),
        (["Images/a.jpg", "masks/a.jpg"], "lie in 'Images', 'masks', which is called as no class is"),
        (["train/images/a.jpg", "valid/images/b.jpg"], "its photographs lie in 'images'"),
        (["zoo/cat/a.jpg", "zoo/dog/b.jpg"], "lie in the folders of one folder, 'zoo'; give .*zoo if these are the cl"),
    ],
)
def test_bad_folders_are_refused(tmp_path: Path, files: list[str], message: str) -> None:
    for colour, name in enumerate(files):
        if name.endswith(".txt"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).touch()
        else:
            save_photo(tmp_path / name, 40 * colour)
    with pytest.raises(InputError, match=message):
        plan_own(tmp_path)


def test_photographs_to_be_classified_lie_in_no_class(tmp_path: Path) -> None:
    """Competitions give a folder of classes to learn from, and photographs without a label beside it."""
    for colour, name in enumerate(("train/cat/1", "train/dog/2", "train/cat/3", "test/4", "test/5")):
        save_photo(tmp_path / f"{name}.jpg", 40 * colour)
    with pytest.raises(
        InputError, match=r"2 of 5 photographs lie in no class's folder: test/4\.jpg, test/5\.jpg; move"
    ):
        plan_own(tmp_path)
    plan = plan_own(tmp_path, unlabelled="leave-out")
    assert labels_of(plan) == {"1": ("cat",), "2": ("dog",), "3": ("cat",)}
    assert sorted(plan.splits) == ["train", "val"]
    assert any("2 of 5 photographs lie in no class's folder and were left out" in note for note in plan.notes)


@pytest.mark.parametrize("above", ["images", "data", "data/images"])
def test_a_folder_called_as_no_class_may_hold_those_of_the_classes(tmp_path: Path, above: str) -> None:
    """As CUB's images/; and where there are others beside it, 'mask' and 'data' may be classes."""
    for colour, name in enumerate(("cat/1", "dog/2", "dog/old/3")):
        save_photo(tmp_path / f"in/{above}/{name}.jpg", 40 * colour)
        save_photo(tmp_path / f"beside/{('data', 'mask', 'mask')[colour]}/{name}.jpg", 40 * colour)
    assert labels_of(plan_own(tmp_path / "in")) == {"1": ("cat",), "2": ("dog",), "3": ("dog",)}
    assert plan_own(tmp_path / "beside").classes == ("background", "data", "mask")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check --photos"):
        read_folders(tmp_path / "ghost")


def test_a_class_of_one_photograph_is_learnt(tmp_path: Path) -> None:
    for colour, name in enumerate(("cat/1.jpg", "dog/2.jpg", "dog/3.jpg")):
        save_photo(tmp_path / name, 40 * colour)
    plan = plan_own(tmp_path)
    assert "1" in plan.splits["train"]
    (tmp_path / "dog/3.jpg").unlink()
    notes = plan_own(tmp_path).notes
    assert len(notes) == 1
    assert notes[0].endswith("has no photograph to learn from; add some.")


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val"), {"train": ["1", "2"], "val": ["3"]}),
        (("Training", "valid"), {"train": ["1", "2"], "val": ["3"]}),
        (("train", "testing"), {"train": ["1", "2"], "val": ["3"], "test": ["3"]}),
        (("train", "validation", "test"), {"train": ["1", "2"], "val": ["3"], "test": ["4"]}),
    ],
)
def test_folders_of_splits_are_splits_and_no_classes(
    tmp_path: Path, folders: tuple[str, ...], splits: dict[str, list[str]]
) -> None:
    files = zip(("cat/1", "dog/2", "dog/3", "cat/4"), (0, 0, 1, 2), strict=True)
    for colour, (name, place) in enumerate(files):
        if place < len(folders):
            save_photo(tmp_path / folders[place] / f"{name}.jpg", 40 * colour)
    plan = plan_own(tmp_path)
    assert plan.classes == ("background", "cat", "dog")
    assert plan.splits == splits
    write_set(tmp_path / "set", plan)
    assert [photo.id for photo in VocFolder(tmp_path / "set").photos("val")] == splits["val"]


def test_one_folder_of_a_split_is_divided_and_a_class_may_be_called_train(tmp_path: Path) -> None:
    for colour, name in enumerate(("train/cat/1", "train/dog/2", "train/cat/3")):
        save_photo(tmp_path / f"one/{name}.jpg", 40 * colour)
    for colour, name in enumerate(("train/1", "bus/2", "bus/3")):
        save_photo(tmp_path / f"two/{name}.jpg", 40 * colour)
    assert plan_own(tmp_path / "one").classes == ("background", "cat", "dog")
    assert sorted(plan_own(tmp_path / "one").splits) == ["train", "val"]
    assert plan_own(tmp_path / "two").classes == ("background", "bus", "train")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("training_set", "test_set"),
        ("archive/TrainImages", "archive/TestImages"),
        ("train/train", "test/test"),
        ("pets-train-2017", "pets-test-2017"),
    ],
)
def test_folders_with_a_split_in_their_names_are_splits_where_they_hold_the_same_classes(
    tmp_path: Path, train: str, test: str
) -> None:
    for colour, name in enumerate((f"{train}/sea/1", f"{train}/ice/2", f"{test}/sea/3", f"{test}/ice/4")):
        save_photo(tmp_path / f"{name}.jpg", 40 * colour)
    plan = plan_own(tmp_path)
    assert plan.classes == ("background", "ice", "sea")
    assert plan.splits == {"train": ["1", "2"], "val": ["3", "4"], "test": ["3", "4"]}


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        (["train/1.jpg", "train station/2.jpg", "bus/3.jpg"], ("bus", "train", "train station")),
        (["train/1.jpg", "train/2.jpg", "bus/old/3.jpg"], ("bus", "train")),
        (["train/old/1.jpg", "train/new/2.jpg", "bus/old/3.jpg"], ("bus", "train")),
        (["test tube/1.jpg", "train station/2.jpg"], ("test tube", "train station")),
        (["test tube/a/1.jpg", "train car/a/2.jpg"], ("test tube", "train car")),
        (["face/1.jpg", "face_mask/1.jpg"], ("face", "face_mask")),
        (["mask/1.png", "no mask/1.png"], ("mask", "no mask")),
        (["face/1.jpg", "face/1_mask.jpg", "dog/3.jpg"], ("dog", "face")),
    ],
)
def test_classes_may_be_called_almost_as_splits_and_masks_are(
    tmp_path: Path, files: list[str], classes: tuple[str, ...]
) -> None:
    for colour, name in enumerate(files):
        save_photo(tmp_path / name, 40 * colour)
    plan = plan_own(tmp_path)
    assert plan.classes == ("background", *classes)
    assert len(plan.items) == len(files)


def test_masks_of_photographs_are_no_photographs(tmp_path: Path) -> None:
    names = ("benign/b (1).png", "benign/b (1)_mask.png", "benign/b (1)_mask_1.png", "ill/a.jpg", "ill/a_mask.png")
    for colour, name in enumerate((*names, "well/images/c.png", "well/masks/c.png")):
        save_photo(tmp_path / name, 30 * colour)
    plan = plan_own(tmp_path)
    assert labels_of(plan) == {"b_(1)": ("benign",), "a": ("ill",), "c": ("well",)}
    assert f"{tmp_path}: 4 files are no photographs and were left out: benign/b (1)_mask.png, " in plan.notes[0]


@pytest.mark.parametrize("place", ["_unlabeled", "no_label", "Unlabeled", "cat/../Unlabelled"])
def test_photographs_in_a_folder_of_unlabelled_ones_have_no_label(tmp_path: Path, place: str) -> None:
    for colour, name in enumerate(("cat/1.jpg", "dog/2.jpg", f"{place}/3.jpg")):
        save_photo(tmp_path / "flat" / name, 40 * colour)
        save_photo(tmp_path / "split/train" / name, 40 * colour)
    for folder, inner in (("flat", ""), ("split", "train/")):
        name = f"{inner}{place.rpartition('/')[2]}/3"
        with pytest.raises(InputError, match=rf"1 of 3 photographs lie in no class's folder: {name}\.jpg; move"):
            plan_own(tmp_path / folder)
        assert labels_of(plan_own(tmp_path / folder, unlabelled="leave-out")) == {"1": ("cat",), "2": ("dog",)}
    with pytest.raises(InputError, match=r"3\.jpg: lies in '.*', which says that it has no label; take that folder"):
        read_labelled(tmp_path / "flat")


@pytest.mark.parametrize("read", [plan_own, read_labelled])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["train_images/1.jpg", "test_images/2.jpg"],
            "'test_images' and 'train_images', .* but not the same classes",
        ),
        (["train2017/1.jpg", "val2017/2.jpg"], "'train2017' and 'val2017', which have the names of splits, but not"),
        (["train/1.jpg", "train_masks/1_mask.gif"], "train_masks: holds masks of the photographs in 'train'"),
        (["train/cats/1.jpg", "train/dogs/2.jpg", "pred/3.jpg"], "'train' has the name of a split and holds folders"),
        (["train/cats/1.jpg", "train/dogs/2.jpg", "pred/pred/3.jpg"], "holds folders alone, and 'pred' lies beside it"),
        (["train/1.jpg", "train_labels/1.png", "bus/3.jpg"], "'train' and 'train_labels', .* beside 'bus'"),
        (["odd_train/cat/1.jpg", "odd_val/dog/2.jpg"], "'odd_train' and 'odd_val', .* but not the same classes"),
        (["train_set/cat/1.jpg", "test_set/cat/2.jpg", "pred/3.jpg"], "beside 'pred'"),
        (["train/1.jpg", "val/2.jpg"], r"train/1\.jpg: lies in 'train', which has the name of a split"),
        (["train/cat/1.jpg", "val/cat/2.jpg", "more/3.jpg"], "'train' and 'val', .* beside 'more'"),
        (["train/cat/1.jpg", "test/background/2.jpg"], "background is class 0"),
    ],
)
def test_splits_in_part_are_refused(
    tmp_path: Path, read: Callable[[Path], object], files: list[str], message: str
) -> None:
    for colour, name in enumerate(files):
        save_photo(tmp_path / name, 40 * colour)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_splits_that_teach_nothing_or_share_a_photograph_are_refused(tmp_path: Path) -> None:
    for name in ("val/cat/1.jpg", "test/dog/2.jpg"):
        save_photo(tmp_path / "no" / name, len(name))
    with pytest.raises(InputError, match="holds no folder 'train'"):
        plan_own(tmp_path / "no")
    for name in ("train/cat/1.jpg", "val/dog/1.jpg"):
        save_photo(tmp_path / "both" / name)
    with pytest.raises(
        InputError, match=r"val/dog/1\.jpg: is the same photograph as .*train/cat/1\.jpg of another split"
    ):
        plan_own(tmp_path / "both")
    with pytest.raises(InputError, match="holds folders of splits; give one of them, .*both/train say"):
        read_labelled(tmp_path / "both")


@pytest.mark.parametrize("read", [plan_own, read_labelled])
@pytest.mark.parametrize("system", ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", ".thumbnails"])
def test_folders_of_systems_are_no_classes(tmp_path: Path, read: Callable[[Path], object], system: str) -> None:
    for colour, name in enumerate(("cat/1.jpg", "cat/2.jpg", "dog/3.jpg", f"{system}/4.jpg", f"cat/{system}/5.jpg")):
        save_photo(tmp_path / name, 40 * colour)
    found = read(tmp_path)
    if isinstance(found, Plan):
        assert labels_of(found) == {"1": ("cat",), "2": ("cat",), "3": ("dog",)}
    else:
        assert isinstance(found, Labelled)
        assert [photo.id for photo in found.photos] == ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"]


def test_the_folders_of_another_tool(shared: Path) -> None:
    plan = plan_own(shared / "cases/folders/min_train_test")
    assert plan.classes == ("background", "cat", "dog")
    assert plan.splits == {
        "train": ["2007_000175", "2007_000332", "2007_000392"],
        "val": ["2007_000464"],
        "test": ["2007_000464"],
    }
