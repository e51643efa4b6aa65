"""dsrg import-masks: each tool's files become the masks that the tool shows; broken ones are refused."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import box, runs, write
from correction_files import (
    CAT,
    DOG,
    HEIGHT,
    LIGHT,
    SQUARE,
    WIDTH,
    corrected,
    dump,
    labelme,
    shape,
    snapshot,
    truth,
)
from format_oracles import paint, rasterise
from helpers import NAMES, Tool, check_refusal, write_mask_file
from PIL import Image, ImageDraw
from trained_run import make_trained_run

from dsrg.data.voc import VocFolder
from dsrg.files import pictures
from dsrg.labels import palette

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_what_predict_wrote_for_labelme_comes_back_corrected(
    command: Callable[..., Any], root: Path, tmp_path: Path, tool: Tool
) -> None:
    """The person's route: predict, correct two in LabelMe, import."""
    run, out = make_trained_run(tmp_path / "run"), tmp_path / "out"
    words = ("--model", run, root / "JPEGImages", "--out", out, "--workers", 0, "--device", "cpu")
    assert tool("predict", *words, "--formats", "labelme", "png", "--tolerance", 0)[0] == 0
    files = sorted((out / "labelme").glob("*.json"))
    assert [path.stem for path in files] == list("abcdef")
    expected = {path.stem: pictures.read_mask(out / f"masks/{path.stem}.png") for path in files}
    for path in files[:2]:
        content = json.loads(path.read_text())
        content["shapes"][0]["label"] = NAMES[LIGHT]
        content["shapes"][0]["points"][0][0] += 3.3
        content["shapes"].append(shape(NAMES[CAT], SQUARE))
        content["imageData"] = "aGVsbG8="  # LabelMe saves the photograph too
        path.write_text(json.dumps(content))
        expected[path.stem] = paint(content, NAMES)
    code, text, err = command(out / "labelme")
    assert (code, err) == (0, "")
    assert f"{root}/SegmentationClass: 6 masks are new, 0 are replaced, 0 were the same\n" in text
    assert f"note: {out / 'labelme'}: read as LabelMe's JSON.\n" in text
    for name, mask in expected.items():
        assert np.array_equal(truth(root, name), mask)
    assert VocFolder(root).has_masks(VocFolder(root).photos("train"))
    before = snapshot(root)
    assert "0 masks are new, 0 are replaced, 6 were the same" in command(out / "labelme")[1]
    assert snapshot(root) == before


def test_labelme_s_shapes_are_painted_as_labelme_paints_them(command: Callable[..., Any], root: Path) -> None:
    flags = np.zeros((5, 8), np.uint8)
    flags[1:4, 2:6] = 1
    buffer = io.BytesIO()
    Image.fromarray(flags).save(buffer, "PNG")
    shapes = [
        shape("cat", [[10, 10], [40, 20]], "rectangle"),
        shape("dog", SQUARE),
        shape("traffic light", [[40.0, 30.0], [44.0, 33.0]], "circle"),
        shape("cat", [[50, 2], [57, 6]], "mask", mask=base64.b64encode(buffer.getvalue()).decode()),
        shape("cat", [[20, 40], [24, 40], [24, 44], [20, 44]], "rectangle"),  # as X-AnyLabeling has them
        shape("dog", [[30, 42], [32, 40], [34, 42], [32, 44]], "rotation"),
        shape("_background_", [[0, 0], [9, 0], [9, 9]]),
        shape("__ignore__", [[60, 40], [63, 40], [63, 47]]),
        shape("dog", [[1, 1]], "point"),
    ]
    file = dump(root.parent / "json/a.json", labelme("a", *shapes))
    code, out, _ = command(file)
    assert code == 0
    assert "1 points and lines of LabelMe fill nothing" in out
    image = Image.new("L", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(image)
    draw.rectangle([(10, 10), (40, 20)], outline=CAT, fill=CAT)
    draw.polygon([(x, y) for x, y in SQUARE], outline=DOG, fill=DOG)
    draw.ellipse([35.0, 25.0, 45.0, 35.0], outline=LIGHT, fill=LIGHT)
    draw.rectangle([(20, 40), (24, 44)], outline=CAT, fill=CAT)
    draw.polygon([(30, 42), (32, 40), (34, 42), (32, 44)], outline=DOG, fill=DOG)
    expected = np.array(image)
    expected[2:7, 50:58][flags == 1] = CAT
    for points, value in (([[0, 0], [9, 0], [9, 9]], 0), ([[60, 40], [63, 40], [63, 47]], 255)):
        expected[rasterise(expected.shape, points)] = value
    assert np.array_equal(truth(root, "a"), expected)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (labelme("a", shape("zebra", SQUARE)), "the label 'zebra' is not in"),
        (labelme("ghost", shape("cat", SQUARE)), "is of 'ghost.jpg', which is no photograph of"),
        (labelme("a", shape("cat", SQUARE), imageWidth=32), "is a mask of 32 x 48 pixels, but"),
        (labelme("a", shape("cat", SQUARE), imageWidth="x"), "its imageWidth and imageHeight are"),
        (labelme("a", shape("cat", SQUARE[:2])), "is a polygon of 2 points"),
        (labelme("a", shape("cat", SQUARE, "star")), "of the kind 'star', which is not known"),
        (labelme("a", shape("cat", [[0, 0], [1, 1]], "mask")), "is a mask without its picture"),
        (labelme("a", shape("cat", [[0, 0], [1, 1]], "mask", mask="?")), "is no picture in base64"),
        (labelme("a", shape("cat", [[0, 0], [9e9, 1], [5, 5]])), "lies outside of its photograph"),
        (labelme("a", shape("cat", [["x", 0]])), "its points are no list of x, y"),
        (labelme("a", {"points": []}), "has no label"),
    ],
)
def test_broken_or_foreign_labelme_files_are_refused_with_all_others(
    command: Callable[..., Any], root: Path, tmp_path: Path, content: dict[str, Any], named: str
) -> None:
    dump(tmp_path / "json/b.json", labelme("b", shape("cat", SQUARE)))
    name = "ghost.json" if "ghost" in content["imagePath"] else "a.json"
    dump(tmp_path / "json" / name, content)
    before = snapshot(root)
    check_refusal(command(tmp_path / "json", "--threads", 1), tmp_path / "json" / name, named)
    assert snapshot(root) == before


def test_a_labelme_file_of_two_photographs_or_two_of_one_are_refused(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    dump(tmp_path / "one/a.json", labelme("b", shape("cat", SQUARE)))
    check_refusal(command(tmp_path / "one"), "says that it is of 'b.jpg', but its name is that of a.jpg")
    for name in ("x", "y"):
        dump(tmp_path / f"two/{name}.json", labelme("b", shape("cat", SQUARE)))
    check_refusal(command(tmp_path / "two"), "y.json: is a mask of b.jpg, as", "x.json is")


def test_coco_s_polygons_and_runs(command: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    """Categories in another order than the data set's classes, one that nothing is of, names from a tool's server."""
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 9, "name": "zebra"}]
    images = [
        {"id": k, "file_name": f"images/{name}.jpg", "width": WIDTH, "height": HEIGHT} for k, name in enumerate("ab")
    ]
    part = np.zeros((HEIGHT, WIDTH), np.uint8)
    part[7:20, 30:50] = 1
    rows = [
        {"image_id": 0, "category_id": 1, "segmentation": [box(0, 0, 20, 30)]},
        {"image_id": 1, "category_id": 2, "segmentation": runs(part)},
    ]
    code, out, _ = command(write(tmp_path / "annotations.json", images, rows, categories))
    assert code == 0
    assert "2 masks are new" in out
    assert "not listed" not in out  # of six photographs two were corrected
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:30, :20] = DOG
    assert np.array_equal(truth(root, "a"), expected)
    assert np.array_equal(truth(root, "b"), part * CAT)


def test_cvat_s_xml_and_label_studio_s_json(command: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    lower = '<polygon label="cat" points="0,0;20,0;20,30;0,30" z_order="0"/>'
    upper = '<mask label="dog" rle="0, 6" left="1" top="2" width="3" height="2" z_order="1"/>'
    image = f'<image id="0" name="a.jpg" width="{WIDTH}" height="{HEIGHT}">{upper}{lower}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{image}</annotations>")
    assert command(tmp_path / "annotations.xml")[0] == 0
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:30, :20], expected[2:4, 1:4] = CAT, DOG
    assert np.array_equal(truth(root, "a"), expected)
    value = {"points": [[0, 0], [50, 0], [50, 100], [0, 100]], "polygonlabels": ["traffic light"]}
    result = {
        "type": "polygonlabels",
        "from_name": "x",
        "value": value,
        "original_width": WIDTH,
        "original_height": HEIGHT,
    }
    data = {"image": "/data/upload/1/0a1b2c3d-b.jpg"}
    task = {"id": 1, "data": data, "annotations": [{"result": [result]}]}
    assert command(dump(tmp_path / "project.json", [task]))[0] == 0
    expected[:] = 0
    expected[:, : WIDTH // 2] = LIGHT
    assert np.array_equal(truth(root, "b"), expected)


@pytest.mark.parametrize("kind", ["labelmap", "class_names", "classes above", "indices", "voc", "file"])
def test_png_masks(command: Callable[..., Any], root: Path, tmp_path: Path, kind: str) -> None:
    """In colour by CVAT's labelmap.txt or VOC's palette; of indices by a list in another order, or the data set's."""
    source = tmp_path / "masks"
    order = {"class_names": [0, 3, 1, 2], "classes above": [0, 2, 3, 1]}.get(kind, [0, 1, 2, 3])
    for seed, name in enumerate("abf"):
        mask = corrected(seed)
        mask[0, :5] = 255
        if kind == "labelmap":
            colours = np.array([(0, 0, 0), (9, 8, 7), (1, 2, 3), (200, 100, 50)], np.uint8)
            pixels = np.where((mask == 255)[..., None], palette()[255], colours[mask % 255])
            (source / "SegmentationClass").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(source / f"SegmentationClass/{name}.png")
        elif kind == "voc":
            source.mkdir(exist_ok=True)
            Image.fromarray(palette()[mask]).save(source / f"{name}.png")
        else:
            table = np.full(256, 255, np.uint8)
            table[order] = np.arange(4)
            write_mask_file(source / f"{name}.png", table[mask])
    listed = "\n".join(NAMES[index] for index in order).replace("background", "_background_")
    if kind == "labelmap":
        lines = ["background:0,0,0::", "cat:9,8,7::", "dog:1,2,3::", "traffic light:200,100,50::", "zebra:5,5,5::"]
        (source / "labelmap.txt").write_text("\n".join(("# label:color_rgb:parts:actions", *lines)))
    elif kind == "class_names":
        (source / "class_names.txt").write_text(listed)
    elif kind == "classes above":
        (tmp_path / "classes.txt").write_text(listed)
    more = ("--palette", "voc") if kind == "voc" else ()
    code, out, _ = command(source / "a.png" if kind == "file" else source, *more)
    assert code == 0
    for seed, name in enumerate("a" if kind == "file" else "abf"):
        mask = corrected(seed)
        mask[0, :5] = 255
        assert np.array_equal(truth(root, name), mask)
    assert "PNG masks" in out
