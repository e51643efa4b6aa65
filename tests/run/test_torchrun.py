"""Two processes do the work of one: the same losses, the same files, and no file made twice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data
from helpers import read_log
from torchrun_program import FOLDERS, make_all, some

from dsrg import config, distributed
from dsrg.files import disk, pictures, storage
from dsrg.labels import IGNORE
from dsrg.run import networks
from dsrg.run.folder import Run
from dsrg.stages.dsrg import train_dsrg

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/demo/resnet18.yaml"
ITERATIONS = 5
QUICK = ("workers=0", "model.init=weights", "cam.scales=[1.0]", "masks.size=65", "test.size=65")

# As many threads as each process under torchrun has.
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=10, val=6)


def make_run(*overrides: str) -> Run:
    run = Run(config.load(CONFIG, overrides))
    run.start()
    return run


def torchrun(program: str, *overrides: str) -> str:
    """Run a program in two processes; what it printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", program]
    done = subprocess.run(
        [*command, "--cfg", str(CONFIG), *overrides],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def seeds_from_truth(data: Path, directory: Path) -> None:
    """A tenth of the true labels, as somebody's own seeds."""
    rng = np.random.default_rng(0)
    for path in sorted((data / "SegmentationClass").glob("*.png")):
        mask = pictures.read_mask(path)
        pictures.write_mask(directory / path.name, np.where(rng.random(mask.shape) < 0.1, mask, IGNORE))


def test_two_processes_train_as_one(data: Path, tmp_path: Path) -> None:
    overrides = [f"data.root={data}", *QUICK, "test.crf=false", "grow.warmup=0", "model.dropout=0"]
    overrides += [f"dsrg.iterations={ITERATIONS}", "dsrg.batch=4", "dsrg.size=65", "dsrg.log_every=1"]
    # Batch norm that trains sees half the batch on each process; VGG16 has none.
    overrides += ["model.backbone=vgg16", "model.freeze_batch_norm=true"]
    # SGD, in small steps: AdamW divides each gradient by its own size and makes rounding as large as the rest, and
    # large steps of a random network multiply it at every iteration.
    overrides += ["dsrg.optimizer=sgd", "dsrg.lr=1e-4", "dsrg.warmup=0"]
    one, two = tmp_path / "one", tmp_path / "two"
    for run_dir in (one, two):
        seeds_from_truth(data, run_dir / "seeds")
    train_dsrg(make_run(*overrides, f"run_dir={one}"))
    assert "dsrg_miou" in torchrun("tools/train_dsrg.py", *overrides, f"run_dir={two}")
    assert len(list((two / "dsrg/predictions/val").glob("*.png"))) == 6

    logs = [read_log(run_dir / "dsrg") for run_dir in (one, two)]
    assert [line["iteration"] for line in logs[1]] == list(range(1, ITERATIONS + 1))
    for first, second in zip(*logs, strict=True):
        assert first.keys() >= {"loss", "seed_loss", "boundary_loss"}
        assert second == pytest.approx(first, abs=1e-5)
        assert first["boundary_loss"] > 0.01  # the CRF says something of its own
    assert any(line["grown_coverage"] > line["seed_coverage"] + 0.01 for line in logs[0])  # and seeds grow
    weights = [storage.load_checkpoint(run_dir / "dsrg/checkpoint.pt")["model"] for run_dir in (one, two)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """Each photograph's files, made by one process; and the folder of tests/torchrun_program.py's two."""
    one, two = (tmp_path_factory.mktemp("runs") / name for name in ("one", "two"))
    overrides = [f"data.root={data}", *QUICK]
    run = make_run(*overrides, f"run_dir={one}")
    torch.manual_seed(0)
    for name, model in (("classifier", networks.new_classifier(run)), ("dsrg", networks.new_deeplab(run))):
        storage.save_checkpoint(one / name / "checkpoint.pt", {"model": model.state_dict()})
        shutil.copytree(one / name, two / name)
    make_all(run)
    torchrun("tests/torchrun_program.py", *overrides, f"run_dir={two}")
    return run, two


def test_two_processes_make_the_files_and_figures_of_one(made: tuple[Run, Path]) -> None:
    run, two = made
    one = run.directory
    for folder in FOLDERS:
        figures = [disk.read_json(run_dir / folder / "stage.json")["figures"] for run_dir in (one, two)]
        for name, value in figures[0].items():
            assert figures[1][name] == pytest.approx(value, abs=5e-3, nan_ok=True), name
        files = sorted(path.name for path in (one / folder).iterdir())
        assert sorted(path.name for path in (two / folder).iterdir()) == files
        assert len(files) == 1 + len(run.val if folder.startswith("dsrg") else run.train)
        for png in (one / folder).glob("*.png"):
            # Not to the bit: the processors' last bits decide about a pixel on a threshold.
            assert (pictures.read_mask(png) == pictures.read_mask(two / folder / png.name)).mean() > 0.99


def test_two_processes_box_and_measure_as_one(made: tuple[Run, Path]) -> None:
    run, two = made
    folders = [run_dir / "localize" / "val" / "grad_cam_pp" for run_dir in (run.directory, two)]
    assert len(list((folders[1] / "pictures").glob("*.png"))) == 3
    first, second = (disk.read_json(folder / "boxes.json")["photographs"] for folder in folders)
    assert [photo["image"] for photo in second] == [photo.id for photo in run.val]
    for one, other in zip(first, second, strict=True):
        for found, again in zip(one["predicted"] + one["own"], other["predicted"] + other["own"], strict=True):
            assert found["label"] == again["label"]
            np.testing.assert_allclose(found["box"], again["box"], atol=1)
    figures = [disk.read_json(folder / "stage.json")["figures"] for folder in folders]
    assert figures[0]["measured"] == figures[1]["measured"] == len(run.val)
    assert figures[1] == pytest.approx(figures[0], abs=5e-3)


def test_each_process_makes_its_share_and_again_only_what_is_missing(made: tuple[Run, Path]) -> None:
    run, two = made
    written = [disk.read_json(two / f"process-{rank}.json")["written"] for rank in (0, 1)]
    for folder in FOLDERS:
        photos = run.val if folder.startswith("dsrg") else run.train
        ending = "npz" if folder == "cams" else "png"
        missing = some(run, folder)
        for rank in (0, 1):
            first, second = ([name for name in time if Path(name).parent == Path(folder)] for time in written[rank])
            share = [f"{folder}/{photo.id}.{ending}" for photo in photos[rank::2]]
            assert sorted(first) == sorted(share)
            assert sorted(second) == sorted(set(share) & set(missing))
            assert second


def test_the_log_holds_means_and_a_loss_lost_on_one_process_stops_both(made: tuple[Run, Path]) -> None:
    _, two = made
    assert [line["loss"] for line in read_log(two / "toy")] == [1.5]  # of 1 and 2
    for rank in (0, 1):
        assert "the loss is nan at iteration 2" in disk.read_json(two / f"process-{rank}.json")["error"]


def test_the_mean_of_a_single_process_is_its_value() -> None:
    scalars = {"loss": torch.tensor(0.1, requires_grad=True), "share": torch.tensor(0.25, dtype=torch.bfloat16)}
    assert distributed.mean(scalars) == {"loss": float(scalars["loss"].detach()), "share": 0.25}


def test_a_process_takes_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    distributed.join(torch.device("cpu"))
    distributed.join(torch.device("cuda", 1))
    assert taken == [torch.device("cuda", 1)]
