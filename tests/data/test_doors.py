"""What other tools export becomes a planned data set, told apart by content, or is refused in one sentence."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import COLOURS, Tool, check_refusal, save_photo
from PIL import Image

from dsrg.data.doors import brush
from dsrg.data.doors.recognise import Choice, photos_by, plan_any
from dsrg.data.prepare import Plan, write_set
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files.pictures import read_mask
from dsrg.labels import palette

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
WIDTH, HEIGHT = 10, 8  # of `save_photo`


def plan(photos: Path, labels: Path | None = None, **more: Any) -> Plan:
    return plan_any(photos, labels, Choice(more.get("val", 0.4), more.get("unlabelled", "stop"), 1))


def labels_of(made: Plan) -> dict[str, set[str]]:
    return {item.id: set(item.labels) for item in made.items}


def photographs(folder: Path, *names: str) -> Path:
    for colour, name in enumerate(names):
        save_photo(folder / name, 20 * colour)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def dump(path: Path, value: object) -> Path:
    return write(path, json.dumps(value))


def mask_of(made: Plan, name: str) -> np.ndarray:
    item = next(item for item in made.items if item.id == name)
    assert callable(item.mask)
    return item.mask()


# --- every case that failed once


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


# --- Label Studio


def task(number: int, name: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    annotation = {"id": number, "was_cancelled": False, "result": list(results)}
    return {"id": number, "data": {"image": name}, "annotations": [annotation], **more}


def choice(*labels: str, control: str = "choice") -> dict[str, Any]:
    return {"type": "choices", "from_name": control, "to_name": "image", "value": {"choices": list(labels)}}


def region(kind: str, label: str, **value: Any) -> dict[str, Any]:
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": "r", "type": kind, "from_name": "label", **sizes, "value": {kind: [label], **value}}


@pytest.mark.parametrize(
    "name",
    [
        "/data/upload/7/0a1b2c3d-a.jpg",
        "0a1b2c3d-a.jpg",
        "upload/7/0a1b2c3d-a.jpg",
        "/data/local-files/?d=sets/one/a.jpg",
        "s3://bucket/deep/a.jpg",
        "https://host.org/x/a.jpg?token=%20abc",
        "/data/upload/1/0a1b2c3d-A.JPG",
        "C:\\Users\\me\\a.jpg",
        "../../media/a.jpg",
        f"/tasks/7/resolve/?fileuri={base64.b64encode(b's3://bucket/one/a.jpg').decode()}",
    ],
)
def test_names_of_label_studio_are_found_by_their_last_part(tmp_path: Path, name: str) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    other = name.replace("a.jpg", "b.jpg").replace("A.JPG", "B.JPG").replace("EuanBn", "IuanBn")
    file = dump(tmp_path / "project.json", [task(1, name, choice("cat")), task(2, other, choice("dog"))])
    made = plan(photos, file)
    assert labels_of(made) == {"a": {"cat"}, "b": {"dog"}}
    assert any("2 photographs were found by the last part of their names, such as a.jpg for" in n for n in made.notes)


def test_names_that_label_studio_has_spelt_anew(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "My photo (1).jpg", "größe.jpg")
    file = dump(
        tmp_path / "project.json",
        [
            task(1, "/data/upload/1/0a1b2c3d-My_photo_1.jpg", choice("cat")),
            task(2, "/data/upload/1/0a1b2c3d-gr%C3%B6%C3%9Fe.jpg", choice("dog")),
        ],
    )
    assert labels_of(plan(photos, file)) == {"My_photo_(1)": {"cat"}, "größe": {"dog"}}


def test_a_last_part_of_two_photographs_is_told_by_more_parts_or_refused(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "x/a.jpg", "y/a.jpg")
    far = [task(1, "s3://bucket/x/a.jpg", choice("cat")), task(2, "s3://bucket/y/a.jpg", choice("dog"))]
    assert labels_of(plan(photos, dump(tmp_path / "1.json", far))) == {"x_a": {"cat"}, "y_a": {"dog"}}
    with pytest.raises(InputError, match=r"'s3://bucket/a\.jpg' may be .*x/a\.jpg or .*y/a\.jpg"):
        plan(photos, dump(tmp_path / "2.json", [task(1, "s3://bucket/a.jpg", choice("cat"))]))


def test_a_path_that_should_lie_below_the_folder_is_not_guessed_at(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "x/a.jpg", "y/b.jpg")
    table = write(tmp_path / "labels.csv", "image,labels\nx/a.jpg,cat\nz/b.jpg,dog\n")
    with pytest.raises(InputError, match=r"photos/z/b\.jpg: the photograph does not exist"):
        plan(photos, table)
    table.write_text("image,labels\nold/a.jpg,cat\nold/b.jpg,dog\n")  # none is: the folder has another name now
    assert labels_of(plan(photos, table)) == {"a": {"cat"}, "b": {"dog"}}


CSV = "annotation_id,annotator,animal,created_at,id,image,lead_time,updated_at\n"


@pytest.mark.parametrize("mark", [",", "\t"])
def test_label_studio_s_csv_of_any_project(tmp_path: Path, mark: str) -> None:
    """Columns in alphabetical order, a control of any name, labels with blanks, photographs without annotation."""
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg")
    rows = [
        '1,"7","traffic light","x",1,"/data/upload/1/0a1b2c3d-a.jpg",1.5,"x"',
        '2,"7","{""choices"": [""cat, wild"", ""dog""]}","x",2,"/data/upload/1/0a1b2c3d-b.jpg",1.5,"x"',
        ',"","",,3,"/data/upload/1/0a1b2c3d-c.jpg",,',
    ]
    text = CSV + "\n".join(rows) + "\n"
    if mark == "\t":
        text = text.replace(",", "\t").replace("cat\t wild", "cat, wild").replace('wild""\t', 'wild"",')
    file = write(tmp_path / "export.csv", text)
    with pytest.raises(InputError, match=r"1 of 3 photographs have no label in .*export\.csv: c\.jpg; .*leave-out"):
        plan(photos, file)
    made = plan(photos, file, unlabelled="leave-out")
    assert labels_of(made) == {"a": {"traffic light"}, "b": {"cat, wild", "dog"}}
    assert "read as Label Studio's " + ("CSV" if mark == "," else "TSV") in made.notes[0]


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ({}, {}, {"cat"}),
        ({"was_cancelled": True, "result": [choice("dog")]}, {}, {"cat"}),
        ({"result": [choice("dog")]}, {"ground_truth": True}, {"cat"}),
        ({"result": [choice("dog")]}, {}, None),
        ({"result": []}, {}, None),
    ],
)
def test_annotations_of_one_task(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], labels: set[str] | None
) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    both = [{"id": 1, "result": [choice("cat")], **first}, {"id": 2, "result": [choice("cat")], **second}]
    tasks = [task(1, "a.jpg", annotations=both), task(2, "b.jpg", choice("dog"))]
    file = dump(tmp_path / "p.json", tasks)
    if labels is None:
        with pytest.raises(InputError, match=r"the 2 annotations of 'a\.jpg' \(task 1\) differ; mark one as ground"):
            plan(photos, file)
    else:
        assert labels_of(plan(photos, file))["a"] == labels


def test_controls_that_may_all_hold_labels_are_named(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    tasks = [task(n, f"{name}.jpg", choice("cat"), choice("sharp", control="quality")) for n, name in enumerate("ab")]
    assert labels_of(plan(photos, dump(tmp_path / "1.json", tasks))) == {"a": {"cat"}, "b": {"cat"}}
    for one in tasks:
        one["annotations"][0]["result"][0]["from_name"] = "animal"
    with pytest.raises(InputError, match="'animal', 'quality' may all hold the labels"):
        plan(photos, dump(tmp_path / "2.json", tasks))


def test_regions_become_masks(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    painted = np.zeros((HEIGHT, WIDTH), np.uint8)
    painted[2:6, 3:7] = 255
    painted[4, 4] = 0
    polygon = region("polygonlabels", "dog", points=[[0, 0], [50, 0], [50, 100], [0, 100]], closed=True)
    tasks = [
        task(1, "a.jpg", polygon, region("rectanglelabels", "cat", x=60, y=25, width=20, height=50, rotation=0)),
        task(2, "b.jpg", region("brushlabels", "cat", format="rle", rle=encode(painted))),
        task(3, "c.jpg", region("ellipselabels", "dog", x=50, y=50, radiusX=40, radiusY=30, rotation=0)),
        task(4, "d.jpg", choice("cat"), region("keypointlabels", "cat", x=5, y=5, width=1)),
    ]
    made = plan(photos, dump(tmp_path / "p.json", tasks))
    assert made.classes == ("background", "cat", "dog")
    assert labels_of(made) == {"a": {"cat", "dog"}, "b": {"cat"}, "c": {"dog"}, "d": {"cat"}}
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, :5], expected[2:6, 6:8] = 2, 255  # a box does not say which of its pixels are the cat's
    np.testing.assert_array_equal(mask_of(made, "a"), expected)
    np.testing.assert_array_equal(mask_of(made, "b"), (painted > 0).astype(np.uint8))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((cols - 5) / 4) ** 2 + ((rows - 4) / 2.4) ** 2 < 1
    assert ((mask_of(made, "c") == 2) == inside).mean() > 0.9
    assert (mask_of(made, "d") == 255).all()  # a cat is there, nobody knows where
    assert any("1 of keypointlabels" in note for note in made.notes)


def encode(mask: np.ndarray) -> list[int]:
    """Label Studio's brush of a mask, bit by bit as its SDK writes it: runs, and single values."""
    flat = np.repeat(mask.ravel(), 4)
    bits = f"{len(flat):032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    cuts = np.flatnonzero(np.diff(flat.astype(int))) + 1
    for number, part in enumerate(np.split(flat, cuts)):
        if number % 2:  # single values
            for start in range(0, len(part), 8):
                block = part[start : start + 8]
                bits += "000" + f"{len(block) - 1:03b}" + "".join(f"{value:08b}" for value in block)
        else:
            bits += "110" + f"{len(part) - 1:08b}" + f"{part[0]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


@pytest.mark.parametrize("seed", range(4))
def test_brushes_are_unpacked(seed: int) -> None:
    draw = np.random.default_rng(seed)
    mask = (np.kron(draw.random((5, 7)) < 0.5, np.ones((2, 3))) * 255).astype(np.uint8)
    lengths = brush.unpack(encode(mask), mask.size)
    unpacked = np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(mask.shape)
    np.testing.assert_array_equal(unpacked, mask > 0)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([task(1, "")], "task 1 has no name of a photograph"),
        ([task(1, "a.jpg")], "holds no choices and no regions with labels"),
        ([task(1, "a.jpg", {"type": "taxonomy", "value": {"taxonomy": [["x"]]}})], "results: 1 of taxonomy"),
        ([task(1, "a.jpg", choice("cat")), 5], "holds something else than tasks"),
        ([task(1, "a.jpg", {"value": {"choices": [5]}})], r"\(task 1\): has choices that are no texts"),
        ([task(1, "ghost.jpg", choice("cat"))], r"ghost\.jpg: the photograph does not exist"),
        ([task(1, "a.jpg", choice("cat")), task(2, "a.jpg", choice("cat"))], r"'a\.jpg' is listed twice"),
        ([task(1, "a.jpg", region("polygonlabels", "cat", points=[[0, 0], ["x", 1]]))], "a region cannot be read"),
        ([task(1, "a.jpg", region("brushlabels", "cat", rle=[1, 2]))], "its brush ends early"),
        ([task(1, "a.jpg", region("brushlabels", "cat", rle=[0] * 99))], "its brush is of another size"),
        (
            [task(1, "a.jpg", {**region("polygonlabels", "cat", points=[[0, 0]] * 3), "image_rotation": 90})],
            "the photograph was turned by 90 degrees in Label Studio",
        ),
        ([task(1, "a.jpg", annotations=[{"result": 5}])], "has a result that is no list"),
    ],
)
def test_broken_exports_of_label_studio_are_refused(tmp_path: Path, tasks: list[Any], message: str) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    with pytest.raises(InputError, match=message):
        plan(photos, dump(tmp_path / "p.json", tasks))


# --- CVAT


def cvat(*images: str, labels: tuple[str, ...] = ("dog", "cat")) -> str:
    listed = "".join(f"<label><name>{name}</name></label>" for name in labels)
    meta = f"<meta><task><labels>{listed}</labels></task></meta>"
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f"{head}{meta}{''.join(images)}</annotations>"


def image(name: str, shapes: str, **more: str) -> str:
    extra = "".join(f' {key}="{value}"' for key, value in more.items())
    return f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}"{extra}>{shapes}</image>'


def test_cvat_s_tags(tmp_path: Path) -> None:
    root = photographs(tmp_path, "images/job/a.jpg", "images/job/b.jpg", "images/job/c.jpg")
    text = cvat(
        image("job/a.jpg", '<tag label="cat"></tag><tag label="dog"/>'),
        image("job/b.jpg", '<tag label="dog" source="manual"><attribute name="x">1</attribute></tag>'),
        image("job/c.jpg", ""),
    )
    write(tmp_path / "annotations.xml", text)
    made = plan(root, unlabelled="leave-out")
    assert labels_of(made) == {"a": {"cat", "dog"}, "b": {"dog"}}
    assert made.notes[0] == f"{tmp_path / 'annotations.xml'}: read as CVAT's 'CVAT for images'."
    assert any("1 of 3 photographs have no label" in note for note in made.notes)


def test_cvat_s_shapes(tmp_path: Path) -> None:
    root = photographs(tmp_path, "images/a.jpg", "images/b.jpg")
    mask = '<mask label="dog" source="manual" rle="1, 2, 1, 4" left="2" top="3" width="4" height="2" z_order="2"/>'
    square = '<polygon label="cat" points="0.00,0.00;6.00,0.00;6.00,8.00;0.00,8.00" z_order="1"></polygon>'
    below = '<polygon label="dog" points="0,0;10,0;10,8;0,8" z_order="-1"/><points label="cat" points="1,1"/>'
    write(tmp_path / "annotations.xml", cvat(image("a.jpg", mask + square), image("b.jpg", square + below)))
    made = plan(root)
    assert made.classes == ("background", "dog", "cat")  # in the order of the task
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, :6] = 2
    expected[3, 3:5], expected[4, 2:6] = 1, 1
    np.testing.assert_array_equal(mask_of(made, "a"), expected)
    expected[:] = 1
    expected[:, :6] = 2  # the larger lies above: the layers say so
    np.testing.assert_array_equal(mask_of(made, "b"), expected)
    assert any("shapes that fill nothing were not read: 1 of <points>" in note for note in made.notes)


def test_cvat_s_subsets_are_splits(tmp_path: Path) -> None:
    root = photographs(tmp_path, "images/Train/a.jpg", "images/Validation/a.jpg")
    square = '<polygon label="cat" points="0,0;6,0;6,8;0,8"/>'
    parts = [image("a.jpg", square, subset=name) for name in ("Train", "Validation")]
    write(tmp_path / "annotations.xml", cvat(*parts))
    assert plan(root).splits == {"train": ["Train_a"], "val": ["Validation_a"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (cvat('<track id="0" label="cat"/>'), "holds tracks of a video; export the task as 'CVAT for images 1.1'"),
        (cvat('<image name="a.jpg" width="x" height="8"/>'), "has width 'x' in <image>, which must be a number"),
        (cvat(image("a.jpg", '<polygon label="cat" points="1,2;3"/>')), "has points '1,2;3' that are no list"),
        (cvat(image("a.jpg", '<mask label="cat" rle="x" left="0" top="0" width="1" height="1"/>')), "rle 'x' is no"),
        (cvat(image("a.jpg", '<box label="cat" xtl="1"/>')), "has ytl '' in <box>"),
        (cvat(image("a.jpg", '<tag label=""/>')), "has a <tag> without a label"),
        (cvat(image("b.jpg", '<tag label="cat"/>')), r"b\.jpg: the photograph does not exist"),
        ("<html/>", "is XML of no kind that is known"),
        ("<annotation/>", "is a VOC annotation of one photograph"),
        ("<annotations>", "not valid XML"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "it defines a document type"),
    ],
)
def test_broken_xml_of_cvat_is_refused(tmp_path: Path, text: str, message: str) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "c.jpg")
    with pytest.raises(InputError, match=message):
        plan(photos, write(tmp_path / "annotations.xml", text))


def test_runs_that_do_not_fill_their_box_are_refused_when_painted(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    masks = [
        '<mask label="cat" rle="9, 9" left="0" top="0" width="2" height="2"/>',
        '<mask label="cat" rle="0, 4" left="9" top="0" width="2" height="2"/>',
    ]
    made = plan(photos, write(tmp_path / "a.xml", cvat(*map(image, ("a.jpg", "b.jpg"), masks))))
    for name, message in (("a", "do not add up to its box"), ("b", "does not lie in 10 x 8 pixels")):
        with pytest.raises(InputError, match=message):
            mask_of(made, name)


# --- Roboflow, several files, masks


def coco(names: list[str], categories: list[str], used: list[int], **info: Any) -> dict[str, Any]:
    """Photograph k shows an object of category used[k]."""
    square = [[1, 1, 6, 1, 6, 6, 1, 6]]
    return {
        "info": info,
        "images": [{"id": k, "file_name": name, "width": WIDTH, "height": HEIGHT} for k, name in enumerate(names)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(categories)],
        "annotations": [{"id": k, "image_id": k, "category_id": c, "segmentation": square} for k, c in enumerate(used)],
    }


def test_roboflow_s_splits_are_joined(tmp_path: Path) -> None:
    """The root category, of which nothing is, may have a class's name; a split may lack a class."""
    names = ["animals", "cat", "dog", "cat"]
    for split, files, used in (("train", "ab", [1, 2]), ("valid", "c", [2]), ("test", "d", [2])):
        files_of = [f"{name}_jpg.rf.0123456789abcdef0123456789abcdef.jpg" for name in files]
        photographs(tmp_path / split, *files_of)
        dump(tmp_path / split / "_annotations.coco.json", coco(files_of, names, used))
    write(tmp_path / "README.roboflow.txt", "x")
    made = plan(tmp_path)
    assert made.classes == ("background", "cat", "dog")
    assert {key: len(ids) for key, ids in made.splits.items()} == {"train": 2, "val": 1, "test": 1}
    assert made.notes[0] == f"{tmp_path}: read as Roboflow's COCO."
    for item in made.items:
        mask = mask_of(made, item.id)
        assert set(np.unique(mask)) == {0, made.classes.index(item.labels[0])}
    write_set(tmp_path / "set", made)
    assert len(VocFolder(tmp_path / "set").photos("train")) == 2


def test_roboflow_s_csv(tmp_path: Path) -> None:
    for split, rows in (("train", "a.jpg, 0, 1, 1\nb.jpg, 0, 0, 1\n"), ("valid", "c.jpg, 0, 1, 0\nd.jpg, 1, 0, 0\n")):
        photographs(tmp_path / split, *(row.split(",")[0] for row in rows.splitlines()))
        write(tmp_path / split / "_classes.csv", "filename, Unlabeled, cat, dog\n" + rows)
    with pytest.raises(InputError, match=r"1 of 4 photographs have no label in .*: valid/d\.jpg"):
        plan(tmp_path)
    made = plan(tmp_path, unlabelled="leave-out")
    assert labels_of(made) == {"a": {"cat", "dog"}, "b": {"dog"}, "c": {"cat"}}
    assert made.splits == {"train": ["a", "b"], "val": ["c"]}


def test_roboflow_s_masks(tmp_path: Path) -> None:
    photographs(tmp_path / "train", "a.jpg", "b.jpg")
    write(tmp_path / "train/_classes.csv", "Pixel Value, Class\n0, background\n1, road\n2, tree\n3, wall")
    for name, value in (("a", 3), ("b", 1)):
        Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8)).save(tmp_path / f"train/{name}_mask.png")
    made = plan(tmp_path)
    assert made.classes == ("background", "road", "wall")
    assert labels_of(made) == {"a": {"wall"}, "b": {"road"}}
    assert (mask_of(made, "a") == 2).all()


def test_several_subsets_of_cvat(tmp_path: Path) -> None:
    for used, (split, name) in enumerate((("Train", "a"), ("Validation", "b"))):
        photographs(tmp_path / "images" / split, f"{name}.jpg")
        dump(tmp_path / f"annotations/instances_{split}.json", coco([f"{name}.jpg"], ["cat", "dog", "cow"], [used]))
    photographs(tmp_path / "images", "more.jpg")
    made = plan(tmp_path)
    assert made.splits == {"train": ["a"], "val": ["b"]}
    assert made.classes == ("background", "cat", "dog")
    assert f"{tmp_path}: no object is of the categories 'cow', which are no classes then." in made.notes
    assert f"{tmp_path}: 1 photographs are listed in none of the files and were left out." in made.notes
    assert not any("are no photographs" in note for note in made.notes)  # the files themselves


def test_a_labelmap_without_colours_has_voc_s(tmp_path: Path) -> None:
    """As Datumaro writes it for labels without a colour."""
    photographs(tmp_path / "JPEGImages", "a.jpg", "b.jpg")
    write(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:::\ncat:::\ndog:::\n")
    (tmp_path / "SegmentationClass").mkdir()
    for index, name in enumerate("ab", 1):
        pixels = np.full((HEIGHT, WIDTH, 3), palette()[index], np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"SegmentationClass/{name}.png")
    assert labels_of(plan(tmp_path)) == {"a": {"cat"}, "b": {"dog"}}


def test_lists_of_each_class_as_voc_has_them(tmp_path: Path) -> None:
    photographs(tmp_path / "JPEGImages", "a.jpg", "b.jpg", "c.jpg")
    lists = {"Train": "a\nb\n", "Test": "c\n", "cat_Train": "a  1\nb -1\n", "cat_Test": "c  0\n"}
    lists |= {"polar_bear_Train": "a  1\nb  1\n", "polar_bear_Test": "c -1\n", "background_Train": "a  1\n"}
    for name, text in lists.items():
        write(tmp_path / f"ImageSets/Main/{name}.txt", text)
    write(tmp_path / "labelmap.txt", "background:::\ncat:::\npolar_bear:::\n")
    made = plan(tmp_path)
    assert labels_of(made) == {"a": {"cat", "polar_bear"}, "b": {"polar_bear"}, "c": {"cat"}}
    assert made.splits == {"train": ["a", "b"], "val": ["c"], "test": ["c"]}
    write(tmp_path / "ImageSets/Main/cat_Train.txt", "a yes\n")
    with pytest.raises(InputError, match=r"cat_Train\.txt: line 1 is not '<photograph> <1, 0 or -1>'"):
        plan(tmp_path)


@pytest.mark.parametrize("palette", [False, True])
def test_colours_of_a_labelmap(tmp_path: Path, palette: bool) -> None:
    """Background is not first, void has VOC's colour; in colour, and with a palette of other numbers."""
    photographs(tmp_path / "JPEGImages", "a.jpg", "b.jpg")
    write(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\ncat:9,8,7::\nbackground:0,0,0::\ndog:1,2,3::\n")
    colours = np.array([(0, 0, 0), (9, 8, 7), (224, 224, 192)], np.uint8)
    for name in "ab":
        pixels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3
        made = Image.fromarray(colours[pixels])
        if palette:
            made = Image.fromarray(pixels.astype(np.uint8))
            made.putpalette(colours.tobytes())
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        made.save(tmp_path / f"SegmentationClass/{name}.png")
    write(tmp_path / "ImageSets/Segmentation/train.txt", "a\n")
    write(tmp_path / "ImageSets/Segmentation/val.txt", "b\n")
    made_plan = plan(tmp_path)
    assert made_plan.classes == ("background", "cat")
    assert made_plan.splits == {"train": ["a"], "val": ["b"]}
    np.testing.assert_array_equal(mask_of(made_plan, "a"), np.array([0, 1, 255], np.uint8)[pixels])
    Image.fromarray(COLOURS[pixels]).save(tmp_path / "SegmentationClass/a.png")
    with pytest.raises(InputError, match=r"a\.png: holds the colour 20, 20, 20, which .*labelmap\.txt does not list"):
        plan(tmp_path)


def test_xml_of_voc_beside_its_photographs(tmp_path: Path) -> None:
    for split, name, label in (("train", "a", "cat"), ("train", "b", "dog"), ("valid", "c", "cat")):
        photographs(tmp_path / split, f"{name}.jpg")
        objects = f"<object><name>{label}</name></object>" * 2
        write(tmp_path / split / f"{name}.xml", f"<annotation>{objects}</annotation>")
    made = plan(tmp_path)
    assert labels_of(made) == {"a": {"cat"}, "b": {"dog"}, "c": {"cat"}}
    assert made.splits == {"train": ["a", "b"], "val": ["c"]}


# --- Hugging Face, Open Images, tables with splits


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


# --- what is not read, and the command


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
