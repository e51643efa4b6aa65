"""dsrg import-masks: what was corrected elsewhere becomes true masks, all of it or nothing."""

import base64
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import box, runs, write
from format_oracles import paint, rasterise
from helpers import NAMES, Tool, check_refusal, make_voc, quadrants, write_mask_file
from PIL import Image, ImageDraw
from trained_run import make_photos, make_trained_run

from dsrg.data.corrections import read_corrections
from dsrg.data.true_masks import put_masks
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import palette

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
WIDTH, HEIGHT = 64, 48
CAT, DOG, LIGHT = 1, 2, 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of six photographs without masks."""
    splits = {"train": ("a", "b", "c", "d"), "val": ("e", "f")}
    folder = make_voc(tmp_path / "data", splits, size=(WIDTH, HEIGHT), masks=False)
    make_photos(folder / "JPEGImages", *(f"{name}.jpg" for name in "abcdef"), size=(WIDTH, HEIGHT))
    return folder


@pytest.fixture
def command(root: Path, tool: Tool) -> Callable[..., Any]:
    return lambda source, *words: tool("import_masks", "--root", root, "--masks", source, *words)


def truth(root: Path, name: str) -> np.ndarray:
    return pictures.read_mask(root / f"SegmentationClass/{name}.png", len(NAMES))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def corrected(seed: int) -> np.ndarray:
    return quadrants(WIDTH, HEIGHT, seed)


def dump(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def labelme(name: str, *shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"imagePath": f"../JPEGImages/{name}.jpg", "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), **said, **more}


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


SQUARE = [[4.4, 5.2], [30.7, 5.2], [30.7, 20.1], [4.4, 20.1]]


# --- LabelMe


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


# --- COCO, CVAT, Label Studio, PNG


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


# --- all or nothing


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        write_mask_file(tmp_path / f"masks/{name}.png", corrected(seed))
    return tmp_path / "masks"


def test_true_masks_that_are_there_stay_unless_they_are_to_be_replaced(
    command: Callable[..., Any], root: Path, masks: Path
) -> None:
    write_mask_file(root / "SegmentationClass/b.png", corrected(3))
    write_mask_file(root / "SegmentationClass/c.PNG", corrected(2))  # the same, in grey
    before = snapshot(root)
    sentence = ("SegmentationClass/b.png: is there already and differs from", "nothing was written. Add --replace")
    check_refusal(command(masks), *sentence)
    assert snapshot(root) == before
    code, out, _ = command(masks, "--replace", "--dry-run")
    assert code == 0
    assert "1 masks would be new, 1 would be replaced, 1 were the same" in out
    assert snapshot(root) == before
    code, out, _ = command(masks, "--replace")
    assert "1 masks are new, 1 are replaced, 1 were the same" in out
    assert np.array_equal(truth(root, "b"), corrected(1))
    after = snapshot(root)
    assert after["SegmentationClass/c.PNG"] == before["SegmentationClass/c.PNG"]
    assert sorted(after.keys() - before.keys()) == ["SegmentationClass/a.png"]


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", range(1, 4))
def test_a_failure_in_the_middle_takes_all_back(
    root: Path, masks: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException, call: int
) -> None:
    for name in "ab":
        write_mask_file(root / f"SegmentationClass/{name}.png", corrected(3))
    folder = VocFolder(root)
    found = read_corrections(masks, folder).masks
    before = snapshot(root)
    move, calls = Path.replace, 0

    def fail(self: Path, target: Path) -> Path:
        nonlocal calls
        if "SegmentationClass/" in f"{self}{target}" and "old." not in f"{self.name}" and not self.name.startswith("."):
            calls += 1
            if calls == call:
                raise stop
        return move(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises((InputError, KeyboardInterrupt)):
        put_masks(folder, found, replace=True, threads=1)
    monkeypatch.undo()
    assert snapshot(root) == before
    assert sorted(path.name for path in root.iterdir()) == sorted({Path(name).parts[0] for name in before})
    put_masks(folder, found, replace=True)
    assert np.array_equal(truth(root, "c"), corrected(2))


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("last", range(1, 6))
def test_a_kill_at_any_step_leaves_the_old_mask_or_the_new(
    root: Path, masks: Path, monkeypatch: pytest.MonkeyPatch, last: int, done: bool
) -> None:
    for name in "ab":
        write_mask_file(root / f"SegmentationClass/{name}.png", corrected(3))
    folder = VocFolder(root)
    found = read_corrections(masks, folder).masks
    calls = 0

    class Killed(BaseException):
        """Of a process that does nothing any more."""

    def until_killed(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal calls
            if any(str(arg).endswith(".tmp") for arg in args):  # of a file that is written, not put
                return call(*args, **more)
            calls += 1
            result = call(*args, **more) if calls < last or (calls == last and done) else None
            if calls >= last:
                raise Killed
            return result

        return step

    with monkeypatch.context() as patch:
        patch.setattr("os.link", until_killed(os.link))
        patch.setattr(Path, "replace", until_killed(Path.replace))
        patch.setattr(Path, "unlink", until_killed(Path.unlink))
        with pytest.raises(Killed):  # its temporary folder is removed: nothing may need it
            put_masks(folder, found, replace=True, threads=1)
    for seed, name in enumerate("ab"):
        there = truth(root, name)
        assert np.array_equal(there, corrected(3)) or np.array_equal(there, corrected(seed))
    put_masks(folder, found, replace=True)
    for seed, name in enumerate("abc"):
        assert np.array_equal(truth(root, name), corrected(seed))


def test_links_to_somebody_s_masks_give_way_and_their_ends_stay(
    command: Callable[..., Any], root: Path, masks: Path, tmp_path: Path
) -> None:
    write_mask_file(tmp_path / "official/a.png", corrected(3))
    (root / "SegmentationClass").mkdir()
    (root / "SegmentationClass/a.png").symlink_to(tmp_path / "official/a.png")
    assert command(masks, "--replace")[0] == 0
    assert np.array_equal(truth(root, "a"), corrected(0))
    assert np.array_equal(pictures.read_mask(tmp_path / "official/a.png"), corrected(3))


def test_another_folder_of_masks_and_labels_that_differ(
    command: Callable[..., Any], root: Path, masks: Path, tmp_path: Path
) -> None:
    write_mask_file(masks / "d.png", np.full((HEIGHT, WIDTH), CAT))
    code, out, _ = command(masks, "data.masks=True/Masks")
    assert code == 0
    assert sorted(path.name for path in (root / "True/Masks").iterdir()) == ["a.png", "b.png", "c.png", "d.png"]
    assert "note: 3 masks, such as a.png, show a class that the photograph's labels do not name; add the label." in out
    assert "note: 1 masks, such as d.png, do not show all classes" in out


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda path: path.mkdir(), "holds no masks that are known. Read are LabelMe's JSON"),
        (lambda path: None, "does not exist; check --masks"),
        (lambda path: write_mask_file(path / "ghost.png", corrected(0)), "ghost: the photograph does not exist"),
        (lambda path: write_mask_file(path / "a.png", corrected(0)[1:]), "is a mask of 64 x 47 pixels, but"),
        (lambda path: write_mask_file(path / "a.png", corrected(0) + 1), "holds class index 4, but the class list has"),
        (lambda path: write_mask_file(path / "a.png", np.zeros((HEIGHT, WIDTH, 3))), "add --palette if its colours"),
        (
            lambda path: (write_mask_file(path / "a.png", corrected(0)), dump(path / "b/b.json", labelme("b"))),
            "holds files of 'LabelMe's JSON' and 'PNG masks'; give the folder",
        ),
        (
            lambda path: write(
                path / "a.json",
                [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}],
                [{"image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5]}],
            ),
            "boxes alone are no masks; export polygons or masks",
        ),
        (
            lambda path: write(
                path / "a.json",
                [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": 50_000}],
                [{"image_id": 1, "category_id": 3, "segmentation": [box(1, 1, 5, 5)]}],
            ),
            "is a mask of 64 x 50000 pixels, but",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    command: Callable[..., Any], root: Path, tmp_path: Path, make: Callable[[Path], object], named: str
) -> None:
    make(tmp_path / "in")
    before = snapshot(root)
    check_refusal(command(tmp_path / "in"), named)
    assert snapshot(root) == before


def test_few_true_masks_to_learn_from_are_no_fault(tool: Tool, tmp_path: Path) -> None:
    splits = {"train": tuple("abcdefg"), "val": ("h",)}
    root = make_voc(tmp_path / "data", splits, masks=False, names=NAMES[:3])
    write_mask_file(tmp_path / "masks/a.png", quadrants(16, 12, 0) % 3)
    assert tool("import_masks", "--root", root, "--masks", tmp_path / "masks")[0] == 0
    code, out, _ = tool("check_data", "--root", root)
    assert code == 0
    assert "warning: " in out
    assert "1 of the 7 photographs to learn from have a true mask, so this split is not measured" in out
