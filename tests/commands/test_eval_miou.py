"""dsrg eval-miou: its figures, and what it says of masks that do not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import Tool, check_refusal, make_voc, subprocess_tool, write_mask_file
from PIL import Image
from sklearn.metrics import jaccard_score

from dsrg.data.check import check_data
from dsrg.data.checked import check_files
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.files.pictures import read_mask
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
    counted = sum(int((read_mask(path) != 255).sum()) for path in truth.glob("m?.png"))
    assert (figures["pairs"], figures["pixels"]) == (3, counted)
    assert out.splitlines()[:2] == [
        f"3 pairs of masks, {counted} pixels counted",
        f"note: {truth}: 1 masks have no prediction and were not counted: more.png.",
    ]
    lines = [line.rsplit(maxsplit=1) for line in out.splitlines()[2:]]
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
    write_mask_file(tmp_path / "truth/a.png", np.array([[2, 2, 0, 0], [0, 0, 0, 0]]))
    write_mask_file(tmp_path / "pred/a.png", np.array([[2, 2, 0, 0], [0, 0, 1, 1]]))
    (tmp_path / "classes.txt").write_text("background\ncat\ndog\ncow")
    out = tmp_path / "out.json"
    arguments = ("--pred", tmp_path / "pred", "--gt", tmp_path / "truth", "--classes", tmp_path / "classes.txt")
    assert tool("eval_miou", *arguments, "--json", out)[0] == 0
    assert json.loads(out.read_text()) == {
        "miou": pytest.approx((4 / 6 + 0 + 1) / 3),
        "pixel_accuracy": pytest.approx(0.75),
        "pairs": 1,
        "pixels": 8,
        "iou": {"background": pytest.approx(4 / 6), "cat": 0.0, "dog": 1.0, "cow": None},
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


def evaluate(tool: Tool, pred: Path, truth: Path, classes: Path, *more: object) -> tuple[dict[str, float], str]:
    """The figures and what is printed."""
    out = classes.parent / "figures.json"
    code, text, err = tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes, "--json", out, *more)
    assert (code, err) == (0, "")
    return json.loads(out.read_text()), text


@pytest.mark.parametrize("value", [0, 255])
def test_a_truth_without_objects_carries_no_figure(tmp_path: Path, tool: Tool, value: int) -> None:
    pred, truth, classes = two_folders(tmp_path)
    for path in truth.glob("*.png"):
        mask = read_mask(path)
        write_mask_file(path, np.where(mask > 0, value, 0))
    result = tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes)
    check_refusal(result, truth, "no counted pixel of the true masks is an object's", "in place of 255")


@pytest.mark.parametrize("masks", [0, 255])
def test_the_figures_of_a_run_are_refused_likewise(tmp_path: Path, masks: int) -> None:
    root = make_voc(tmp_path)
    for path in (root / "SegmentationClass").glob("*.png"):
        write_mask_file(path, np.where(read_mask(path) > 0, masks, 0))
    folder = VocFolder(root)
    with pytest.raises(InputError, match="none of the masks of 2 photographs shows an object"):
        check_files(folder, folder.photos("train"), masks=folder.mask_dir)
    faults = [fault for fault in check_data(folder, "train", "val").faults if fault.kind == "no object"]
    assert [fault.file for fault in faults] == [folder.mask_dir] * 2  # of each split
    check_files(folder, folder.photos("train"), masks=None)


def test_masks_are_paired_by_path_and_else_by_name(tmp_path: Path, tool: Tool) -> None:
    pred, truth, classes = two_folders(tmp_path)
    expected, _ = evaluate(tool, pred, truth, classes)
    (truth / "x/y").mkdir(parents=True)
    (truth / "m0.png").rename(truth / "x/y/m0.PNG")
    (pred / "z").mkdir()
    (pred / "m1.png").rename(pred / "z/m1.png")
    assert evaluate(tool, pred, truth, classes)[0] == expected
    write_mask_file(truth / "x/m0.png", read_mask(truth / "x/y/m0.PNG"))
    check_refusal(
        tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes),
        f"error: {pred / 'm0.png'}: it cannot be told which mask",
    )
    (pred / "x").mkdir()
    (pred / "m0.png").rename(pred / "x/m0.png")
    assert evaluate(tool, pred, truth, classes)[0] == expected
    write_mask_file(pred / "x/m0.PNG", np.zeros((2, 2)))
    result = tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes)
    check_refusal(result, "has the same name as m0.", "but for the ending")


def test_files_without_a_partner_are_named(tmp_path: Path, tool: Tool) -> None:
    pred, truth, classes = two_folders(tmp_path)
    for name in "abcd":
        write_mask_file(truth / f"{name}.png", np.zeros((2, 2)))
    (pred / "notes.txt").touch()
    Image.new("RGB", (2, 2)).save(pred / "photo.jpg")
    _, text = evaluate(tool, pred, truth, classes)
    assert f"note: {truth}: 4 masks have no prediction and were not counted: a.png, b.png, c.png and 1 more." in text
    assert f"note: {pred}: 2 files are no masks and were left out: notes.txt, photo.jpg." in text
    for name in ("m0", "m2"):
        (truth / f"{name}.png").unlink()
    result = tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes)
    check_refusal(result, f"error: {truth / 'm0.png'}: the true mask does not exist, as 1 more do not")


def test_masks_in_colour_are_read_by_a_palette(tmp_path: Path, tool: Tool) -> None:
    pred, truth, classes = two_folders(tmp_path)
    expected, _ = evaluate(tool, pred, truth, classes)
    masks = {path: read_mask(path) for path in truth.glob("*.png")}
    for path, mask in masks.items():
        Image.fromarray(palette()[mask]).save(path)
    result = tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes)
    check_refusal(result, "a mask must be", "not RGB; add --palette if its colours are VOC's, or --palette FILE")
    assert evaluate(tool, pred, truth, classes, "--palette")[0] == expected
    own = np.array([(1, 2, 3), (250, 0, 9), (0, 9, 8), (7, 7, 7), (255, 255, 255)], np.uint8)
    for path, mask in masks.items():
        Image.fromarray(own[np.where(mask == 255, 4, mask)]).save(path)
    names = classes.read_text().splitlines()
    rows = [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in zip([*names, "void"], own, strict=True)]
    table = tmp_path / "labelmap.txt"
    table.write_text("# label:color_rgb:parts:actions\n" + "\n".join(rows) + "\n")
    assert evaluate(tool, pred, truth, classes, "--palette", table)[0] == expected
    table.write_text("name r g b\n" + "\n".join(row.replace(":", " ").replace(",", " ") for row in rows))
    assert evaluate(tool, pred, truth, classes, "--palette", table)[0] == expected
    for text, named in (
        ("\n".join(rows[:2]), "holds the colour"),
        (rows[0] + "\nclass 9:3,3,3::", "(line 2): the label 'class 9' is not in"),
        (rows[0] + "\ncat\n", "line 2 is not '<class>:<red>,<green>,<blue>'"),
        (rows[0] + "\nclass 1:300,3,3::", "line 2 is not"),
        (rows[0] + "\nclass 1:1,2,3::", "line 2 has a colour that another class has"),
        ("", "names no colour"),
    ):
        table.write_text(text)
        result = tool("eval_miou", "--pred", pred, "--gt", truth, "--classes", classes, "--palette", table)
        check_refusal(result, named)


def test_cases_that_went_wrong_once(shared: Path, tmp_path: Path, tool: Tool) -> None:
    folder = shared / "cases/eval"
    classes = tmp_path / "classes.txt"
    classes.write_text((folder / "classes.txt").read_text())
    figures, text = evaluate(tool, folder / "pred", folder / "gt", classes)
    assert text.startswith("3 pairs of masks, 4,800 pixels counted\n")
    expected = sklearn_iou(folder / "pred", folder / "gt", [0, 1])
    assert figures["miou"] == pytest.approx(np.mean(expected))
    result = tool("eval_miou", "--pred", folder / "pred", "--gt", folder / "gt255", "--classes", classes)
    check_refusal(result, folder / "gt255", "no counted pixel of the true masks is an object's")


def test_masks_of_other_tools_agree(shared: Path, tmp_path: Path, tool: Tool) -> None:
    """CVAT's in colour against LabelMe's palette masks of the same photographs."""
    cvat, labelme = shared / "cases/voc/cvat_voc", shared / "cases/voc/labelme_voc"
    classes = tmp_path / "classes.txt"
    classes.write_text((labelme / "class_names.txt").read_text())  # begins with _background_
    masks = ("--pred", cvat / "SegmentationClass", "--gt", labelme / "SegmentationClass", "--classes", classes)
    check_refusal(tool("eval_miou", *masks), "add --palette")
    figures, _ = evaluate(
        tool, cvat / "SegmentationClass", labelme / "SegmentationClass", classes, "--palette", cvat / "labelmap.txt"
    )
    assert figures["pairs"] == 19
    assert figures["miou"] > 0.97
