"""What users meet first: bad input gives exit status 2, one sentence on stderr, and leaves nothing behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import Tool, check_refusal, make_voc, quadrants, subprocess_tool, write_mask_file
from tqdm import tqdm

from dsrg import cli
from dsrg.__main__ import commands
from dsrg.data.training import ResumableBatches, TrainingSet, joint_transform, make_loader
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError
from dsrg.run.folder import Run

STAGE_TOOLS = ("make_seeds", "train_dsrg", "make_masks", "retrain", "run_pipeline", "train_supervised")

SMALL: dict[str, Any] = {"size": 33, "resize": "warp", "scale": (1, 1), "mirror": False, "colour": 0}


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
        ("train_dsrg", "seeds", "dsrg make-seeds"),
        ("make_masks", "dsrg", "dsrg train-dsrg"),
        ("retrain", "masks", "dsrg make-masks"),
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
    [("size", "the mask is 8 x 8 pixels"), ("missing", "lacks 1 of 2 files (b.png)"), ("index", "holds class index 9")],
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


@pytest.mark.parametrize("name", list(commands()))
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
    assert capsys.readouterr().err == "interrupted; the same command continues with what is not done\n"


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


def test_make_demo_data_refuses_a_folder_of_somebody_elses(tmp_path: Path, tool: Tool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    check_refusal(tool("make_demo_data", "--root", tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
