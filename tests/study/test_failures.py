"""The worst photographs of a run: their order, the kind of their errors, and the files, on masks made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import NAMES, make_voc, write_mask_file
from PIL import Image

from dsrg import cli, config
from dsrg.__main__ import main
from dsrg.data.voc import Photo
from dsrg.draw import tiles
from dsrg.files import storage
from dsrg.labels import Classes
from dsrg.metrics import ConfusionMatrix
from dsrg.run import networks
from dsrg.run.folder import Run
from dsrg.study import failures
from dsrg.study.failures import Failure, category, error_shares, rank, show_failures, worst_confusion

IDS = ("p0", "p1", "p2", "p3")
CLASSES = Classes(NAMES)


def matrix(truth: list[int], prediction: list[int]) -> ConfusionMatrix:
    counted = ConfusionMatrix(len(NAMES))
    counted.update(np.array(prediction, np.uint8), np.array(truth, np.uint8))
    return counted


def failure(name: str, truth: list[int], prediction: list[int]) -> Failure:
    return Failure(Photo(name, Path(name), np.ones(4, bool)), {"retrain": matrix(truth, prediction)}, 0.0)


def test_lowest_mean_iou_first_then_by_id_and_all_void_last() -> None:
    void = failure("a", [255, 255], [1, 1])
    half = failure("b", [0, 1, 1, 1], [0, 0, 1, 1])  # background 1/2, cat 2/3
    third = failure("d", [0, 1], [1, 1])  # background 0, cat 1/2
    twin = failure("c", [0, 1], [1, 1])
    assert [failed.photo.id for failed in rank([void, half, third, twin], "retrain")] == ["c", "d", "b", "a"]
    assert half.miou("retrain") == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ([1, 1, 1, 0], [2, 2, 0, 0], "wrong class"),
        ([1, 1, 1, 0], [2, 0, 0, 0], "missed object"),
        ([1, 0, 0, 0], [0, 1, 1, 0], "spills over"),
        ([1, 0, 0, 0], [0, 1, 0, 0], "void/other"),  # half each: none has the majority
        ([1, 0, 0, 0], [1, 0, 0, 0], "void/other"),  # nothing is wrong
        ([255, 255, 1, 0], [2, 2, 0, 0], "missed object"),  # void does not count
    ],
)
def test_category_is_the_kind_of_most_wrong_pixels(truth: list[int], prediction: list[int], expected: str) -> None:
    assert category(matrix(truth, prediction).counts) == expected


def test_shares_of_the_kinds_add_up() -> None:
    shares = error_shares(matrix([1, 1, 1, 0, 0], [2, 0, 0, 3, 0]).counts)
    assert shares == {"wrong class": 0.25, "missed object": 0.5, "spills over": 0.25}


def test_worst_confusion_in_words() -> None:
    counts = matrix([1, 1, 1, 1, 0, 0], [2, 2, 0, 1, 1, 0]).counts
    assert worst_confusion(counts, CLASSES) == "cat taken for dog: 50 % of cat's pixels"
    assert worst_confusion(matrix([1, 0], [1, 0]).counts, CLASSES) is None


@pytest.fixture
def cfg(tmp_path: Path) -> Path:
    """The configuration of a data set of four validation photographs, without predictions."""
    make_voc(tmp_path / "data", {"train": ("a", "b"), "val": IDS})
    values = {
        "run_dir": str(tmp_path / "run"),
        "device": "cpu",
        "workers": 0,
        "data": {"root": str(tmp_path / "data")},
        "model": {"backbone": "resnet18", "weights": None, "freeze_batch_norm": False},
        "cam": {"scales": [1.0]},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def predict(folder: Path, data: Path, wrong: dict[str, int]) -> None:
    """Masks that are true but for the photographs in `wrong`, which are all of one class."""
    for name in IDS:
        truth = np.array(Image.open(data / "SegmentationClass" / f"{name}.png"))
        write_mask_file(folder / f"{name}.png", np.full_like(truth, wrong[name]) if name in wrong else truth)


def call(cfg: Path, *arguments: str) -> int:
    return main(["show-failures", "--cfg", str(cfg), *arguments])


def test_files_and_table_of_a_finished_run(cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    predict(run / "dsrg/predictions/val", tmp_path / "data", {"p1": 0})
    predict(run / "predictions/val", tmp_path / "data", {"p2": 0, "p1": 2})
    predict(run / "supervised/predictions/val", tmp_path / "data", {})
    assert call(cfg, "--count", "3") == 0
    told = json.loads((run / "failures/failures.json").read_text())
    assert told["final"] == "retrain"
    assert [photo["id"] for photo in told["worst"]] == ["p1", "p2", "p0"]
    first, second, third = told["worst"]
    assert first["miou"] == pytest.approx({"dsrg": 1 / 16, "retrain": 1 / 16, "supervised": 1})
    assert first["iou"] == pytest.approx({"background": 0, "cat": 0, "dog": 1 / 4, "traffic light": 0})
    assert (first["category"], second["category"]) == ("wrong class", "missed object")
    assert second["worst_confusion"] == "cat taken for background: 100 % of cat's pixels"
    assert (third["miou"]["retrain"], third["worst_confusion"]) == (1, None)
    assert told["categories"]["worst"] == {"wrong class": 1, "missed object": 1, "spills over": 0, "void/other": 1}
    assert told["categories"]["all"]["retrain"]["void/other"] == 2
    assert told["confusion"]["retrain"]["cat"] == [0.25, 0.5, 0.25, 0]
    out = capsys.readouterr().out
    assert "| cat | 25 | 50 | 25 | 0 |" in out
    assert "| missed object | 1 | 1 | 1 | 0 |" in out
    # Words, photograph, DSRG, retrained, supervised, truth; there is no classifier, so no CAM.
    assert Image.open(run / "failures/failures.png").width == 6 * (failures.TILE + 4) + 4


def test_dsrg_is_final_without_retraining_and_a_classifier_adds_the_cam(cfg: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    predict(folder / "dsrg/predictions/val", tmp_path / "data", {"p3": 1})
    run = Run(config.load(cfg))
    storage.save_checkpoint(folder / "classifier/checkpoint.pt", {"model": networks.new_classifier(run).state_dict()})
    told = show_failures(run, 1)
    assert (told["final"], [photo["id"] for photo in told["worst"]]) == ("dsrg", ["p3"])
    # Words, photograph, CAM, DSRG, truth.
    assert Image.open(folder / "failures/failures.png").width == 5 * (failures.TILE + 4) + 4


def test_pages_that_would_be_too_tall_are_divided(cfg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    predict(folder / "dsrg/predictions/val", tmp_path / "data", {})
    monkeypatch.setattr(tiles, "PAGE", 500)
    run = Run(config.load(cfg))
    show_failures(run, 4)
    pages = {path.name: Image.open(path).height for path in (folder / "failures").glob("*.png")}
    assert pages.keys() == {"failures.png", "failures-2.png"}
    assert max(pages.values()) <= 500 + 22
    show_failures(run, 1)
    assert [path.name for path in (folder / "failures").glob("*.png")] == ["failures.png"]


def refused(cfg: Path, capsys: pytest.CaptureFixture[str], *named: object) -> None:
    assert cli.main("", show_failures, ["--cfg", str(cfg)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(str(name) in error for name in named), error


def test_missing_predictions_are_one_sentence(cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(cfg, capsys, tmp_path / "run/predictions/val", "run dsrg run-pipeline first")
    assert not (tmp_path / "run").exists()


def test_one_missing_mask_is_named(cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(tmp_path / "run/predictions/val", tmp_path / "data", {})
    (tmp_path / "run/predictions/val/p2.png").unlink()
    refused(cfg, capsys, tmp_path / "run/predictions/val/p2.png")
    assert not (tmp_path / "run/failures").exists()


def test_unfinished_predictions_are_refused(cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(tmp_path / "run/predictions/val", tmp_path / "data", {})
    stage = Run(config.load(cfg)).stage("predictions")
    stage.begin()
    refused(cfg, capsys, stage.directory, "run dsrg retrain first")


def test_truth_and_a_positive_count_are_needed(cfg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict(tmp_path / "run/predictions/val", tmp_path / "data", {})
    assert call(cfg, "--count", "0") == 2
    assert "--count 0" in capsys.readouterr().err
    for path in (tmp_path / "data/SegmentationClass").glob("*.png"):
        path.unlink()
    refused(cfg, capsys, tmp_path / "data/SegmentationClass")
