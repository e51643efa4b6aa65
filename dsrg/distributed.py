"""The few things that a program under `torchrun` needs; each is a no-op in a single process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from dsrg.errors import InputError

T = TypeVar("T")


def start(device: torch.device) -> None:
    """Join the process group where `torchrun` started more than one process."""
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
