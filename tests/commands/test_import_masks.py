"""dsrg import-masks: what was corrected elsewhere becomes true masks, all of it or nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import box, write
from correction_files import CAT, HEIGHT, WIDTH, corrected, dump, labelme, snapshot, truth
from helpers import NAMES, Tool, check_refusal, make_voc, quadrants, write_mask_file
from PIL import Image

from dsrg.data.corrections import read_corrections
from dsrg.data.true_masks import put_masks
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files import pictures

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


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


@pytest.mark.parametrize("mode", ["L", "1"])
def test_masks_in_black_and_white_are_refused_until_it_is_said_whose_they_are(
    command: Callable[..., Any], root: Path, tmp_path: Path, mode: str
) -> None:
    white = corrected(0) == CAT
    assert white.any() and not white.all()
    for name in "ab":
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(white.astype(np.uint8) * 255).convert(mode).save(tmp_path / f"in/{name}.png")
    before = snapshot(root)
    named = "shows no object, nor do the other 1 masks" if mode == "L" else "add --palette"
    check_refusal(command(tmp_path / "in"), "a.png", named, "--palette FILE")
    assert snapshot(root) == before
    (tmp_path / "colours.txt").write_text("background:0,0,0\ncat:255,255,255\n")
    assert command(tmp_path / "in", "--palette", tmp_path / "colours.txt")[0] == 0
    assert np.array_equal(truth(root, "b"), white * CAT)


def test_indices_of_16_bits_are_read(command: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    mask = corrected(0)
    mask[0, :5] = 255
    Image.fromarray(mask.astype(np.uint16)).save(tmp_path / "in/a.png")
    assert command(tmp_path / "in")[0] == 0
    assert np.array_equal(truth(root, "a"), mask)
    Image.fromarray(mask.astype(np.uint16) + 300).save(tmp_path / "in/a.png")
    check_refusal(command(tmp_path / "in"), "a.png: holds class index 555")


def test_few_true_masks_to_learn_from_are_no_fault(tool: Tool, tmp_path: Path) -> None:
    splits = {"train": tuple("abcdefg"), "val": ("h",)}
    root = make_voc(tmp_path / "data", splits, masks=False, names=NAMES[:3])
    write_mask_file(tmp_path / "masks/a.png", quadrants(16, 12, 0) % 3)
    assert tool("import_masks", "--root", root, "--masks", tmp_path / "masks")[0] == 0
    code, out, _ = tool("check_data", "--root", root)
    assert code == 0
    assert "warning: " in out
    assert "1 of the 7 photographs to learn from have a true mask, so this split is not measured" in out


@pytest.mark.parametrize("kind", ["labelme", "coco", "png"])
def test_photographs_are_found_by_the_names_that_they_had_before(
    command: Callable[..., Any], root: Path, tmp_path: Path, kind: str
) -> None:
    """`prepare-data` has named 'a b.jpg' a_b; the tool has the photograph of old."""
    for part in ("train", "val"):
        path = root / f"ImageSets/Segmentation/{part}.txt"
        path.write_text("\n".join("a_b" if line == "a" else line for line in path.read_text().split("\n")))
    (root / "JPEGImages/a.jpg").rename(root / "JPEGImages/a_b.jpg")
    labels = root / "image_labels.csv"
    labels.write_text(labels.read_text().replace("\na,", "\na_b,"))
    points = [[4, 5], [30, 5], [30, 20], [4, 20]]
    if kind == "labelme":
        dump(tmp_path / "m/a b.json", labelme("a b", {"label": "cat", "points": points}))
    elif kind == "coco":
        images = [{"id": 1, "file_name": "images/a b.jpg", "width": WIDTH, "height": HEIGHT}]
        row = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [box(4, 5, 30, 20)]}
        dump(tmp_path / "m/x.json", {"images": images, "annotations": [row], "categories": [{"id": 3, "name": "cat"}]})
    else:
        write_mask_file(tmp_path / "m/a b.png", corrected(0))
    code, out, err = command(tmp_path / "m")
    assert (code, err) == (0, "")
    assert "1 masks are new" in out
    assert (truth(root, "a_b") == CAT).any()
