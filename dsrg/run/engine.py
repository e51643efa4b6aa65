"""The training loop: a step function in; a trained model, a log and a resumable checkpoint out."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dsrg import distributed
from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.run.records import LOG, read_log
from dsrg.run.table import CHECKPOINT
from dsrg.run.trackers import Trackers

Batch = dict[str, Tensor]
Step = Callable[[nn.Module, Batch, int], dict[str, Tensor]]
"""(model, batch, iteration) -> scalars; 'loss' is minimised, the others are logged, as means over the processes."""
Pictures = Callable[[nn.Module, Batch, int], dict[str, Tensor]]
"""(model, batch, iteration) -> pictures (3, H, W) uint8 for TensorBoard."""


@dataclass(frozen=True)
class Course:
    """What updates the weights, and how often."""

    optimizer: Optimizer
    scheduler: LRScheduler
    iterations: int


@dataclass(frozen=True)
class Machine:
    """Where the network runs, and how."""

    device: torch.device
    amp: bool = False
    """bfloat16 autocast."""
    compile: bool = False
    """Compile the network that the step gets; checkpoint and pictures keep to the plain one."""


@dataclass(frozen=True)
class Journal:
    """What a training writes."""

    directory: Path
    log_every: int = 20
    """Iterations between two lines of the log."""
    checkpoint_every: int = 200
    """Iterations between two checkpoints."""
    pictures: Pictures | None = None
    """Called with every checkpoint, for TensorBoard."""
    trackers: Sequence[str] = ()
    """Names of `dsrg.run.trackers.TRACKERS` that get the numbers too."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What they are told of the run."""


def fit(
    model: nn.Module,
    step: Step,
    batches: Callable[[int], Iterable[Batch]],
    course: Course,
    journal: Journal,
    machine: Machine,
) -> None:
    """Train to the course's end, from the directory's checkpoint where there is one.

    Writes directory/checkpoint.pt (model, optimizer, schedule, random states), metrics.jsonl and TensorBoard
    events. A run that is interrupted and called again ends, on the CPU, with the same bits as one that is not.

    Args:
        model: On the machine's device already; wrapped for distributed training here.
        step: Computes the losses of one batch.
        batches: From an iteration to the batches that follow it.
        course, journal, machine: How it learns, what it writes, and where it runs.

    Raises:
        InputError: the loss is no longer finite, or the checkpoint does not fit the model.
    """
    optimizer, scheduler, iterations = course.optimizer, course.scheduler, course.iterations
    directory, device = journal.directory, machine.device
    path = directory / CHECKPOINT
    state = storage.load_checkpoint(path) if path.exists() else None
    start = _resume(path, state, model, course, device) if state is not None else 0
    log = Log(journal, start, state.get("logged") if state else None) if distributed.is_main() else None
    network = _wrap(model, device, machine.compile)
    model.train()
    bar = tqdm(batches(start), directory.name, iterations, initial=start, disable=not distributed.is_main())
    for iteration, batch in enumerate(bar, start):
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=machine.amp):
            scalars = step(network, batch, iteration)
        scalars["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()

        done = iteration + 1
        if done % journal.log_every == 0 or done == iterations:
            values = _finite_means(scalars, directory, done)  # the only place where the loop waits for the device
            bar.set_postfix(loss=f"{values['loss']:.3f}")
            if log:
                log.scalars(done, values | {"lr": float(scheduler.get_last_lr()[0])})
        if done % journal.checkpoint_every == 0 or done == iterations:
            if log and journal.pictures:
                log.pictures(done, journal.pictures(model, batch, iteration))
                model.train()
            _save(path, model, course, device, done, log)
    if log:
        log.close()


class Log:
    """metrics.jsonl and TensorBoard events, cut back to `start` when a run resumes there, and trackers.

    Args:
        journal: Their folder, and the trackers.
        start: The iteration of the checkpoint.
        logged: Lines that the log had then; None where that is not known.

    Raises:
        InputError: the log is broken, or lacks some of those lines. (Without any log a new one is begun.)
    """

    def __init__(self, journal: Journal, start: int, logged: int | None = None) -> None:
        self._path = journal.directory / LOG
        # Lines after the checkpoint will be written again; the last may be torn.
        kept = [line for line in read_log(self._path) if line["iteration"] <= start]
        if self._path.exists() and logged is not None and len(kept) < logged:
            raise InputError(
                f"{self._path}: holds {len(kept)} of the {logged} lines up to iteration {start}, where the checkpoint "
                "beside it was saved; put back a copy of it, or delete it to begin a new one there."
            )
        disk.write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self.lines = len(kept)
        """Lines that it has."""
        self._trackers = Trackers(journal.trackers, journal.directory, journal.settings)
        self._events = SummaryWriter(str(journal.directory), purge_step=start)

    def scalars(self, iteration: int, values: dict[str, float]) -> None:
        """Log one line of numbers."""
        with self._path.open("a") as file:
            file.write(json.dumps({"iteration": iteration} | values) + "\n")
        self.lines += 1
        for name, value in values.items():
            self._events.add_scalar(name, value, iteration)
        self._trackers.scalars(iteration, values)

    def pictures(self, iteration: int, pictures: dict[str, Tensor]) -> None:
        """Log pictures, (3, H, W) uint8 each."""
        for name, picture in pictures.items():
            self._events.add_image(name, picture, iteration)

    def close(self) -> None:
        """Flush everything to disk."""
        self._events.close()
        self._trackers.close()


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
    path: Path,
    model: nn.Module,
    course: Course,
    device: torch.device,
    iteration: int,
    log: Log | None,
) -> None:
    random_states = distributed.gather(_random_state(device))  # dropout differs between processes
    if log:
        state = {
            "model": model.state_dict(),
            "optimizer": course.optimizer.state_dict(),
            "scheduler": course.scheduler.state_dict(),
            "random": random_states,
            "iteration": iteration,
            "logged": log.lines,
        }
        storage.save_checkpoint(path, state)


def _resume(
    path: Path,
    state: dict[str, Any],
    model: nn.Module,
    course: Course,
    device: torch.device,
) -> int:
    """Bring everything to where the checkpoint was saved; returns the iteration.

    Raises:
        InputError: a part of the checkpoint is missing, of another kind or shape, or contradicts the others.
    """
    optimizer, scheduler = course.optimizer, course.scheduler
    try:
        _check_parts(state, optimizer, scheduler, course.iterations)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        _check_loaded(model, optimizer)
        # With another number of processes than before, the random states cannot be continued; fresh ones are right.
        if len(state["random"]) == distributed.world_size():
            random: dict[str, Any] = state["random"][distributed.rank()]
            torch.set_rng_state(random["cpu"])
            if device.type == "cuda" and "cuda" in random:
                torch.cuda.set_rng_state(random["cuda"], device)
    except (KeyError, IndexError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: the checkpoint does not fit this network ({reason}); put back a copy of it, or delete it to "
            "train from the start."
        ) from None
    return int(state["iteration"])


def _check_parts(state: dict[str, Any], optimizer: Optimizer, scheduler: LRScheduler, iterations: int) -> None:
    """Raise ValueError for what PyTorch would take in silence, or trip over in the first iteration."""
    for part, kind in (("model", dict), ("optimizer", dict), ("scheduler", dict), ("random", list), ("iteration", int)):
        if type(state.get(part)) not in (kind, OrderedDict if kind is dict else kind):
            raise ValueError(f"its {part} is missing or of the wrong kind")
    done, logged = state["iteration"], state.get("logged")
    if not 0 <= done <= iterations or not (logged is None or (type(logged) is int and 0 <= logged <= done)):
        raise ValueError(f"it says that it was saved after {done} of {iterations} iterations")
    saved, fresh = state["scheduler"], scheduler.state_dict()
    if saved["last_epoch"] != done or saved["base_lrs"] != fresh["base_lrs"]:
        raise ValueError("its schedule is another's")
    groups = state["optimizer"]["param_groups"]
    if [group["lr"] for group in groups] != list(saved["_last_lr"]):
        raise ValueError("its learning rates are not those of its schedule")
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        differ = sorted(key for key in group.keys() & own.keys() - {"params", "lr"} if group[key] != own[key])
        if differ:
            raise ValueError(f"its optimizer has another {differ[0]}")
        remembers = bool(own.get("momentum")) or "betas" in own
        if done and remembers and own["params"] and not state["optimizer"]["state"]:
            raise ValueError("its optimizer has forgotten its momentum")
    numbers = torch.get_rng_state()
    for random in state["random"] or [None]:
        own_state = random.get("cpu") if isinstance(random, dict) else None
        if not isinstance(own_state, Tensor) or (own_state.dtype, own_state.shape) != (numbers.dtype, numbers.shape):
            raise ValueError("its random states are no random states")


def _check_loaded(model: nn.Module, optimizer: Optimizer) -> None:
    """Raise ValueError where numbers are not finite, or the optimizer's tensors are not their parameter's size."""
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise ValueError("its network holds numbers that are not finite")
    for parameter, values in optimizer.state.items():
        for value in values.values():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError("its optimizer holds tensors of another shape than the network's")
            if isinstance(value, Tensor) and not torch.isfinite(value).all():
                raise ValueError("its optimizer holds numbers that are not finite")


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state
