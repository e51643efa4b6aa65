"""Which door an export goes to; what goes to none is refused in one sentence, and what is not labelled is counted."""

from pathlib import Path

import pytest
from door_files import dump, labels_of, photographs, plan, write
from helpers import Tool, check_refusal

from dsrg.data.doors.recognise import photos_by
from dsrg.errors import InputError


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"version": "4.5", "shapes": []}', "is LabelMe's file of one photograph; give the folder"),
        ("a.json", '{"version": "4.5"}', r"is JSON of no kind that is known \(version\); read are"),
        ("a.json", "[1, 2]", "is JSON of no kind that is known"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.zip", "PK", "is packed; unpack it"),
        ("a.csv", "foto;Klasse\n1;2\n", "no column is known for the photographs"),
        ("ghost.csv", None, "does not exist"),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    if text is not None:
        write(tmp_path / name, text)
    with pytest.raises(InputError, match=message):
        plan(photos, tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data.yaml", "as YOLO, which is not read; export COCO"),
        ("train/metadata.parquet", "Hugging Face's Parquet"),
        ("train/labels/a.txt", "has a .txt for each photograph, as YOLO writes"),
    ],
)
def test_exports_of_other_kinds_are_refused(tmp_path: Path, name: str, message: str) -> None:
    photographs(tmp_path, "train/images/a.jpg")
    write(tmp_path / name, "x")
    with pytest.raises(InputError, match=message):
        plan(tmp_path)


def test_other_files_in_a_folder_of_classes_are_no_labels(tmp_path: Path) -> None:
    photographs(tmp_path, "cat/a.jpg", "dog/b.jpg")
    write(tmp_path / "dataset_info.json", '{"description": "x"}')
    write(tmp_path / "prices.csv", "id,price,weight\n1,2.5,3\n")
    write(tmp_path / "readme.md", "x")
    made = plan(tmp_path)
    assert labels_of(made) == {"a": {"cat"}, "b": {"dog"}}
    assert any("3 files are no photographs" in note for note in made.notes)


def test_photographs_by_a_file_in_annotations(tmp_path: Path) -> None:
    photographs(tmp_path, "images/a.jpg")
    file = dump(tmp_path / "annotations/instances_default.json", {})
    assert photos_by(file) == tmp_path
    assert photos_by(dump(tmp_path / "images/a.json", {})) == tmp_path / "images"


def test_photographs_without_a_label_are_counted_and_left_out(tool: Tool, tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", *(f"{name}.jpg" for name in "abcdefgh"))
    table = write(tmp_path / "labels.csv", "image,labels\na,cat\nb,dog\nc,\nd,background\n")
    arguments = ("prepare_data", "--photos", photos, "--labels", table, "--root", tmp_path / "set")
    sentence = "6 of 8 photographs have no label in"
    check_refusal(tool(*arguments), sentence, "c.jpg, d.jpg, e.jpg and 3 more", "--unlabelled leave-out")
    assert not (tmp_path / "set").exists()
    code, out, _ = tool(*arguments, "--unlabelled", "leave-out")
    assert code == 0
    assert f"note: {photos}: {sentence} {table} and were left out (--unlabelled leave-out): c.jpg, d.jpg" in out
    assert len(list((tmp_path / "set/JPEGImages").iterdir())) == 2


def test_a_dry_run_writes_nothing(tool: Tool, tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "cat/a.jpg", "dog/b.jpg")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = tool("prepare_data", "--photos", photos, "--root", tmp_path / "set", "--dry-run")
    assert (code, err) == (0, "")
    assert "cat                  1 photographs" in out
    assert f"dry run: {tmp_path / 'set'} would get 2 photographs and 0 masks; nothing is written\n" in out
    assert sorted(tmp_path.rglob("*")) == before
    check_refusal(
        tool("prepare_data", "--voc", photos, "--root", tmp_path / "set", "--download", "--dry-run"),
        "--dry-run: does not go with --download",
    )
