"""dsrg pick: which photographs to correct first, told without true masks, and packed as the tools open them."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data
from helpers import Tool, check_refusal
from tiny_run import finish_run, make_run

from dsrg.data.corrections import read_corrections
from dsrg.data.voc import Photo
from dsrg.files import pictures
from dsrg.labels import Classes
from dsrg.study.doubt import Doubt, compare, doubts
from dsrg.study.pick import SMALLEST, Picked, parts, rank, rank_photos, reason
from dsrg.study.pick_pack import table

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = Classes(("background", "cat", "dog"))
CAT, DOG = 1, 2


def doubt(
    name: str,
    own: Sequence[int],
    *,
    wrong: Sequence[float] = (0.1, 0.1, 0.1),
    area: Sequence[float] = (0.5, 0.25, 0.25),
    features: Sequence[float] | None = None,
    mirror: Sequence[float] = (0, 0, 0),
    foreign: Sequence[float] = (0, 0, 0),
    classifier: Sequence[float] = (1, 1, 1),
) -> Doubt:
    tags = np.isin(np.arange(3), [0, *own])
    random = np.random.default_rng([ord(letter) for letter in name]).normal(size=32)
    shares = [np.array(each, float) for each in (area, wrong, mirror, foreign, classifier)]
    return Doubt(Photo(name, Path(f"{name}.jpg"), tags), *shares, random if features is None else np.array(features))


def names(found: Sequence[Doubt], count: int) -> list[str]:
    return [found[index].photo.id for index, _ in rank(found, count)]


def test_network_and_mask_are_compared_pixel_by_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    probs, mirrored = (torch.rand(4, 5, 6, generator=generator).softmax(dim=0) for _ in range(2))
    mask = torch.randint(0, 3, (5, 6), generator=generator, dtype=torch.uint8)
    mask[0] = 255
    tags = torch.tensor([True, True, True, False])
    found = compare(probs, mirrored, mask, tags)
    for c in range(4):
        area = wrong = mirror = foreign = 0.0
        for y in range(5):
            for x in range(6):
                own, other = (part[:3, y, x] / part[:3, y, x].sum() for part in (probs, mirrored))
                area += float(mask[y, x] == c)
                if c < 3:
                    wrong += abs(float(own[c]) - float(mask[y, x] == c)) if mask[y, x] != 255 else 0
                    mirror += abs(float(own[c]) - float(other[c]))
                foreign += float(c == 3 and probs[:, y, x].argmax() == 3)
        expected = {"area": area, "wrong": wrong, "mirror": mirror, "foreign": foreign}
        for key, value in expected.items():
            assert float(found[key][c]) == pytest.approx(value / 30, abs=1e-6), (key, c)
    assert found["foreign"][3] > 0


def test_classes_take_turns_the_rarest_first_the_most_doubtful_of_each() -> None:
    found = [
        doubt("cat-sure", [CAT], wrong=(0.1, 0.1, 0)),
        doubt("cat-doubtful", [CAT], wrong=(0.3, 0.3, 0)),
        doubt("cat-middle", [CAT], wrong=(0.2, 0.2, 0)),
        doubt("dog-sure", [DOG], wrong=(0.05, 0, 0.05)),
        doubt("dog-doubtful", [DOG], wrong=(0.1, 0, 0.1)),
    ]
    assert names(found, 5) == ["dog-doubtful", "cat-doubtful", "dog-sure", "cat-middle", "cat-sure"]
    assert names(found, 2) == names(found, 5)[:2]


def test_pixels_of_a_class_that_covers_little_weigh_more() -> None:
    both = doubt("both", [CAT, DOG], wrong=(0.2, 0.1, 0.1), area=(0.7, 0.2, 0.1))
    assert parts([both])[0].tolist() == pytest.approx([0.5, 1.0])


def test_a_class_that_the_mask_lacks_is_in_doubt_on_as_much_as_its_masks_cover() -> None:
    there = doubt("there", [CAT], area=(0.6, 0.4, 0), wrong=(0.1, 0.1, 0))
    missing = doubt("missing", [CAT], area=(1, 0, 0), wrong=(0.01, 0.01, 0))
    assert parts([there, missing])[:, 0].tolist() == pytest.approx([0.5, 1.0])
    assert names([there, missing], 1) == ["missing"]
    assert "cat is missing in the mask" in reason(missing, CLASSES)
    assert "missing" not in reason(there, CLASSES)


def test_near_duplicates_wait_until_nothing_else_is_left() -> None:
    base = np.random.default_rng(0).normal(size=32)
    twins = [
        doubt("twin-1", [CAT], wrong=(0.4, 0.4, 0), features=base),
        doubt("twin-2", [CAT], wrong=(0.39, 0.39, 0), features=base + 0.01),
        *(doubt(f"other-{letter}", [CAT], wrong=(0.1, 0.1, 0)) for letter in "abc"),
    ]
    found = names(twins, 5)
    assert found[0] == "twin-1"
    assert found[-1] == "twin-2"


def test_the_table_says_why() -> None:
    one = doubt("a", [CAT], foreign=(0, 0, 0.2), classifier=(1, 0.3, 0), mirror=(0.02, 0.02, 0))
    why = reason(one, CLASSES)
    assert "the classifier doubts cat (0.30)" in why
    assert "the network sees dog on 20%" in why
    assert "photograph and mirror image differ on 2%" in why
    rows = list(csv.reader(table([Picked(one.photo, 1.5, why)]).splitlines()))
    assert rows == [["photograph", "score", "why"], ["a.jpg", "1.5000", why]]


# --- with a run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """True masks of the validation photographs alone."""
    root = make_demo_data(tmp_path_factory, train=6, val=3, size=48)
    for name in (root / "ImageSets/Segmentation/train.txt").read_text().split():
        (root / f"SegmentationClass/{name}.png").rename(root.parent / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    finish_run(make_run(data, run_dir), data.parent)
    return run_dir


@pytest.mark.parametrize("kind", ["labelme", "coco", "masks"])
def test_what_is_packed_is_read_back_by_import_masks(
    data: Path, finished: Path, tool: Tool, tmp_path: Path, kind: str
) -> None:
    out, run = tmp_path / "out", make_run(data, finished)
    words = ("pick", "--cfg", finished / "config.yaml", "--out", out, "--format", kind)
    code, text, _ = tool(*words, "--count", "2")
    assert code == 0
    rows = list(csv.DictReader((out / "pick.csv").open()))
    assert [row["photograph"] for row in rows] == [one.photo.path.name for one in rank_photos(run, 2)]
    for row in rows:
        name = row["photograph"]
        assert (out / "images" / name).read_bytes() == (data / "JPEGImages" / name).read_bytes()
        assert row["why"] in text
    place = {"labelme": out / "images", "coco": out / "annotations.json", "masks": out}[kind]
    read = read_corrections(place, run.folder).masks
    assert {one.photo.name for one in read} == {row["photograph"] for row in rows}
    for one in read:
        mask, there = one.mask(), pictures.read_mask(finished / f"masks/{one.photo.stem}.png")
        assert (mask == there).mean() > (0.9 if kind == "labelme" else 0.999999)  # polygons to a pixel
    before = (out / "pick.csv").read_bytes()
    check_refusal(tool(*words), "out: is there already")
    assert (out / "pick.csv").read_bytes() == before


def test_what_is_known_of_a_photograph_is_kept_and_follows_its_mask(
    data: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_dir = shutil.copytree(finished, tmp_path / "run")
    run = make_run(data, run_dir)
    first = doubts(run, run.train)
    with monkeypatch.context() as patch:
        patch.setattr("dsrg.study.doubt._looker", lambda *_: pytest.fail("computes again"))
        again = doubts(run, run.train)
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.wrong, two.wrong)
    pictures.write_mask(run_dir / f"masks/{run.train[0].id}.png", np.zeros((48, 48), np.uint8))
    changed = doubts(run, run.train)
    assert changed[0].area[0] == 1
    assert all(one.area[1:].max() < SMALLEST for one in changed[:1])


def test_the_loop_of_a_person(data: Path, finished: Path, tool: Tool, tmp_path: Path) -> None:
    """Predict, pick, correct in LabelMe, import, retrain, report."""
    root, run_dir = shutil.copytree(data, tmp_path / "data"), shutil.copytree(finished, tmp_path / "run")
    words = ("--cfg", run_dir / "config.yaml", f"data.root={root}", f"run_dir={run_dir}")
    predicted = tool(
        "predict", root / "JPEGImages", "--model", run_dir, "--out", tmp_path / "predicted", "--workers", 0
    )
    assert predicted[0] == 0
    assert tool("pick", *words, "--count", "2", "--out", tmp_path / "todo")[0] == 0
    ids = [Path(row["photograph"]).stem for row in csv.DictReader((tmp_path / "todo/pick.csv").open())]
    classes = make_run(root, run_dir).classes.names
    for name in ids:  # the person draws what is there
        true = pictures.read_mask(data.parent / f"{name}.png")
        path = tmp_path / f"todo/images/{name}.json"
        said = json.loads(path.read_text())
        shown = (index for index in np.unique(true) if index not in (0, 255))
        said["shapes"] = [drawn(true == index, classes[index]) for index in shown]
        path.write_text(json.dumps(said | {"version": "5.8.1", "imageData": "aGVsbG8="}))
    assert tool("import_masks", "--root", root, "--masks", tmp_path / "todo/images")[0] == 0
    corrected = (*words, "corrections.masks=SegmentationClass", "corrections.weight=4")
    check_refusal(tool("retrain", *corrected), "dsrg retrain --again")
    code, text, _ = tool("retrain", *corrected, "--again")
    assert code == 0
    assert f"kept: {run_dir / 'earlier/1'}" in text
    assert tool("retrain", *corrected, "--again")[0] == 0  # there is nothing more to do
    assert sorted(path.name for path in (run_dir / "earlier").iterdir()) == ["1"]
    assert tool("report", *corrected)[0] == 0
    page = (run_dir / "report.html").read_text()
    rows = page.split('<table class="numbers corrections">')[1].split("</table>")[0]
    assert '<th scope="row">earlier/1</th><td>0</td>' in rows
    assert '<th scope="row">now</th><td>2</td>' in rows
    for folder in (run_dir / "earlier/1", run_dir):
        figure = json.loads((folder / "predictions/val/stage.json").read_text())["figures"]["retrain_miou"]
        assert f"<td>{figure:.4f}</td>" in rows
    code, text, _ = tool("pick", *corrected, "--count", "4", "--out", tmp_path / "more")
    assert code == 0
    assert not any(f"{name}." in text for name in ids)  # these are done
    check_refusal(tool("pick", *corrected, "--count", "5", "--out", tmp_path / "most"), "--count 5", "from 1 to 4")


def drawn(part: np.ndarray, label: str) -> dict[str, object]:
    """The outline of a part, as LabelMe saves a polygon."""
    import cv2

    outline = max(cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)[:, 0]
    points = (outline + 0.3).tolist() if len(outline) > 2 else [[0.0, 0.0], [3.0, 0.0], [3.0, 3.0]]
    more = {"group_id": None, "description": "", "shape_type": "polygon", "flags": {}, "mask": None}
    return {"label": label, "points": points, **more}


def test_agreement_with_labels_needs_no_true_mask(tmp_path: Path) -> None:
    from dsrg.page.corrections import agreement

    half = np.zeros((10, 20), np.uint8)
    half[:, :10] = 1
    speck = half.copy()
    speck[0, 19] = 2  # half a percent
    for name, mask in (("a", half), ("b", speck), ("c", np.zeros((10, 20), np.uint8))):
        pictures.write_mask(tmp_path / f"{name}.png", mask)
    photos = [Photo(name, tmp_path / f"{name}.jpg", np.array([True, True, False])) for name in "abc"]
    assert agreement(tmp_path, photos) == pytest.approx((1 + 0.5 + 0) / 3)
