"""What every benchmark prints and measures with: the machine, best and median seconds, an aligned table."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch


def machine_line() -> str:
    """The processor, the cores this process may use, the GPU where there is one, and the versions, in one line."""
    parts = [_cpu_model(), f"{usable_cores()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"torch {torch.__version__}", f"Python {platform.python_version()}"])


def usable_cores() -> int:
    """The cores this process may run on, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def timed(
    function: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Call a function and measure it.

    Nothing is warmed up: call the function once before where the first call does more than the others. A function
    that works on a GPU must wait for it (torch.cuda.synchronize) before it returns.

    Args:
        function: What to measure.
        repeats: How often, at least 1.
        clock: What tells seconds; time.process_time counts those that the processor spends on this process, which
            others on a busy machine hardly change.

    Returns:
        The (best, median) seconds of a call. The best says what the code costs, the median what the machine gives.
    """
    seconds = []
    for _ in range(repeats):
        start = clock()
        function()
        seconds.append(clock() - start)
    return min(seconds), statistics.median(seconds)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: the first column to the left, the others, figures that the caller has formatted, to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        figures = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join([f"{row[0]:<{widths[0]}}", *figures]).rstrip())


def _cpu_model() -> str:
    """The processor's name; platform.processor() is empty on most Linuxes."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def synchronised(function: Callable[[], object]) -> Callable[[], None]:
    """The function, followed by a wait for the GPU where there is one."""

    def call() -> None:
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return call


def copy_bandwidth(device: str) -> float:
    """Bytes a second that a copy of 256 MiB reads and writes: the floor of everything that is bound by memory."""
    source = torch.zeros(2**26, device=device)
    target = torch.empty_like(source)
    copy = synchronised(lambda: target.copy_(source))
    copy()
    return 2 * source.numel() * source.element_size() / timed(copy, 5)[0]


def devices() -> list[str]:
    """The devices to measure on."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
