"""What users meet first: bad input gives exit status 2, one sentence on stderr, and leaves nothing behind."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import make_voc, quadrants, write_mask_file
from PIL import Image
from sklearn.metrics import jaccard_score
from tqdm import tqdm

from dsrg import cli, storage
from dsrg.data.training import ResumableBatches, TrainingSet, joint_transform, make_loader
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.labels import palette
from dsrg.run import Run

TOOLS = Path(__file__).parents[1] / "tools"
STAGE_TOOLS = ("make_seeds", "train_dsrg", "make_masks", "retrain", "run_pipeline", "train_supervised")

SMALL: dict[str, Any] = {"size": 33, "resize": "warp", "scale": (1, 1), "mirror": False, "colour": 0}

Result = tuple[int, str, str]
Tool = Callable[..., Result]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run a tool in this process: its name and arguments in; exit status, stdout and stderr out."""

    def run(name: str, *arguments: object) -> Result:
        path = str(TOOLS / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(path, run_name="__main__")
        text = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, text.out, text.err

    return run


def subprocess_tool(name: str, *arguments: object) -> Result:
    command = [sys.executable, str(TOOLS / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    return done.returncode, done.stdout, done.stderr


def write_config(folder: Path, **more: object) -> Path:
    """A configuration of random networks on the data set `folder`/data."""
    values = {
        "run_dir": str(folder / "run"),
        "device": "cpu",
        "workers": 0,
        "data": {"root": str(folder / "data")},
        "model": {"backbone": "resnet18", "weights": None, "freeze_batch_norm": False},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values | more))
    return path


def check_refusal(result: Result, *named: object) -> None:
    """Exit status 2, nothing on stdout, and one line on stderr that holds each of `named`."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "\r" not in err
    assert all(str(name) in err for name in named), err


def missing_photograph(data: Path) -> Path:
    (data / "JPEGImages/b.jpg").unlink()
    return data / "JPEGImages/b.jpg"


def unknown_label(data: Path) -> Path:
    path = data / "image_labels.csv"
    path.write_text(path.read_text().replace("b,cat dog", "b,cat unicorn"))
    return path


def mask_of_another_size(data: Path) -> Path:
    write_mask_file(data / "SegmentationClass/b.png", quadrants(8, 8, 0))
    return data / "SegmentationClass/b.png"


def corrupt_photograph(data: Path) -> Path:
    path = data / "JPEGImages/b.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    return path


def corrupt_validation_photograph(data: Path) -> Path:
    path = data / "JPEGImages/c.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    return path


FAULTS = [missing_photograph, unknown_label, mask_of_another_size, corrupt_photograph, corrupt_validation_photograph]


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_data_stops_the_pipeline_before_it_writes(
    tmp_path: Path, tool: Tool, fault: Callable[[Path], Path]
) -> None:
    data = make_voc(tmp_path / "data")
    config = write_config(tmp_path)
    broken = fault(data)
    before = sorted(tmp_path.rglob("*"))
    check_refusal(tool("run_pipeline", "--cfg", config), broken)
    assert sorted(tmp_path.rglob("*")) == before


def test_broken_data_stops_a_real_process(tmp_path: Path) -> None:
    data = make_voc(tmp_path / "data")
    config = write_config(tmp_path)
    broken = corrupt_photograph(data)
    check_refusal(subprocess_tool("run_pipeline", "--cfg", config), broken)
    assert not (tmp_path / "run").exists()


def test_no_progress_bar_precedes_the_error_of_a_large_data_set(tmp_path: Path, tool: Tool) -> None:
    ids = [f"p{number:03}" for number in range(120)]
    data = make_voc(tmp_path / "data", {"train": ids, "val": ("c",)}, size=(4, 4))
    (data / "JPEGImages/p110.jpg").write_bytes(b"no image")
    check_refusal(tool("run_pipeline", "--cfg", write_config(tmp_path)), data / "JPEGImages/p110.jpg")


@pytest.mark.parametrize("name", STAGE_TOOLS)
def test_every_tool_refuses_alike(tmp_path: Path, tool: Tool, name: str) -> None:
    broken = unknown_label(make_voc(tmp_path / "data"))
    check_refusal(tool(name, "--cfg", write_config(tmp_path)), broken, "unicorn", "cat, dog, traffic light")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "stage", "first"),
    [
        ("train_dsrg", "seeds", "tools/make_seeds.py"),
        ("make_masks", "dsrg", "tools/train_dsrg.py"),
        ("retrain", "masks", "tools/make_masks.py"),
    ],
)
def test_a_stage_before_its_turn_names_the_tool_to_run_first(
    tmp_path: Path, tool: Tool, name: str, stage: str, first: str
) -> None:
    make_voc(tmp_path / "data")
    check_refusal(tool(name, "--cfg", write_config(tmp_path)), tmp_path / "run" / stage, f"run {first} first")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [("size", "the mask is 8 x 8 pixels"), ("missing", "the mask does not exist"), ("index", "holds class index 9")],
)
def test_the_users_own_seeds_are_checked_first(tmp_path: Path, tool: Tool, fault: str, message: str) -> None:
    make_voc(tmp_path / "data")
    seeds = tmp_path / "run/seeds"
    write_mask_file(seeds / "a.png", quadrants(16, 12, 0))
    if fault != "missing":
        write_mask_file(seeds / "b.png", quadrants(8, 8, 0) if fault == "size" else np.full((12, 16), 9))
    check_refusal(tool("train_dsrg", "--cfg", write_config(tmp_path)), seeds / "b.png", message)
    assert not (tmp_path / "run/dsrg").exists()


def test_full_supervision_without_masks_is_refused(tmp_path: Path, tool: Tool) -> None:
    data = make_voc(tmp_path / "data", masks=False)
    check_refusal(tool("train_supervised", "--cfg", write_config(tmp_path)), data / "SegmentationClass")
    assert not (tmp_path / "run").exists()


def test_a_missing_data_folder_is_named(tmp_path: Path, tool: Tool) -> None:
    check_refusal(tool("run_pipeline", "--cfg", write_config(tmp_path)), tmp_path / "data", "data.root")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("dsrg.lrate=1", "unknown key 'dsrg.lrate'; did you mean 'dsrg.lr'?"),
        ("dsrg.lr", "'dsrg.lr': an override is written key=value"),
        ("dsrg.lr=fast", "dsrg.lr = 'fast' does not fit"),
        ("data.train_split=trainaug", "trainaug.txt: the split does not exist"),
        ("data.classes=names.txt", "names.txt: the class list does not exist"),
        ("device=gpu", "device = gpu: cannot be used here"),
        ("device=cuda:99", "device = cuda:99: cannot be used here"),
        ("model.weights=no.pth", "no.pth"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, tool: Tool, override: str, named: str) -> None:
    make_voc(tmp_path / "data")
    check_refusal(tool("run_pipeline", "--cfg", write_config(tmp_path), override), named)
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_of_the_file_names_the_file(tmp_path: Path, tool: Tool) -> None:
    config = write_config(tmp_path, classifer={"lr": 1})
    check_refusal(tool("run_pipeline", "--cfg", config), config, "'classifer'", "did you mean 'classifier'?")


def test_a_configuration_that_is_missing_is_named(tmp_path: Path, tool: Tool) -> None:
    check_refusal(tool("run_pipeline", "--cfg", tmp_path / "no.yaml"), tmp_path / "no.yaml", "--cfg")


def test_without_a_configuration_the_usage_is_shown(tool: Tool) -> None:
    code, out, err = tool("run_pipeline")
    assert (code, out) == (2, "")
    assert "--cfg" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", sorted(path.stem for path in TOOLS.glob("*.py")))
def test_every_tool_explains_itself(tool: Tool, name: str) -> None:
    code, out, err = tool(name, "--help")
    assert (code, err) == (0, "")
    options = out.partition("options:")
    assert len(options[0].split("\n\n")[1]) > 20, "no description"
    assert "--help" in options[2]


def test_overrides_reach_the_stage(tmp_path: Path) -> None:
    make_voc(tmp_path / "data")
    seen: list[Run] = []
    arguments = ["--cfg", str(write_config(tmp_path)), "seed=7", f"run_dir={tmp_path / 'other'}"]
    assert cli.main("A stage.", seen.append, arguments) == 0
    assert (seen[0].cfg.seed, seen[0].directory) == (7, tmp_path / "other")


def test_bad_input_that_a_loaders_worker_meets_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_voc(tmp_path)
    samples = TrainingSet(VocFolder(root).photos("train"), root, joint_transform(**SMALL), 0)

    def work() -> None:
        for _ in tqdm(make_loader(samples, ResumableBatches(2, 2, 0, 1, seed=0), 1, pin=False)):
            pass

    assert cli.guard(work) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"error: {root}")
    assert lines[-1].endswith("the mask does not exist; add it or take its name off the split.")
    assert not any("Traceback" in line or "Caught" in line for line in lines)


def test_ctrl_c_ends_with_130_and_a_word_on_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert cli.guard(interrupt) == 130
    assert capsys.readouterr().err == "interrupted; the same command continues from the last checkpoint\n"


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.guard(fail)


def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise InputError("photo.jpg: cannot be read.")

    assert cli.guard(refuse) == 2
    assert capsys.readouterr().err == "error: photo.jpg: cannot be read.\n"


# tools/eval_miou.py


def two_folders(root: Path, *, classes: int = 4, count: int = 3) -> tuple[Path, Path, Path]:
    """Random predictions and truth with void pixels, and a class list whose last class never occurs."""
    rng = np.random.default_rng(0)
    for number in range(count):
        size = (9 + number, 7)
        truth = rng.integers(0, classes - 1, size)
        prediction = np.where(rng.random(size) < 0.6, truth, rng.integers(0, classes - 1, size))
        truth[rng.random(size) < 0.2] = 255
        write_mask_file(root / "truth" / f"m{number}.png", truth)
        storage.write_mask(root / "pred" / f"m{number}.png", prediction)
    names = ["background", *(f"class {number}" for number in range(1, classes))]
    (root / "classes.txt").write_text("\n".join(names))
    return root / "pred", root / "truth", root / "classes.txt"


def sklearn_iou(pred: Path, truth: Path, labels: list[int]) -> list[float]:
    pairs = [
        (np.array(Image.open(path)), np.array(Image.open(truth / path.name))) for path in sorted(pred.glob("*.png"))
    ]
    predicted, true = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*pairs, strict=True))
    counted = true != 255
    scores: list[float] = jaccard_score(true[counted], predicted[counted], labels=labels, average=None).tolist()
    return scores


def test_eval_miou_agrees_with_sklearn(tmp_path: Path, tool: Tool) -> None:
    pred, truth, classes = two_folders(tmp_path)
    write_mask_file(truth / "more.png", np.zeros((3, 3)))  # truth may hold more
    code, out, err = tool(
        "eval_miou", "--pred", pred, "--gt", truth, "--classes", classes, "--json", tmp_path / "new/out.json"
    )
    assert (code, err) == (0, "")
    expected = sklearn_iou(pred, truth, [0, 1, 2])
    assert 0 < min(expected) < max(expected) < 1
    figures = json.loads((tmp_path / "new/out.json").read_text())
    assert figures["miou"] == pytest.approx(np.mean(expected))
    assert figures["iou"].pop("class 3") is None
    assert list(figures["iou"].values()) == pytest.approx(expected)
    lines = [line.rsplit(maxsplit=1) for line in out.splitlines()]
    assert [name for name, _ in lines] == ["background", "class 1", "class 2", "class 3", "mean"]
    assert [text for _, text in lines] == [
        *(f"{value:.4f}" for value in expected),
        "absent",
        f"{np.mean(expected):.4f}",
    ]


def test_eval_miou_in_a_real_process(tmp_path: Path) -> None:
    pred, truth, classes = two_folders(tmp_path)
    code, out, err = subprocess_tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].split() == ["mean", f"{np.mean(sklearn_iou(pred, truth, [0, 1, 2])):.4f}"]


def test_a_class_that_is_predicted_but_never_true_counts_as_zero(tmp_path: Path, tool: Tool) -> None:
    write_mask_file(tmp_path / "truth/a.png", np.zeros((2, 4)))
    write_mask_file(tmp_path / "pred/a.png", np.array([[0, 0, 0, 0], [0, 0, 1, 1]]))
    (tmp_path / "classes.txt").write_text("background\ncat\ndog")
    out = tmp_path / "out.json"
    arguments = ("--pred", tmp_path / "pred", "--gt", tmp_path / "truth", "--classes", tmp_path / "classes.txt")
    assert tool("eval_miou", *arguments, "--json", out)[0] == 0
    assert json.loads(out.read_text()) == {
        "miou": pytest.approx(0.375),
        "pixel_accuracy": pytest.approx(0.75),
        "iou": {"background": pytest.approx(0.75), "cat": 0.0, "dog": None},
    }


def drop_truth(pred: Path, truth: Path) -> Path:
    (truth / "m1.png").unlink()
    return truth / "m1.png"


def resize_prediction(pred: Path, truth: Path) -> Path:
    write_mask_file(pred / "m1.png", np.zeros((5, 4)))
    return pred / "m1.png"


def predict_unlabelled(pred: Path, truth: Path) -> Path:
    mask = storage.read_mask(pred / "m1.png")
    write_mask_file(pred / "m1.png", np.full_like(mask, 255))
    return pred / "m1.png"


def predict_unlisted(pred: Path, truth: Path) -> Path:
    mask = storage.read_mask(pred / "m1.png")
    write_mask_file(pred / "m1.png", np.full_like(mask, 4))
    return pred / "m1.png"


def predict_in_colour(pred: Path, truth: Path) -> Path:
    Image.fromarray(palette()[storage.read_mask(pred / "m1.png")]).save(pred / "m1.png")
    return pred / "m1.png"


def break_prediction(pred: Path, truth: Path) -> Path:
    (pred / "m1.png").write_bytes((pred / "m1.png").read_bytes()[:-40])
    return pred / "m1.png"


def empty_predictions(pred: Path, truth: Path) -> Path:
    for path in pred.glob("*.png"):
        path.unlink()
    return pred


def remove_truth(pred: Path, truth: Path) -> Path:
    return truth.rename(truth.with_name("elsewhere")).with_name("truth")


MASK_FAULTS = [
    drop_truth,
    resize_prediction,
    predict_unlabelled,
    predict_unlisted,
    predict_in_colour,
    break_prediction,
    empty_predictions,
    remove_truth,
]


@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_eval_miou_refuses_masks_that_do_not_fit(
    tmp_path: Path, tool: Tool, fault: Callable[[Path, Path], Path]
) -> None:
    pred, truth, classes = two_folders(tmp_path)
    broken, out = fault(pred, truth), tmp_path / "out.json"
    check_refusal(
        tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes, "--json", out), f"error: {broken}"
    )
    assert not out.exists()


def test_eval_miou_says_both_sizes(tmp_path: Path, tool: Tool) -> None:
    pred, truth, classes = two_folders(tmp_path)
    resize_prediction(pred, truth)
    result = tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes)
    check_refusal(result, "4 x 5 pixels", "7 x 10 pixels")


def test_make_demo_data_refuses_a_folder_of_somebody_elses(tmp_path: Path, tool: Tool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    check_refusal(tool("make_demo_data", "--root", tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
