"""What tests/run/test_two_nodes.py starts under torchrun on two "nodes": a training whose second node dies once, whole.

Writes start-<rank>-<n>.json, the iteration at which the n-th life of a process begins, and end-<rank>.json, its weight.
"""

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from dsrg import distributed
from dsrg.files import disk
from dsrg.run import engine

ITERATIONS, LAST = 6, 3


def train(directory: Path) -> None:
    rank = distributed.rank()
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def batches(start: int) -> Iterable[dict[str, Tensor]]:
        lives = len(list(directory.glob(f"start-{rank}-*.json")))
        disk.write_json(directory / f"start-{rank}-{lives}.json", start)
        return ({"inputs": torch.full((1, 1), rank + 1.0)} for _ in range(start, ITERATIONS))

    def step(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        if rank == 1 and iteration == LAST and not (directory / "died").exists():
            (directory / "died").touch()
            os.kill(os.getppid(), signal.SIGKILL)  # the agent, and with it all that the node was
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": -model(batch["inputs"]).sum()}

    course = engine.Course(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1), ITERATIONS)
    journal = engine.Journal(directory / "toy", log_every=1, checkpoint_every=1)
    engine.fit(model, step, batches, course, journal, engine.Machine(torch.device("cpu")))
    disk.write_json(directory / f"end-{rank}.json", float(model.weight))


if __name__ == "__main__":
    distributed.join(torch.device("cpu"))
    train(Path(sys.argv[1]))
    distributed.leave()
