"""The few things that a program under `torchrun` needs; each is a no-op in a single process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dsrg.errors import InputError

T = TypeVar("T")


def start(device: torch.device) -> None:
    """Make `device` this process's own; join the process group where `torchrun` started more than one process."""
    if device.type == "cuda":
        # Pinned memory, `gather` and `barrier` go to the current device, which is else the first for every process.
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def local_rank() -> int:
    """Index of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def rank() -> int:
    """Index of this process, 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process writes the shared files."""
    return rank() == 0


def barrier() -> None:
    """Wait for the other processes."""
    if dist.is_initialized():
        dist.barrier()


def gather(value: Any) -> list[Any]:
    """Every process's value, in the order of the ranks, on every process."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def mean(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """Each scalar's mean over the processes, on every process. Waits for the device, once for all of them.

    Args:
        scalars: () tensors on one device, with the same names in the same order on every process.
    """
    values = torch.stack([scalar.detach().float() for scalar in scalars.values()])
    if dist.is_initialized():
        dist.all_reduce(values)  # a sum: gloo has no mean
        values /= world_size()
    return dict(zip(scalars, values.tolist(), strict=True))


def share(items: Sequence[T]) -> list[T]:
    """This process's share of a list, every world_size-th item."""
    return list(items[rank() :: world_size()])


def pick_device(name: str) -> torch.device:
    """The device that `name` ('auto', 'cpu', 'cuda', 'cuda:1', 'mps') stands for in this process.

    Raises:
        InputError: there is no such device here.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", local_rank())
    try:
        device = torch.device("cpu" if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a name that torch does not know, or hardware that is not there
        reason = str(error).splitlines()[0]
        raise InputError(f"device = {name}: cannot be used here ({reason}); set device=auto or device=cpu.") from None
    return device
