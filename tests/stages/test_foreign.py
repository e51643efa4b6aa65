"""What a user puts into a run's folder stays as it is, at every door; what lacks is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_run import content, make_data, make_run

from dsrg import pipeline
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.page import record
from dsrg.pipeline import run_pipeline
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.classifier import classify
from dsrg.stages.dsrg import train_dsrg
from dsrg.stages.masks import make_masks
from dsrg.stages.predictions import evaluate
from dsrg.stages.retrain import retrain
from dsrg.stages.seeds import make_seeds
from dsrg.study.ablate import Ablation
from dsrg.study.compare_masks import mask_table
from dsrg.study.compare_seeds import seed_table
from dsrg.study.failures import prediction_folders
from dsrg.study.localize import localize

READERS = {"train-dsrg": "dsrg", "retrain": "retrain"}
"""The folder that a door makes from the one that lacks a file."""
FOLDERS = (
    *("classifier", "cams", "seeds", "dsrg", "dsrg/predictions/val", "masks"),
    *("retrain", "predictions/val", "supervised", "supervised/predictions/val"),
)
DOORS: dict[str, tuple[str, Callable[[Run], object]]] = {
    "make-seeds": ("seeds", make_seeds),
    "run-pipeline": ("seeds", run_pipeline),
    "train-dsrg": ("seeds", train_dsrg),
    "ablate": ("seeds", lambda run: Ablation(run, (0,), ["seed_loss"]).run()),
    "compare-seeds, seeds": ("seeds", seed_table),
    "compare-seeds": ("cams", seed_table),
    "make-seeds, CAMs": ("cams", make_cams),
    "make-masks": ("masks", make_masks),
    "retrain": ("masks", retrain),
    "run-pipeline, masks": ("masks", run_pipeline),
    "train-classifier": ("classifier", classify),
    "compare-seeds --sources": ("classifier", lambda run: run.require("classifier")),
    "train-dsrg, its own": ("dsrg", train_dsrg),
    "compare-masks": ("dsrg", mask_table),
    "run-pipeline, predictions": ("predictions/val", run_pipeline),
    "retrain, predictions": ("predictions/val", lambda run: evaluate(run, "retrain")),
    "show-failures": ("predictions/val", prediction_folders),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "demo")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_show", lambda run: [])
        run_pipeline(make_run(data, run_dir))
    return run_dir


@pytest.fixture
def copy(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pipeline, "_show", lambda run: [])  # drawing takes longer than all the rest
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_without_record_is_used_and_left_alone(data: Path, copy: Path, folder: str) -> None:
    whole = disk.read_object(copy / "results.json")
    if folder == "seeds":
        del whole["seeds"]["supervision"]  # nobody knows what somebody else's were made from
    (copy / folder / "stage.json").unlink()
    (copy / folder / "notes.txt").write_text("mine")
    before = content(copy / folder)
    results = run_pipeline(make_run(data, copy))
    assert content(copy / folder) == before
    if "predictions" in folder or folder in ("cams", "seeds", "masks"):  # measured all the same, by the same rule
        left_out = {"seconds"} | ({"classifier_map", "classifier_ap", "cam_miou", "cam_threshold"} - results.keys())
        assert {key: value for key, value in results.items() if key not in left_out} == {
            key: value for key, value in whole.items() if key not in left_out
        }
    assert record.statuses(make_run(data, copy))  # and the report can be made


@pytest.mark.parametrize("door", DOORS)
def test_what_a_foreign_folder_lacks_is_named_and_nothing_is_written(data: Path, copy: Path, door: str) -> None:
    folder, call = DOORS[door]
    run = make_run(data, copy)
    (copy / folder / "stage.json").unlink()
    if door in READERS:  # a finished one needs them no more
        shutil.rmtree(copy / READERS[door])
    ending = {"cams": ".npz", "classifier": ".pt", "dsrg": ".pt"}.get(folder, ".png")
    victim = min((copy / folder).glob(f"*{ending}"))
    victim.unlink()
    before = content(copy / folder)
    with pytest.raises(InputError, match=rf"{victim.name}: does not exist; the folder was put there by you") as caught:
        call(run)
    assert str(caught.value).count(victim.name) == 2  # the file, and the list of what lacks
    assert content(copy / folder) == before


def test_foreign_seeds_need_no_cams_and_are_measured(data: Path, finished: Path, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("stage.json")
    shutil.copytree(finished / "seeds", tmp_path / "seeds", ignore=ignored)
    run = make_run(data, tmp_path, "model.init=weights", "supervised.enabled=false")
    before = content(tmp_path / "seeds")
    results = run_pipeline(run)
    assert content(tmp_path / "seeds") == before
    assert not (tmp_path / "classifier").exists()
    assert not (tmp_path / "cams").exists()
    theirs = disk.read_object(finished / "seeds/stage.json")["figures"]
    assert results["seeds"] | {"supervision": "tags"} == theirs["seeds"]
    assert "cam_miou" not in results


def test_boxes_that_somebody_put_there_are_not_written_over(data: Path, copy: Path) -> None:
    folder = copy / "localize/val/cam"
    folder.mkdir(parents=True)
    (folder / "boxes.json").write_text("mine")
    with pytest.raises(InputError, match="was put there by you"):
        localize([make_run(data, copy)], ("cam",), pictures=1)
    assert content(folder) == {"boxes.json": b"mine"}


@pytest.mark.parametrize("left", [".a.png.abcd1234.tmp", ".DS_Store", "Thumbs.db", None])
def test_a_folder_of_leftovers_alone_is_not_foreign(data: Path, copy: Path, left: str | None) -> None:
    expected = content(copy / "seeds")
    shutil.rmtree(copy / "seeds")
    (copy / "seeds").mkdir()
    if left is not None:
        (copy / "seeds" / left).write_bytes(b"half")
    run = make_run(data, copy)
    assert not run.stage("seeds").foreign
    make_seeds(run)
    made = content(copy / "seeds")
    assert [name for name in made if name not in expected] == ([] if left is None or left.endswith("tmp") else [left])
    assert all(made[name] == expected[name] for name in expected if name.endswith(".png"))


def test_seeds_of_the_wrong_size_are_named(data: Path, copy: Path) -> None:
    (copy / "seeds/stage.json").unlink()
    run = make_run(data, copy)
    path = copy / "seeds" / f"{run.train[2].id}.png"
    pictures.write_mask(path, pictures.read_mask(path)[:-1])
    with pytest.raises(InputError, match=rf"{path.name}: the mask is 48 x 47 pixels"):
        make_seeds(run)
