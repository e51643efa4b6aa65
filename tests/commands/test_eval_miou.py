"""tools/eval_miou.py: its figures, and what it says of masks that do not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import Tool, check_refusal, subprocess_tool, write_mask_file
from PIL import Image
from sklearn.metrics import jaccard_score

from dsrg.files import pictures
from dsrg.labels import palette


def two_folders(root: Path, *, classes: int = 4, count: int = 3) -> tuple[Path, Path, Path]:
    """Random predictions and truth with void pixels, and a class list whose last class never occurs."""
    rng = np.random.default_rng(0)
    for number in range(count):
        size = (9 + number, 7)
        truth = rng.integers(0, classes - 1, size)
        prediction = np.where(rng.random(size) < 0.6, truth, rng.integers(0, classes - 1, size))
        truth[rng.random(size) < 0.2] = 255
        write_mask_file(root / "truth" / f"m{number}.png", truth)
        pictures.write_mask(root / "pred" / f"m{number}.png", prediction)
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
    mask = pictures.read_mask(pred / "m1.png")
    write_mask_file(pred / "m1.png", np.full_like(mask, 255))
    return pred / "m1.png"


def predict_unlisted(pred: Path, truth: Path) -> Path:
    mask = pictures.read_mask(pred / "m1.png")
    write_mask_file(pred / "m1.png", np.full_like(mask, 4))
    return pred / "m1.png"


def predict_in_colour(pred: Path, truth: Path) -> Path:
    Image.fromarray(palette()[pictures.read_mask(pred / "m1.png")]).save(pred / "m1.png")
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
