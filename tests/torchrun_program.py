"""What tests/test_torchrun.py starts under torchrun: all that two processes share, in one start, for a start is slow.

Makes CAMs, seeds, masks and predictions, deletes some, makes them again, and trains until one process loses its loss.
Each process leaves process-<rank>.json in the run's folder: what it wrote at either time, and how its training ended.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsrg import cli, distributed
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.run import engine
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.masks import make_masks
from dsrg.stages.predictions import evaluate
from dsrg.stages.seeds import make_seeds
from dsrg.study.localize import localize

FOLDERS = ("cams", "seeds", "masks", "dsrg/predictions/val")


def some(run: Run, folder: str) -> list[str]:
    """The files of a folder that are deleted between the two times: two of one process, one of the other."""
    photos = run.val if folder.startswith("dsrg") else run.train
    ending = "npz" if folder == "cams" else "png"
    return [f"{folder}/{photos[index].id}.{ending}" for index in (0, 1, 4)]


def make_all(run: Run) -> None:
    """The four stages that write a file for each photograph, and boxes."""
    for stage in (make_cams, make_seeds, make_masks):
        stage(run)
    evaluate(run, "dsrg")
    localize([run], ("grad_cam_pp",), pictures=3)


def call(run: Run) -> None:
    written: list[list[str]] = []

    def recording(write: Any) -> Any:
        def recorded(path: Path, *content: Any) -> None:
            written[-1].append(str(path.relative_to(run.directory)))
            write(path, *content)

        return recorded

    pictures.write_mask = recording(pictures.write_mask)
    storage.write_cams = recording(storage.write_cams)
    for _ in range(2):
        written.append([])
        make_all(run)
        distributed.barrier()
        if distributed.is_main() and len(written) == 1:
            for name in (name for folder in FOLDERS for name in some(run, folder)):
                (run.directory / name).unlink()
        distributed.barrier()
    record = {"written": written, "error": train_until_one_loses_its_loss(run.directory / "toy")}
    disk.write_json(run.directory / f"process-{distributed.rank()}.json", record)


def train_until_one_loses_its_loss(directory: Path) -> str:
    """The error that ends this process's training, whose loss is the rank plus 1, and nan in the second iteration."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        lost = distributed.rank() == 1 and iteration == 1
        value = float("nan") if lost else distributed.rank() + 1.0
        return {"loss": 0 * model(batch["inputs"]).sum() + value}

    try:
        engine.fit(
            model,
            step,
            lambda start: ({"inputs": torch.ones(1, 1)} for _ in range(4)),
            engine.Course(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer), 4),
            engine.Journal(directory, log_every=1),
            engine.Machine(torch.device("cpu")),
        )
    except InputError as error:
        return str(error)
    return "none"


if __name__ == "__main__":
    sys.exit(cli.main(__doc__, call))
