"""What a map lies on: sums by hand, the figures made of them, and both commands against a second computation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NAMES, Tool, check_refusal, make_voc, write_mask_file
from PIL import Image
from sure_run import CONFIG, make_run, words
from torch.nn import functional

from dsrg import explain
from dsrg.data.voc import Photo
from dsrg.labels import Classes
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.study import debug_cams, mass, show_objects
from dsrg.study.debug_cams import Tag
from dsrg.study.show_objects import Found

LABELS = {"t0": "cat", "t1": "dog", "v0": "cat", "v1": "dog", "v2": "cat dog", "v3": "traffic light;"}
pytestmark = pytest.mark.usefixtures("one_thread")
SCENE = ("background", "cat", "grass", "sky", "sofa")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs, and in stuff/ masks of other labels for three of the four of val."""
    splits = {"train": ("t0", "t1"), "val": ("v0", "v1", "v2", "v3")}
    root = make_voc(tmp_path_factory.mktemp("data"), splits, size=(60, 45), labels=LABELS)
    random = np.random.default_rng(3)
    for name in ("v0", "v1", "v2"):
        write_mask_file(root / f"stuff/{name}.png", random.choice([0, 1, 2, 3, 255], (5, 6)).repeat(9, 0).repeat(10, 1))
    (root / "stuff.txt").write_text("\n".join(SCENE) + "\n")
    return root


def test_sums_by_hand() -> None:
    maps = torch.tensor([[[8.0, 4.0], [-3.0, 2.0]], [[-1.0, -2.0], [-3.0, -4.0]]])
    mask = np.array([[1, 0], [2, 255]], np.uint8)
    sums = mass.label_sums(maps, mask, 3, 0.4)
    assert sums.mass.tolist() == [[4, 8, 0], [0, 0, 0]]  # the 2 is on void
    assert sums.region.tolist() == [[1, 1, 0], [0, 0, 0]]  # above 3.2: the 8 and the 4
    assert sums.area.tolist() == [1, 1, 1]
    assert mass.label_sums(maps, mask, 3, 0.5).region[0].tolist() == [0, 1, 0]  # at the threshold is not above
    assert mass.shares(sums.mass)[0].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert np.isnan(mass.shares(sums.mass)[1]).all()


def test_maps_are_rectified_before_they_are_enlarged() -> None:
    sums = mass.label_sums(torch.tensor([[[1.0, -1.0]]]), np.array([[1, 1, 0, 0, 2]], np.uint8), 3, 0)
    assert sums.mass[0].tolist() == [0.75, 1.75, 0]  # 1, 0.75, 0.5, 0.25, 0; enlarged first it were 1, 0.5, 0, 0, 0
    with pytest.raises(ValueError, match="do not fit"):
        mass.label_sums(torch.zeros(2, 2), np.zeros((2, 2), np.uint8), 3, 0.5)
    assert mass.label_sums(torch.zeros(0, 2, 2), np.zeros((2, 2), np.uint8), 3, 0.5).mass.shape == (0, 3)


def test_objects_of_a_class_by_hand() -> None:
    region = [np.array(row) for row in ([0.5, 0.5, 0.0, 0.0], [0.2, 0.04, 0.76, 0.0], [0.0, 1.0, 0.0, 0.0])]
    area = [np.array(row) for row in ([0.5, 0.3, 0.2, 0.0], [0.8, 0.1, 0.1, 0.0], [0.6, 0.4, 0.0, 0.0])]
    figures = show_objects.figures_of(Found([photo("a")] * 3, region, area))
    # Label 0 is in two of three regions, so is 1 (0.04 is below 5 %), which has the larger lift; 3 occurs nowhere.
    assert [one.label for one in figures] == [1, 0, 2]
    first = figures[0]
    assert (first.in_region, first.in_photograph) == (pytest.approx(2 / 3), 1)
    assert (first.region, first.area) == (pytest.approx(1.54 / 3), pytest.approx(0.8 / 3))
    assert first.lift == pytest.approx(1.54 / 0.8)
    assert figures[1].lift == pytest.approx(0.7 / 1.9)
    assert (figures[2].in_photograph, figures[2].lift) == (pytest.approx(2 / 3), pytest.approx(0.76 / 0.3))
    assert show_objects.figures_of(Found()) == []


def photo(name: str) -> Photo:
    return Photo(name, Path(name), np.array([True, True, False, False]))


def tag(verdict: str, label: int, score: float, *shares: float) -> Tag:
    values = np.array(shares)
    return Tag(photo("a"), label, verdict, score, values, values, np.full(5, 0.2))


def test_tags_in_groups_by_hand() -> None:
    classes, labels = Classes(NAMES), Classes(("background", "dog", "grass", "cat", "sofa"))
    cat = 0
    tags = [
        tag("right", cat, 0.9, 0.1, 0.2, 0.1, 0.6, 0.0),
        tag("right", cat, 0.6, 0.3, 0.0, 0.5, 0.2, 0.0),  # background and grass together
        tag("right", cat, 0.6, *[np.nan] * 5),
        tag("missed", cat, 0.2, 0.1, 0.2, 0.1, 0.5, 0.1),
        tag("wrong", cat, 0.7, 0.2, 0.8, 0.0, 0.0, 0.0),
    ]
    assert debug_cams.grouped(tags, classes, labels) == {
        "right": {"its own object": 1, "another class's object": 0, "background": 1, "nowhere": 1},
        "missed": {"its own object": 1, "another class's object": 0, "background": 0, "nowhere": 0},
        "false": {"its own object": 0, "another class's object": 1, "background": 0, "nowhere": 0},
    }
    found = debug_cams.by_class(tags, classes, labels)["cat"]
    assert {kind: (part["tags"], part["nowhere"]) for kind, part in found.items()} == {
        "right": (3, 1),
        "missed": (1, 0),
        "false": (1, 0),
    }
    assert list(found["right"]["mass"].values()) == pytest.approx([0.4, 0.1, 0.5])
    assert list(found["right"]["area"].values()) == pytest.approx([0.2, 0.2, 0.6])
    assert found["right"]["labels"]["grass"] == pytest.approx(0.3)
    lines = debug_cams.table({"groups": debug_cams.grouped(tags, classes, labels), "classes": {"cat": found}})
    assert "| cat | 3 right | 40 % (20 %) | 10 % (20 %) | 50 % (60 %) | 40 % | grass, 30 % |" in lines
    assert "| cat | 1 false | 0 % (20 %) | 80 % (20 %) | 20 % (60 %) | 0 % | dog, 80 % |" in lines
    assert [tags[0].error, tags[4].error] == [pytest.approx(0.1), 0.7]


def naive(
    run: Run, photo: Photo, label: int, mask: np.ndarray, count: int, fraction: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of a CAM's mass and high region, pixel by pixel."""
    model = networks.trained_classifier(run)
    pixels = torch.from_numpy(np.array(Image.open(photo.path))).permute(2, 0, 1)
    (images,) = inference.pyramid(model, pixels, (1.0,), 64, False)
    raw = explain.cam(model, images, torch.tensor([[label]])).clamp(min=0)
    large = functional.interpolate(raw, mask.shape, mode="bilinear", align_corners=True)[0, 0].double().numpy()
    own, high, area = np.zeros(count), np.zeros(count), np.zeros(count)
    for value, index in zip(large.ravel(), mask.ravel(), strict=True):
        if index != 255:
            own[index] += value
            high[index] += value > fraction * large.max()
            area[index] += 1
    return own / own.sum(), high / high.sum(), area / area.sum()


def test_show_objects_is_a_full_computation(data: Path, tmp_path: Path, tool: Tool) -> None:
    run = make_run(data, tmp_path)
    more = ("--masks", data / "stuff", "--labels", data / "stuff.txt", "--threshold", 0.3)
    code, out, _ = tool("show_objects", "--cfg", CONFIG, *more, *words(data, tmp_path))
    assert code == 0
    told = json.loads((tmp_path / "explain/objects-stuff.json").read_text())
    assert (told["photographs"], told["with_masks"], told["threshold"]) == (4, 3, 0.3)
    cats = [photo for photo in run.val if photo.id in ("v0", "v2")]
    masks = [np.array(Image.open(data / f"stuff/{photo.id}.png")) for photo in cats]
    parts = [naive(run, photo, 0, mask, 5, 0.3) for photo, mask in zip(cats, masks, strict=True)]
    cat = told["classes"]["cat"]
    assert cat["photographs"] == 2
    by_name = {one["label"]: one for one in cat["objects"]}
    assert by_name.keys() == {"background", "cat", "grass", "sky"}
    for index, name in enumerate(SCENE[:4]):
        region, area = (np.mean([part[which][index] for part in parts]) for which in (1, 2))
        assert by_name[name]["region"] == pytest.approx(region, abs=1e-6)
        assert by_name[name]["lift"] == pytest.approx(region / area, abs=1e-5)
        assert by_name[name]["in_region"] == np.mean([part[1][index] >= 0.05 for part in parts])
    assert told["classes"]["traffic light"] == {"photographs": 0, "without_region": 0, "objects": []}
    assert out.startswith("| class | object |")
    assert Image.open(tmp_path / "explain/objects-stuff.png").width > 3 * show_objects.TILE
    assert show_objects.show_objects(run)["with_masks"] == 4  # the data set's own masks
    assert (tmp_path / "explain/objects.md").read_text().startswith("| class | object |")


def test_debug_cams_is_a_full_computation(data: Path, tmp_path: Path, tool: Tool) -> None:
    run = make_run(data, tmp_path)  # says cat for sure and perhaps dog, whatever it sees
    code, out, _ = tool("debug_cams", "--cfg", CONFIG, "--count", 2, *words(data, tmp_path))
    assert code == 0
    told = json.loads((tmp_path / "explain/debug-cams.json").read_text())
    assert {kind: sum(counts.values()) for kind, counts in told["groups"].items()} == {
        "right": 4,
        "missed": 1,
        "false": 4,
    }
    parts = []
    for photo in (run.val[0], run.val[2]):  # those with cats
        mask = np.array(Image.open(data / f"SegmentationClass/{photo.id}.png"))
        parts.append(naive(run, photo, 0, mask, 4, 0.5))
    own, high, area = np.mean(parts, axis=0)
    cat = told["classes"]["cat"]["right"]
    assert cat["tags"] == 2
    assert list(cat["mass"].values()) == pytest.approx([own[1], own[2] + own[3], own[0]], abs=1e-6)
    assert list(cat["region"].values()) == pytest.approx([high[1], high[2] + high[3], high[0]], abs=1e-6)
    assert list(cat["area"].values()) == pytest.approx([area[1], area[2] + area[3], area[0]])
    assert len(told["worst"]) == 2
    # No light is found, with a probability near 0; a cat is where none is, with one near 1.
    assert {(one["class"], one["tag"]) for one in told["worst"]} <= {("traffic light", "missed"), ("cat", "false")}
    assert "| cat | 2 right |" in out
    assert Image.open(tmp_path / "explain/debug-cams.png").width == 4 * (debug_cams.TILE + 4) + 4


@pytest.mark.parametrize("command", ["show_objects", "debug_cams"])
def test_what_cannot_be_told_is_one_sentence(data: Path, tmp_path: Path, tool: Tool, command: str) -> None:
    def call(*options: object, extra: tuple[str, ...] = ()) -> tuple[int, str, str]:
        return tool(command, "--cfg", CONFIG, *options, *words(data, tmp_path, *extra))

    check_refusal(call(), tmp_path / "classifier", "dsrg train-classifier")
    make_run(data, tmp_path)
    check_refusal(call("--threshold", 1), "--threshold 1")
    check_refusal(call("--split", "test"), data / "ImageSets/Segmentation/test.txt")
    check_refusal(call("--masks", data / "stuff"), "--masks", "needs --labels")
    check_refusal(call("--labels", data / "stuff.txt"), "--labels", "needs --masks")
    check_refusal(call("--masks", tmp_path / "no", "--labels", "voc"), tmp_path / "no", "check --masks")
    check_refusal(call("--masks", tmp_path / "classifier", "--labels", "voc"), tmp_path / "classifier", "no mask")
    check_refusal(call("--method", "acol"), "--method acol")
    (tmp_path / "two.txt").write_text("background\ncat\n")
    check_refusal(call("--masks", data / "stuff", "--labels", tmp_path / "two.txt"), data / "stuff", "class index")
    small = write_small(tmp_path / "small")
    check_refusal(call("--masks", small, "--labels", "voc"), small / "v0.png", "6 x 5")
    if command == "debug_cams":
        check_refusal(call("--count", 0), "--count 0")
    assert not (tmp_path / "explain").exists()


def write_small(folder: Path) -> Path:
    write_mask_file(folder / "v0.png", np.ones((5, 6)))
    return folder
