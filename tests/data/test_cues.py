"""The authors' cues: what the real file holds, what is refused, and that training's grid gets the very cues."""

import csv
import gzip
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Tool, check_refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from dsrg import config, inference, pictures
from dsrg.data.cues import GRID, count, enlarge, read_cues, read_list
from dsrg.data.demo import CLASSES, generate
from dsrg.data.training import TrainingSet, joint_transform
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.labels import IGNORE, VOC, Classes
from dsrg.run import Run

REAL = "data/voc2012_localization_cues.pickle.gz"
FEW = Classes(("background", "cat", "dog", "cow"), "classes.txt")
CFG = Path(__file__).parents[2] / "configs/demo/resnet18.yaml"


def as_arrays(seeds: np.ndarray, tags: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """An image's seeds and classes in the authors' form, by the definition."""
    cells = [(seeds[y, x], y, x) for y in range(GRID) for x in range(GRID) if seeds[y, x] != IGNORE]
    return np.array(tags, np.int64), np.array(cells, np.int64).reshape(-1, 3).T


def write_pickle(path: Path, values: Mapping[str, Any]) -> Path:
    content = pickle.dumps(dict(values), protocol=2)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def some_seeds(random: np.random.Generator, tags: Sequence[int]) -> np.ndarray:
    values = random.choice([0, *tags, IGNORE], (GRID, GRID))
    values[0, : len(tags)] = tags  # each class has a cue
    return np.asarray(values, np.uint8)


@pytest.fixture(scope="module")
def real(shared: Path) -> dict[str, np.ndarray]:
    """The real file, as NumPy's own unpickling gives it; the names that it uses were looked at before."""

    class Numpy(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            assert (module, name) in {
                ("numpy.core.multiarray", "_reconstruct"),
                ("numpy", "ndarray"),
                ("numpy", "dtype"),
            }
            return super().find_class(module, name)

    with gzip.open(shared / REAL) as file:
        arrays: dict[str, np.ndarray] = Numpy(file, encoding="latin1").load()
    return arrays


def test_the_real_file(shared: Path, real: dict[str, np.ndarray], tool: Tool) -> None:
    classes = Classes(VOC, "the preset 'voc'")
    read = read_cues(shared / REAL, classes)
    assert list(read) == list(range(10_582))
    for number, own in read.items():
        labels, (kind, row, column) = real[f"{number}_labels"], real[f"{number}_cues"]
        assert np.flatnonzero(own.tags).tolist() == [0, *labels]
        assert np.count_nonzero(own.seeds != IGNORE) == len(kind)
        np.testing.assert_array_equal(own.seeds[row, column], kind)
    images = np.bincount(np.concatenate([real[f"{n}_labels"] for n in read]), minlength=21)
    cells = np.bincount(np.concatenate([real[f"{n}_cues"][0] for n in read]), minlength=21)
    images[0] = len(read)
    code, out, err = tool("import_cues", "--cues", shared / REAL)
    assert (code, err) == (0, "")
    rows = [line.replace(",", "").split() for line in out.splitlines()]
    assert rows[0] == ["class", "images", "cues"]
    assert rows[1:-1] == [[*row] for row in zip(VOC, map(str, images), map(str, cells), strict=True)]
    assert rows[-1][:3] == ["all", "10582", str(cells.sum())]
    assert out.splitlines()[-1].endswith(f"{cells.sum() / (10_582 * GRID * GRID):.1%} of all cells")


@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (500, 333), (334, 500), (500, 281), (486, 500), (500, 112), (71, 500), (321, 321)]
)
def test_training_gets_the_cues_of_photographs_of_vocs_sizes(
    tmp_path: Path, real: dict[str, np.ndarray], size: tuple[int, int]
) -> None:
    """Written, read, warped to 321 x 321, mirrored or not, and picked by the grid as in a DSRG iteration."""
    width, height = size
    Image.new("RGB", size).save(tmp_path / "a.jpg")
    transform = joint_transform(size=321, resize="warp", scale=(1.0, 1.0), mirror=True, colour=0)
    photo = Photo("a", tmp_path / "a.jpg", np.ones(len(VOC), bool))
    mirrored = 0
    for number in (0, 4, 7383):
        kind, row, column = real[f"{number}_cues"]
        grid = np.full((GRID, GRID), IGNORE, np.uint8)
        grid[row, column] = kind
        pictures.write_mask(tmp_path / "a.png", enlarge(grid, height, width))
        np.testing.assert_array_equal(
            inference.on_grid(torch.from_numpy(pictures.read_mask(tmp_path / "a.png")), (GRID, GRID)), grid
        )
        samples = TrainingSet([photo], tmp_path, transform, seed=0)
        for draw in range(4):
            seen = inference.on_grid(samples[draw, 0]["masks"], (GRID, GRID)).numpy()
            mirrored += np.array_equal(seen, grid[:, ::-1])
            assert np.array_equal(seen, grid) or np.array_equal(seen, grid[:, ::-1])
    assert 0 < mirrored < 12


def test_every_side_from_71_pixels_on_survives_the_warp() -> None:
    cells = torch.arange(GRID, dtype=torch.uint8)
    for side in range(41, 520):
        line = torch.from_numpy(enlarge(cells[:, None].numpy(), side, 1))
        assert torch.equal(inference.on_grid(line, (GRID, 1)), cells[:, None]), side
        if side >= 71:
            warped = torch.nn.functional.interpolate(line[None, None], (321, 1), mode="nearest")[0, 0]
            assert torch.equal(inference.on_grid(warped, (GRID, 1)), cells[:, None]), side


@settings(max_examples=40, deadline=None)
@given(
    seeds=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6)),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
)
def test_enlarging_takes_the_nearest_cell(seeds: np.ndarray, height: int, width: int) -> None:
    large = enlarge(seeds, height, width)
    assert large.shape == (height, width)
    for y in range(height):
        for x in range(width):
            exact = (y * (seeds.shape[0] - 1) / max(1, height - 1), x * (seeds.shape[1] - 1) / max(1, width - 1))
            near = [
                seeds[i, j]
                for i in range(seeds.shape[0])
                for j in range(seeds.shape[1])
                if abs(i - exact[0]) <= 0.5 + 1e-9 and abs(j - exact[1]) <= 0.5 + 1e-9
            ]
            assert large[y, x] in near


def refusal(path: Path, changes: Mapping[str, Any], missing: str = "") -> str:
    values = {"0_labels": np.array([1]), "0_cues": np.array([[0, 1], [0, 5], [0, 40]]), **changes}
    values = {key: value for key, value in values.items() if key != missing}
    with pytest.raises(InputError) as caught:
        read_cues(write_pickle(path, values), FEW)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"0_labels": np.array([0])}, "'0_labels' has the class 0, which must be 1 to 3"),
        ({"0_labels": np.array([4])}, "'0_labels' has the class 4, which must be 1 to 3"),
        ({"0_labels": np.array([[1]])}, "'0_labels' is no array of integers with 1 axes"),
        ({"0_labels": np.array([1.0])}, "'0_labels' is no array of integers"),
        ({"0_labels": [1]}, "'0_labels' is no array of integers"),
        ({"0_cues": np.zeros((4, 2), int)}, "'0_cues' has 4 rows, not class, row and column"),
        ({"0_cues": np.zeros((2, 3), int)}, "'0_cues' has 2 rows"),
        ({"0_cues": np.zeros(3, int)}, "'0_cues' is no array of integers with 2 axes"),
        ({"0_cues": np.array([[4], [0], [0]])}, "'0_cues' has the class 4, which must be 0 to 3"),
        ({"0_cues": np.array([[-1], [0], [0]])}, "'0_cues' has the class -1"),
        ({"0_cues": np.array([[2**64 - 1], [0], [0]], np.uint64)}, "'0_cues' has the class"),
        ({"0_cues": np.array([[1], [41], [0]])}, "'0_cues' has the row or column 41, which must be 0 to 40"),
        ({"0_cues": np.array([[1], [0], [-1]])}, "'0_cues' has the row or column -1"),
        ({"0_cues": np.array([[2], [0], [0]])}, "'0_cues' has cues of 'dog', which '0_labels' lacks"),
        ({"0_cues": np.array([[0, 1], [3, 3], [4, 4]])}, "'0_cues' gives a cell two classes"),
        ({"1_labels": np.array([1])}, "'1_cues' is no array"),
        ({"x_labels": np.array([1])}, "holds 'x_labels'; a file of cues has <number>_labels"),
        ({"-1_labels": np.array([1])}, "holds '-1_labels'"),
        ({"²_labels": np.array([1])}, "_labels'; a file of cues"),
        ({"0": np.array([1])}, "holds '0'"),
        ({"0_other": np.array([1])}, "holds '0_other'"),
    ],
)
def test_what_are_no_cues_is_refused(tmp_path: Path, changes: Mapping[str, Any], reason: str) -> None:
    assert reason in refusal(tmp_path / "cues.pickle", changes)


def test_a_missing_half_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    assert "'0_labels' is no array" in refusal(tmp_path / "a", {}, missing="0_labels")
    with pytest.raises(InputError, match="holds no cues"):
        read_cues(write_pickle(tmp_path / "a", {}), FEW)


def test_an_image_may_lack_cues_or_labels(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a", {"7_labels": np.array([], int), "7_cues": np.zeros((3, 0), int)})
    own = read_cues(path, FEW)[7]
    assert own.tags.tolist() == [True, False, False, False]
    assert (own.seeds == IGNORE).all()
    assert count({7: own}, FEW).splitlines()[-1].split() == ["all", "1", "0,", "0.0%", "of", "all", "cells"]


def test_lists_of_photographs(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for text in ("b.jpg 0\na.JPG 5\n", "\ufeff/JPEGImages/b.jpg 0\r\n\r\n/JPEGImages/a.jpg 5\r\n", "b 0\na 5"):
        path.write_text(text, encoding="utf-8", newline="")
        assert read_list(path) == {"b": 0, "a": 5}
    path.write_text("b\n2007.000032\n")  # a split file; a point is no ending
    assert read_list(path) == {"b": 0, "2007.000032": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no photograph"),
        ("a 0\nb\n", "the line 'b' is not '<photograph> <number>'"),
        ("a\nb 1\n", "the line 'b 1' is not"),
        ("a x\n", "the line 'a x' is not"),
        ("a.jpg a.png\n", "the line 'a.jpg a.png' is not"),
        ("a 0\na.jpg 1\n", "'a' or the number 1 comes twice"),
        ("a 0\nb 0\n", "'b' or the number 0 comes twice"),
        ("a\na\n", "'a' or the number 1 comes twice"),
    ],
)
def test_a_list_of_another_form_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"list\.txt: ") as caught:
        read_list(path)
    assert reason in str(caught.value)


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: the list does not exist"):
        read_list(tmp_path / "nowhere")
    (tmp_path / "list.txt").write_bytes(b"b\xe4r\n")
    with pytest.raises(InputError, match="not in UTF-8"):
        read_list(tmp_path / "list.txt")


class Demo:
    """The demo set, made-up cues for its training photographs, and a list in another order than the split's."""

    def __init__(self, folder: Path) -> None:
        self.root, self.run_dir = folder / "data", folder / "run"
        generate(self.root, train=12, val=5)
        with (self.root / "image_labels.csv").open(newline="") as file:
            labels = {row["image"]: row["labels"].split() for row in csv.DictReader(file)}
        self.ids = (self.root / "ImageSets/Segmentation/train.txt").read_text().split()
        random = np.random.default_rng(0)
        self.numbers = dict(zip(self.ids, random.permutation(len(self.ids)).tolist(), strict=True))
        self.seeds, values = {}, {}
        for name, number in self.numbers.items():
            tags = sorted(CLASSES.index(label) for label in labels[name])
            self.seeds[name] = some_seeds(random, tags)
            values[f"{number}_labels"], values[f"{number}_cues"] = as_arrays(self.seeds[name], tags)
        values["99_labels"], values["99_cues"] = as_arrays(some_seeds(random, [1]), [1])  # of no photograph here
        self.cues = write_pickle(folder / "localization_cues.pickle.gz", values)
        self.list = folder / "input_list.txt"
        self.write_list(self.numbers)

    def write_list(self, numbers: Mapping[str, int]) -> None:
        self.list.write_text("".join(f"{name}.jpg {number}\n" for name, number in numbers.items()))

    def arguments(self) -> list[object]:
        data = [f"data.root={self.root}", f"run_dir={self.run_dir}", "device=cpu"]
        return ["import_cues", "--cues", self.cues, "--list", self.list, "--cfg", CFG, *data]

    def left(self) -> list[str]:
        return sorted(path.name for path in self.run_dir.iterdir()) if self.run_dir.exists() else []


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    yield Demo(tmp_path)


def test_the_tool_fills_seeds_that_the_run_takes_for_the_users(demo: Demo, tool: Tool) -> None:
    code, out, err = tool(*demo.arguments())
    assert code == 0, err
    assert f"{demo.run_dir / 'seeds'}: the seeds of the 12 photographs of train" in out
    assert "1 images of the cues are not in train" in out
    assert demo.left() == ["seeds"]
    seeds = demo.run_dir / "seeds"
    assert sorted(path.name for path in seeds.iterdir()) == sorted(f"{name}.png" for name in demo.ids)
    for name in demo.ids:
        with Image.open(seeds / f"{name}.png") as image:
            assert (image.mode, image.size) == ("P", (96, 96))
            pixels = np.array(image)
        np.testing.assert_array_equal(inference.on_grid(torch.from_numpy(pixels), (GRID, GRID)), demo.seeds[name])
    run = Run(config.load(CFG, [f"data.root={demo.root}", f"run_dir={demo.run_dir}", "device=cpu"]))
    assert run.stage("seeds").foreign
    assert run.require("seeds", "a tool") == seeds  # reads and checks every file


def test_what_is_there_already_is_kept(demo: Demo, tool: Tool) -> None:
    assert tool(*demo.arguments())[0] == 0
    before = {path: path.read_bytes() for path in (demo.run_dir / "seeds").iterdir()}
    check_refusal(tool(*demo.arguments()), demo.run_dir / "seeds", "is there already", "run_dir")
    assert {path: path.read_bytes() for path in (demo.run_dir / "seeds").iterdir()} == before
    assert demo.left() == ["seeds"]


def test_a_photograph_that_cannot_be_read_leaves_nothing(demo: Demo, tool: Tool) -> None:
    broken = demo.root / f"JPEGImages/{demo.ids[9]}.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    code, out, err = tool(*demo.arguments())
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {broken}: the photograph cannot be decoded")
    assert demo.left() == []


def test_numbers_of_other_photographs_are_refused(demo: Demo, tool: Tool) -> None:
    demo.write_list(dict(zip(demo.ids, [*demo.numbers.values()][1:] + [*demo.numbers.values()][:1], strict=True)))
    check_refusal(tool(*demo.arguments()), demo.list, "of 12 photographs have other labels", "not theirs")
    demo.write_list({name: demo.numbers[name] for name in demo.ids[1:]})
    check_refusal(tool(*demo.arguments()), demo.list, f"does not name the photograph '{demo.ids[0]}'")
    demo.write_list(demo.numbers | {demo.ids[0]: 50})
    check_refusal(tool(*demo.arguments()), demo.list, f"'{demo.ids[0]}' has the number 50, which has no cues")
    assert demo.left() == []


def test_a_few_other_labels_are_told(demo: Demo, tool: Tool) -> None:
    table = demo.root / "image_labels.csv"
    every = " ".join(CLASSES[1:])
    lines = [
        f"{demo.ids[0]},{every}" if line.startswith(demo.ids[0]) else line for line in table.read_text().split("\n")
    ]
    table.write_text("\n".join(lines))
    code, out, _ = tool(*demo.arguments())
    assert code == 0
    assert "1 of these photographs have other labels in the data set than in the cues" in out


def test_a_hostile_file_of_cues_is_refused_by_the_tool(demo: Demo, tool: Tool, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "victim",)

    write_pickle(demo.cues, {"0_labels": np.array([1]), "0_cues": Touch()})
    check_refusal(tool(*demo.arguments()), demo.cues, "nothing of it was run")
    check_refusal(tool("import_cues", "--cues", demo.cues), demo.cues, "nothing of it was run")
    assert demo.left() == []
    assert not (tmp_path / "victim").exists()


def test_shared_seeds_and_half_a_command_are_refused(demo: Demo, tool: Tool) -> None:
    check_refusal(tool(*demo.arguments(), f"shared={demo.root.parent / 'other'}"), "shared = ", "import into that run")
    assert tool("import_cues", "--cues", demo.cues, "--cfg", CFG)[0] == 2
    assert tool("import_cues", "--cues", demo.cues, "--list", demo.list)[0] == 2
    assert demo.left() == []
