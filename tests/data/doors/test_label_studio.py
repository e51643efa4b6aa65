"""Label Studio's JSON and CSV: choices, regions and brushes, and photographs by its server's names for them."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from door_files import HEIGHT, WIDTH, dump, labels_of, mask_of, photographs, plan, write

from dsrg.data.doors import brush
from dsrg.errors import InputError

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


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


def test_predictions_that_nobody_has_accepted_are_named(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", "a.jpg", "b.jpg")
    tasks = [{**task(1, "a.jpg"), "annotations": [], "predictions": [{"result": [choice("cat")]}]}]
    with pytest.raises(InputError, match=r"results: 1 of predictions that nobody has accepted\); export a project"):
        plan(photos, dump(tmp_path / "project.json", tasks))
