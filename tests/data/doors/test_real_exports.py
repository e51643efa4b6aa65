"""Exports as the tools wrote them, each of which failed once."""

from pathlib import Path

import pytest
from door_files import labels_of, mask_of, plan
from helpers import Tool

from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files.pictures import read_mask

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TABLES = ("hf_imagefolder", "hf_jsonl", "json_list", "kaggle_onehot", "ls_csv", "ls_json", "openimages", "pipe")
SIX = ["cat", "cow", "dog", "horse", "person", "sheep"]


def of_voc6(shared: Path) -> dict[str, set[str]]:
    rows = (shared / "data/voc6/image_labels.csv").read_text().splitlines()[1:]
    return {row.split(",")[0]: set(row.split(",")[1].replace(";", " ").split()) for row in rows}


@pytest.mark.parametrize("where", ["folder", "file"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_other_tools(shared: Path, name: str, where: str) -> None:
    folder = shared / "cases/tables" / name
    file = next(path for path in sorted(folder.rglob("*")) if path.suffix in (".csv", ".jsonl", ".json"))
    photos = folder / "photos" if (folder / "photos").is_dir() else file.parent
    made = plan(folder) if where == "folder" else plan(photos, file)
    truth = of_voc6(shared)
    found = {key: {label.removeprefix("/m/0") for label in own} for key, own in labels_of(made).items()}
    assert found == {key: truth[key] for key in found}
    if name == "openimages":  # one row takes back what another says
        assert len(found) == 18
        assert any("said both to show a label and not to" in note and "2007_000175" in note for note in made.notes)
    else:
        assert len(found) == 19
        assert made.classes == ("background", *SIX)
    tools = {"hf_imagefolder": "Hugging Face", "hf_jsonl": "Hugging Face", "ls_csv": "Label Studio's CSV"}
    tools |= {"ls_json": "Label Studio's JSON", "openimages": "Open Images"}
    if name in tools and (where == "folder" or not name.startswith("hf")):
        assert f": read as {tools[name]}" in made.notes[0]


@pytest.mark.parametrize("name", ["jsonmin/result.json", "tasks_choice.json"])
def test_choices_of_label_studio(shared: Path, name: str) -> None:
    folder = shared / "cases/coco/ls_real"
    made = plan(folder / "photos", folder / name)
    truth = of_voc6(shared)
    assert labels_of(made) == {item.id: truth[item.id] for item in made.items}
    assert len(made.items) == 19


def test_regions_of_label_studio_are_those_of_its_own_coco(shared: Path) -> None:
    folder = shared / "cases/coco/ls_real"
    ours = plan(folder / "photos", folder / "tasks_poly.json")
    theirs = plan(folder / "photos", folder / "COCO/result.json")
    assert labels_of(ours) == labels_of(theirs)
    assert len(ours.items) == 9
    for item in ours.items:
        differ = mask_of(ours, item.id) != mask_of(theirs, item.id)
        assert differ.mean() < 1e-4  # percents are rounded


@pytest.mark.parametrize("name", ["cvat_voc", "labelme_voc"])
def test_masks_in_voc_s_layout(shared: Path, tmp_path: Path, tool: Tool, name: str) -> None:
    code, out, _ = tool("prepare_data", "--voc", shared / "cases/voc" / name, "--root", tmp_path / "set")
    assert code == 0
    who = name.split("_")[0].replace("cvat", "CVAT")
    assert f"note: {shared / 'cases/voc' / name}: read as {who}'s masks in VOC's layout.\n" in out
    read = VocFolder(tmp_path / "set")
    assert read.classes.names == ("background", *SIX)
    photos = read.photos("train") + read.photos("val")
    assert len(photos) == 19
    truth = of_voc6(shared)
    for photo in photos:
        assert {read.classes.names[index] for index in photo.own} == truth[photo.id]
        theirs = read_mask(shared / "data/voc6/SegmentationClass" / f"{photo.id}.png")
        ours = read_mask(read.mask_path(photo))
        assert (ours == theirs)[theirs != 255].all()


def test_several_files_of_labels_are_not_guessed_at(shared: Path) -> None:
    with pytest.raises(InputError, match=r"both 'tasks_choice\.json' and 'tasks_poly\.json' may be the labels; name"):
        plan(shared / "cases/coco/ls_real")
    with pytest.raises(InputError, match=r"result\.csv: is empty"):
        plan(shared / "cases/coco/ls_real/photos", shared / "cases/coco/ls_real/csv/result.csv")
