"""Tables of other tools: Hugging Face's, Open Images', lists of JSON, and columns of splits."""

import json
from pathlib import Path

import pytest
from door_files import dump, labels_of, photographs, plan, write

from dsrg.errors import InputError


def test_a_path_that_should_lie_below_the_folder_is_not_guessed_at(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "x/a.jpg", "y/b.jpg")
    table = write(tmp_path / "labels.csv", "image,labels\nx/a.jpg,cat\nz/b.jpg,dog\n")
    with pytest.raises(InputError, match=r"photos/z/b\.jpg: the photograph does not exist"):
        plan(photos, table)
    table.write_text("image,labels\nold/a.jpg,cat\nold/b.jpg,dog\n")  # none is: the folder has another name now
    assert labels_of(plan(photos, table)) == {"a": {"cat"}, "b": {"dog"}}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "one at the root"])
def test_hugging_face_s_folders(tmp_path: Path, kind: str) -> None:
    labels = {"data/train/a.jpg": ["cat"], "data/train/b.jpg": ["dog", "cat"], "data/validation/a.jpg": ["dog"]}
    photographs(tmp_path, *labels)
    for name, own in labels.items():
        file = tmp_path / name
        if kind == "jsonl":
            with (file.parent / "metadata.jsonl").open("a") as lines:
                lines.write(json.dumps({"file_name": file.name, "label": own}) + "\n")
            continue
        table = tmp_path / "metadata.csv" if kind == "one at the root" else file.parent / "metadata.csv"
        text = table.read_text() if table.exists() else "file_name,Label\n"
        name = name if kind == "one at the root" else file.name
        table.write_text(f"{text}{name},{'|'.join(own)}\n")
    made = plan(tmp_path)
    assert labels_of(made) == {"train_a": {"cat"}, "b": {"cat", "dog"}, "validation_a": {"dog"}}
    assert made.splits == {"train": ["b", "train_a"], "val": ["validation_a"]}


def test_hugging_face_s_folders_with_a_photograph_in_no_split(tmp_path: Path) -> None:
    names = ("train/a.jpg", "val/b.jpg", "c.jpg")
    photographs(tmp_path, *names)
    write(tmp_path / "metadata.csv", "file_name,label\n" + "".join(f"{name},cat\n" for name in names))
    made = plan(tmp_path)
    assert sorted(id_ for split in ("train", "val") for id_ in made.splits[split]) == ["a", "b", "c"]
    sentence = "1 of 3 photographs are in no split, such as c.jpg; so the splits of the others were not followed."
    assert f"{tmp_path}: {sentence}" in made.notes


def test_a_json_list_of_rows_that_deny_labels(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    rows = [
        {"image": name, "label": label, "present": present}
        for name, label, present in (("a.jpg", "cat", 1), ("a.jpg", "dog", 0), ("b.jpg", "dog", "yes"))
    ]
    assert labels_of(plan(photos, dump(tmp_path / "a.json", rows))) == {"a": {"cat"}, "b": {"dog"}}


def test_open_images(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "0001.jpg", "0002.jpg", "0003.jpg")
    rows = ["0001,verification,/m/01yrx,1", "0001,verification,/m/0bt9lr,0", "0001,machine,/m/01yrx,1"]
    rows += ["0002,verification,/m/0bt9lr,1.0", "0003,verification,/m/01yrx,0", "ffff,verification,/m/01yrx,1"]
    table = write(tmp_path / "validation.csv", "ImageID,Source,LabelName,Confidence\n" + "\n".join(rows) + "\n")
    write(tmp_path / "oidv7-class-descriptions.csv", "LabelName,DisplayName\n/m/01yrx,Cat\n/m/0bt9lr,Dog\n")
    made = plan(photos, table)
    assert labels_of(made) == {"0001": {"Cat"}, "0002": {"Dog"}}
    assert any("1 photographs show none of their labels and were left out" in note for note in made.notes)
    photographs(tmp_path / "photos", "0004.jpg")
    with pytest.raises(InputError, match=r"1 of 3 photographs have no label in .*: 0004\.jpg"):
        plan(photos, table)
    table.write_text("ImageID,LabelName,Confidence\n0001,/m/01yrx,0.7\n")
    with pytest.raises(InputError, match=r"line 2 has the confidence '0\.7'; keep the rows"):
        plan(photos, table)
    table.write_text("ImageID,LabelName,Confidence\nffff,/m/01yrx,1\n")
    with pytest.raises(InputError, match="none of its rows is of a photograph in"):
        plan(photos, table)


def test_open_images_in_a_folder(tmp_path: Path) -> None:
    """A table a split, and others beside it, as the official files and CVAT have them."""
    photographs(tmp_path / "images", "train/a.jpg", "train/b.jpg", "validation/c.jpg")
    head = "ImageID,Source,LabelName,Confidence"
    write(tmp_path / "annotations/train-annotations-human-imagelabels.csv", f"{head}\na,v,/m/1,1\nb,v,/m/2,1\n")
    boxes = f"{head},XMin,XMax,YMin,YMax\na,x,/m/2,1,0,1,0,1\nc,x,/m/1,1,0,1,0,1\nc,x,/m/1,1,0,1,0,1\n"
    write(tmp_path / "annotations/validation-annotations-bbox.csv", boxes)
    write(tmp_path / "annotations/class-descriptions.csv", "/m/1,Cat\n/m/2,Dog\n")
    write(tmp_path / "annotations/train-images-with-rotation.csv", "ImageID,Subset,OriginalURL,License\na,train,,\n")
    made = plan(tmp_path)
    assert labels_of(made) == {"a": {"Cat", "Dog"}, "b": {"Dog"}, "c": {"Cat"}}
    assert made.splits == {"train": ["a", "b"], "val": ["c"]}


def test_a_column_of_splits_is_heeded(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    table = write(tmp_path / "t.csv", "filepaths,labels,data set\na.jpg,cat,train\nb.jpg,dog,TRAIN\nc.jpg,cat,valid\n")
    assert plan(photos, table).splits == {"train": ["a", "b"], "val": ["c"]}
    table.write_text(table.read_text().replace("valid", "2"))  # no names of splits
    assert sorted(plan(photos, table).splits) == ["train", "val"]


def test_a_json_list_of_rows(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    rows = [{"file_name": "a.jpg", "labels": ["cat"]}, {"file_name": "b.jpg", "labels": ["traffic light"]}]
    assert labels_of(plan(photos, dump(tmp_path / "a.json", rows))) == {"a": {"cat"}, "b": {"traffic light"}}


def test_json_from_photographs_to_labels(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "x/b.PNG")
    labels = {"a.jpg": "cat", "x/b.PNG": ["traffic light", "dog"]}
    assert labels_of(plan(photos, dump(tmp_path / "a.json", labels))) == {"a": {"cat"}, "b": {"traffic light", "dog"}}
