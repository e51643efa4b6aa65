"""The few things that a program under `torchrun` needs; each is a no-op in a single process.

PyTorch is imported by those that cannot do without: commands that compute nothing start without it.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dsrg.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")
LEAST_SHARED = 8 * 2**20
"""Bytes of shared memory that workers need at the least: a batch or two."""


def join(device: torch.device) -> None:
    """Make `device` this process's own; join the process group where `torchrun` started more than one process."""
    import torch
    import torch.distributed as dist

    if device.type == "cuda":
        # Pinned memory, `gather` and `barrier` go to the current device, which is else the first for every process.
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Leave the process group."""
    if (group := _group()) is not None:
        group.destroy_process_group()


def rank() -> int:
    """Index of this process, 0 in a single process."""
    return 0 if (group := _group()) is None else int(group.get_rank())


def world_size() -> int:
    """Number of processes."""
    return 1 if (group := _group()) is None else int(group.get_world_size())


def is_main() -> bool:
    """Whether this process writes the shared files."""
    return rank() == 0


def barrier() -> None:
    """Wait for the other processes."""
    if (group := _group()) is not None:
        group.barrier()


def gather(value: Any) -> list[Any]:
    """Every process's value, in the order of the ranks, on every process."""
    if (group := _group()) is None:
        return [value]
    values: list[Any] = [None] * world_size()
    group.all_gather_object(values, value)
    return values


def mean(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """Each scalar's mean over the processes, on every process. Waits for the device, once for all of them.

    Args:
        scalars: () tensors on one device, with the same names in the same order on every process.
    """
    import torch

    values = torch.stack([scalar.detach().float() for scalar in scalars.values()])
    if (group := _group()) is not None:
        group.all_reduce(values)  # a sum: gloo has no mean
        values /= world_size()
    return dict(zip(scalars, values.tolist(), strict=True))


def _group() -> Any:
    """torch.distributed where this process has joined a group, else None: who has not imported it has joined none."""
    found = sys.modules.get("torch.distributed")
    return found if getattr(found, "is_initialized", bool)() else None


def share(items: Sequence[T], *, sharded: bool = False) -> list[T]:
    """This process's share of a list, every world_size-th item.

    Args:
        items: The list.
        sharded: Share the list of files to be made out among the shards first, where there are some.
    """
    own = items[_shard.number - 1 :: _shard.total] if sharded and _shard else items
    return list(own[rank() :: world_size()])


class Shard(NamedTuple):
    """One part of several in which a command makes its files, each in a call of its own, perhaps on other machines."""

    number: int
    """From 1."""
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


_shard: Shard | None = None


def take_shard(shard: Shard | None) -> None:
    """Make this process's share of files that of a shard, see `share`; None for all."""
    global _shard
    _shard = shard


def shard() -> Shard | None:
    """The shard that was taken."""
    return _shard


def parse_shard(text: str) -> Shard:
    """The shard that 'i/n' names; raises ValueError where there is no such."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"{text[:40]!r} is no shard such as 1/4, the first of four")
    return Shard(int(found[1]), int(found[2]))


def pick_device(name: str) -> torch.device:
    """The device that `name` ('auto', 'cpu', 'cuda', 'cuda:1', 'mps') stands for in this process.

    Raises:
        InputError: there is no such device here.
    """
    import torch

    found = re.fullmatch(r"(auto|cpu|cuda|mps)|cuda:(\d{1,3})", name)
    if found is None:
        raise _no_device(name, "the devices are auto, cpu, cuda, cuda:0 and so on, and mps")
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # this process's own on its machine
    count = torch.cuda.device_count() if name.startswith("cuda") and torch.cuda.is_available() else 0
    if name.startswith("cuda") and count == 0:
        raise _no_device(name, "no GPU with CUDA is found, or this PyTorch is built without it")
    if found[2] is not None and int(found[2]) >= count:
        raise _no_device(name, "there is one GPU, cuda:0" if count == 1 else f"the GPUs are cuda:0 to cuda:{count - 1}")
    device = torch.device("cpu" if name == "auto" else name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # hardware that is not there, or that another program holds
        raise _no_device(name, (str(error).splitlines() or [type(error).__name__])[0]) from None
    return device


def _no_device(name: str, reason: str) -> InputError:
    return InputError(f"device = {name}: cannot be used here ({reason}); set device=auto or device=cpu.")


def check_workers(count: int) -> None:
    """Refuse worker processes where the machine has no memory to share with them, before any work is done.

    Batches and locks travel through shared memory, which some containers lack; torch then ends in a bus error.

    Args:
        count: The number of workers; 0 needs nothing.

    Raises:
        InputError: there is none, or next to none.
    """
    if count == 0:
        return
    try:
        multiprocessing.get_context("spawn").Lock()  # a semaphore, which lies there too
        room = shared_memory.SharedMemory(create=True, size=4096)
        room.close()
        room.unlink()
        folder = Path("/dev/shm")
        free = shutil.disk_usage(folder).free if folder.is_dir() else LEAST_SHARED
    except (OSError, ImportError) as error:  # ImportError: Python itself was built where there was none
        raise _no_workers(count, str(error)) from None
    if free < LEAST_SHARED:
        raise _no_workers(count, f"{free / 2**20:.1f} MiB of /dev/shm are free")


def _no_workers(count: int, reason: str) -> InputError:
    return InputError(
        f"workers = {count}: processes cannot share memory here ({reason}); set workers=0, or give /dev/shm more room "
        "(docker's --shm-size)."
    )
