"""dsrg import-masks: what is left out is named, and what holds nothing to learn from is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import write
from correction_files import CAT, HEIGHT, SQUARE, WIDTH, corrected, dump, labelme, shape, snapshot, truth
from helpers import check_refusal, write_mask_file

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGE = {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 4, "name": "ignore"}]
OUTLINE = [4.0, 5.0, 30.0, 5.0, 30.0, 20.0, 4.0, 20.0]


def coco(folder: Path, *rows: dict[str, Any]) -> None:
    write(folder / "x.json", [IMAGE], [{"image_id": 1, "category_id": 3, **row} for row in rows], CATEGORIES)


def cvat(folder: Path, shapes: str) -> None:
    folder.mkdir()
    head = f'<annotations><image name="a.jpg" width="{WIDTH}" height="{HEIGHT}">'
    (folder / "annotations.xml").write_text(f"{head}{shapes}</image></annotations>")


NOTHING = "so there is nothing to import; polygons and painted masks are read"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda folder: coco(folder),
            f"holds no object that covers any part of a photograph (read as COCO's JSON), {NOTHING}",
        ),
        (lambda folder: cvat(folder, '<polyline label="cat" points="1,1;9,9"/>'), NOTHING),
        (lambda folder: cvat(folder, ""), NOTHING),
        (
            lambda folder: dump(
                folder / "p.json",
                [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [], "predictions": [{"result": []}]}],
            ),
            f"covers any part of a photograph (read as Label Studio's JSON), {NOTHING}",
        ),
        (lambda folder: coco(folder, {"segmentation": [[]], "bbox": [4, 5, 9, 9]}), "boxes alone are no masks"),
        (lambda folder: coco(folder, {"segmentation": [[1, 2, 3, 4]], "bbox": [4, 5, 9, 9]}), "boxes alone are no"),
        (lambda folder: coco(folder, {"segmentation": [], "bbox": [4, 5, 9, 9]}), "boxes alone are no masks"),
        (
            lambda folder: dump(folder / "a.json", labelme("a", shape("ignore", SQUARE))),
            "(void). Draw the objects' outlines, or leave the file out, for nothing can be learnt",
        ),
        (lambda folder: write_mask_file(folder / "a.png", np.full((HEIGHT, WIDTH), 255, np.uint8)), "shows no object"),
    ],
)
def test_nothing_to_import_is_refused(
    command: Callable[..., Any], root: Path, tmp_path: Path, make: Callable[[Path], object], named: str
) -> None:
    before = snapshot(root)
    make(tmp_path / "m")
    check_refusal(command(tmp_path / "m"), named)
    assert snapshot(root) == before


def test_a_mask_without_an_object_among_others_is_told(command: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    dump(tmp_path / "m/a.json", labelme("a", shape("cat", SQUARE)))
    dump(tmp_path / "m/b.json", labelme("b", shape("ignore", SQUARE)))
    code, out, _ = command(tmp_path / "m")
    assert code == 0
    assert "1 masks, such as b.png, show no object and are partly void, so only background is learnt from them" in out
    assert {*np.unique(truth(root, "b")).tolist()} == {0, 255}


def test_one_polygon_that_is_in_no_list_is_read(command: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    coco(tmp_path / "flat", {"segmentation": OUTLINE})
    coco(tmp_path / "nested", {"segmentation": [OUTLINE]})
    code, out, err = command(tmp_path / "flat")
    assert (code, err) == (0, "")
    assert "1 objects have their polygon as one list of numbers, not in a list of polygons" in out
    assert (truth(root, "a") == CAT).sum() == 26 * 15
    assert "0 masks are new, 0 are replaced, 1 were the same" in command(tmp_path / "nested")[1]


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"a.png": "mask", "c.jpg": "picture"}, "1 files are no masks that are read and were left out: c.jpg."),
        ({"a.png": "mask", "a.jpg": "picture", "classes.txt": "list"}, ""),  # its photograph, and a list of classes
        ({"a.json": "labelme", "b.json": "{}"}, "1 files are no masks that are read and were left out: b.json."),
        ({"a.json": "labelme", "a.png": "mask", "b.png": "mask"}, "read and were left out: b.png."),
        ({"x.json": "coco", "images/a.jpg": "picture", "README.md": "-"}, "read and were left out: README.md."),
    ],
)
def test_what_is_left_out_is_named(
    command: Callable[..., Any], root: Path, tmp_path: Path, files: dict[str, str], left: str
) -> None:
    place = tmp_path / "m"
    for name, kind in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "mask":
            write_mask_file(path, corrected(0))
        elif kind == "labelme":
            dump(path, labelme("a", shape("cat", SQUARE)))
        elif kind == "coco":
            coco(place, {"segmentation": [OUTLINE]})
        elif kind == "picture":
            path.write_bytes((root / "JPEGImages/a.jpg").read_bytes())
        else:
            path.write_text("background\ncat\ndog\ntraffic light\nperson\n" if kind == "list" else kind)
    code, out, err = command(place)
    assert (code, err) == (0, "")
    assert "1 masks are new" in out
    assert left in out and ("were left out" in out) == bool(left)
