"""The training loop: a step function in; a trained model, a log and a resumable checkpoint out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dsrg import disk, distributed, storage
from dsrg.errors import InputError

Batch = dict[str, Tensor]
Step = Callable[[nn.Module, Batch, int], dict[str, Tensor]]
"""(model, batch, iteration) -> scalars; 'loss' is minimised, the others are logged, as means over the processes."""
Pictures = Callable[[nn.Module, Batch, int], dict[str, Tensor]]
"""(model, batch, iteration) -> pictures (3, H, W) uint8 for TensorBoard."""


def fit(
    model: nn.Module,
    step: Step,
    batches: Callable[[int], Iterable[Batch]],
    *,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    iterations: int,
    directory: Path,
    device: torch.device,
    amp: bool = False,
    compile: bool = False,
    log_every: int = 20,
    checkpoint_every: int = 200,
    pictures: Pictures | None = None,
) -> None:
    """Train until `iterations`, from the directory's checkpoint where there is one.

    Writes directory/checkpoint.pt (model, optimizer, schedule, random states), metrics.jsonl and TensorBoard
    events. A run that is interrupted and called again ends, on the CPU, with the same bits as one that is not.

    Args:
        model: On `device` already; wrapped for distributed training here.
        step: Computes the losses of one batch.
        batches: From an iteration to the batches that follow it.
        compile: Compile the network that `step` gets; checkpoint and pictures keep to the plain one.
        pictures: Called with every checkpoint, for TensorBoard.

    Raises:
        InputError: the loss is no longer finite, or the checkpoint does not fit the model.
    """
    path = directory / "checkpoint.pt"
    start = _resume(path, model, optimizer, scheduler, device) if path.is_file() else 0
    log = Log(directory, start) if distributed.is_main() else None
    network = _wrap(model, device, compile)
    model.train()
    bar = tqdm(batches(start), directory.name, iterations, initial=start, disable=not distributed.is_main())
    for iteration, batch in enumerate(bar, start):
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            scalars = step(network, batch, iteration)
        scalars["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()

        done = iteration + 1
        if done % log_every == 0 or done == iterations:
            values = _finite_means(scalars, directory, done)  # the only place where the loop waits for the device
            bar.set_postfix(loss=f"{values['loss']:.3f}")
            if log:
                log.scalars(done, values | {"lr": float(scheduler.get_last_lr()[0])})
        if done % checkpoint_every == 0 or done == iterations:
            if log and pictures:
                log.pictures(done, pictures(model, batch, iteration))
                model.train()
            _save(path, model, optimizer, scheduler, device, done)
    if log:
        log.close()


def trained_iterations(directory: Path) -> int:
    """Iterations that the directory's checkpoint has behind it; 0 without a checkpoint."""
    path = directory / "checkpoint.pt"
    return int(storage.load_checkpoint(path)["iteration"]) if path.is_file() else 0


class Log:
    """metrics.jsonl and TensorBoard events, cut back to `start` when a run resumes there."""

    def __init__(self, directory: Path, start: int) -> None:
        self._path = directory / "metrics.jsonl"
        # Lines after the checkpoint will be written again; the last may be torn.
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["iteration"] <= start]
        disk.write_text(self._path, "".join(line + "\n" for line in kept))
        self._events = SummaryWriter(str(directory), purge_step=start)

    def scalars(self, iteration: int, values: dict[str, float]) -> None:
        """Log one line of numbers."""
        with self._path.open("a") as file:
            file.write(json.dumps({"iteration": iteration} | values) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, iteration)

    def pictures(self, iteration: int, pictures: dict[str, Tensor]) -> None:
        """Log pictures, (3, H, W) uint8 each."""
        for name, picture in pictures.items():
            self._events.add_image(name, picture, iteration)

    def close(self) -> None:
        """Flush everything to disk."""
        self._events.close()


def _wrap(model: nn.Module, device: torch.device, compile: bool) -> nn.Module:
    """The network that the step calls. Its weights are the model's own, so the model gives the checkpoint's names."""
    network = model
    if distributed.world_size() > 1:
        network = nn.parallel.DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [device])
    # Around the distributed network: the compiler then cuts the graph where gradients are exchanged.
    return cast(nn.Module, torch.compile(network)) if compile else network


def _finite_means(scalars: dict[str, Tensor], directory: Path, done: int) -> dict[str, float]:
    values = distributed.mean(scalars)
    # Of the mean, so that all processes stop together: a single one would leave the others waiting for it.
    if not math.isfinite(values["loss"]):
        raise InputError(f"{directory}: the loss is {values['loss']} at iteration {done}; lower the lr.")
    return values


def _save(
    path: Path, model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler, device: torch.device, iteration: int
) -> None:
    random_states = distributed.gather(_random_state(device))  # dropout differs between processes
    if distributed.is_main():
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "random": random_states,
            "iteration": iteration,
        }
        storage.save_checkpoint(path, state)


def _resume(path: Path, model: nn.Module, optimizer: Optimizer, scheduler: LRScheduler, device: torch.device) -> int:
    state = storage.load_checkpoint(path)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: the checkpoint does not fit this network ({reason}); delete it.") from None
    # With another number of processes than before, the random states cannot be continued; fresh ones are right.
    if len(state["random"]) == distributed.world_size():
        random: dict[str, Any] = state["random"][distributed.rank()]
        torch.set_rng_state(random["cpu"])
        if device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], device)
    return int(state["iteration"])


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state
