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
        ("data.yaml", r"data\.yaml: is YOLO's, but .* has no \.txt with the objects of a photograph; add"),
        ("_annotations.createml.json", "as CreateML, which is not read; export COCO"),
        ("train/metadata.parquet", "Hugging Face's Parquet"),
        (
            "data/train-00000-of-00001.parquet",
            r"001\.parquet: is Parquet or Arrow, which is not read; save its table as",
        ),
        ("cats.tfrecord", r"cats\.tfrecord: is TensorFlow's records"),
        ("labels.xlsx", r"labels\.xlsx: is a workbook; save its sheet as 'CSV UTF-8'"),
        ("photos.zip", r"photos\.zip: is packed; unpack it"),
        ("via.json", r"via\.json: not valid JSON"),
        ("labels.csv", r"labels\.csv: the first line must be 'image,labels', but it is 'x'"),
        ("annotations/a.xml", r"a\.xml: not valid XML"),
    ],
)
def test_exports_of_other_kinds_are_refused(tmp_path: Path, name: str, message: str) -> None:
    photographs(tmp_path, "train/images/a.jpg")
    write(tmp_path / name, {".json": "{", ".xml": "<"}.get(Path(name).suffix, "x"))
    with pytest.raises(InputError, match=message):
        plan(tmp_path)


@pytest.mark.parametrize("folders", [("ds/img", "ds/ann"), ("one/img", "one/ann", "two/img", "two/ann")])
def test_supervisely_s_folders_are_no_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for number, folder in enumerate(folders):
        if folder.endswith("img"):
            photographs(tmp_path, f"{folder}/{number}.jpg")
        else:
            dump(tmp_path / folder / f"{number - 1}.jpg.json", {"size": {}, "objects": []})
    dump(tmp_path / "meta.json", {"classes": []})
    with pytest.raises(InputError, match=r"meta\.json: is of an export as Supervisely, which is not read; export COCO"):
        plan(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", b"PK\x03\x04\xff", "is not in UTF-8 but a workbook of Excel or packed"),
        ("labels.csv", b"PAR1\xff", "is not in UTF-8 but Parquet; save it as a text in UTF-8, a table as CSV"),
        ("labels.csv", b"\x1f\x8b\x08", "is not in UTF-8 but packed"),
        ("labels.csv", "image,labels".encode("utf-16"), "is not in UTF-8 but in UTF-16"),
    ],
)
def test_what_is_no_text_is_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"labels.*{message}"):
        plan(photos, tmp_path / name)


def test_a_broken_table_of_the_photographs_is_not_passed_over_for_their_folders(tmp_path: Path) -> None:
    """As CheXpert's, whose folders are of patients; a table of other things beside folders of classes is left out."""
    photographs(tmp_path, "train/p1/a.jpg", "train/p2/b.jpg")
    table = write(tmp_path / "train.csv", "Path,Age,Edema\nSet/train/p1/a.jpg,68,1.0\nSet/train/p2/b.jpg,70,\n")
    with pytest.raises(InputError, match=r"train\.csv: line 2 has '68' in the column 'Age', .* take it out of"):
        plan(tmp_path)
    table.write_text(table.read_text().replace("/a", "/x").replace("/b", "/y"))
    assert plan(tmp_path).classes == ("background", "p1", "p2")


def test_a_table_of_other_photographs_gives_way_to_that_of_those_that_are_there(tmp_path: Path) -> None:
    photographs(tmp_path, "train/1.jpg", "train/2.jpg")
    write(tmp_path / "train.csv", "image_id,label\n1.jpg,cat\n2.jpg,dog\n")
    write(tmp_path / "sample_submission.csv", "image_id,label\n77.jpg,cat\n")
    assert labels_of(plan(tmp_path)) == {"1": {"cat"}, "2": {"dog"}}
    write(tmp_path / "more.csv", "image_id,label\n1.jpg,cow\n2.jpg,dog\n")
    with pytest.raises(InputError, match=r"both 'more\.csv' and 'train\.csv' may be the labels"):
        plan(tmp_path)


def test_a_table_that_lies_deeper_is_named(tmp_path: Path) -> None:
    photographs(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path / "extra/labels/t.csv", "image,labels\na,cat\nb,dog\n")
    with pytest.raises(InputError, match=r"extra/labels/t\.csv: may be the labels of .*; if so, name it with --labels"):
        plan(tmp_path)


@pytest.mark.parametrize("name", ["a.jpg", "download"])
def test_a_file_given_for_the_folder_is_told(tmp_path: Path, name: str) -> None:
    photographs(tmp_path, "a.jpg")
    write(tmp_path / "download", "PK")
    with pytest.raises(InputError, match=f"{name}: is a file, and a folder of photographs is wanted; .*--photos"):
        plan(tmp_path / name)


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
