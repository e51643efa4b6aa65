"""No file, however broken, gives anything but a value or one sentence; in seconds, in bounded memory, writing nothing.

A few hundred examples are read in CI, the same ones each time. For thousands of new ones:

    FUZZ_EXAMPLES=2000 python -m pytest tests/fuzz
"""

from __future__ import annotations

import os
import resource
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import fuzz_inputs
import pytest
import torch
from fuzz_readers import READERS, Reader, make_world
from hypothesis import HealthCheck, Phase, given, settings

from dsrg.errors import LONGEST, InputError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""For each reader; 0 for CI's."""
SECONDS = 10
"""That a reading may take at most."""
MEMORY = 2**30
"""Bytes of address space that it may take at most."""


class TooSlowError(BaseException):
    """A reading took longer than SECONDS; no reader catches it."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world")
    make_world(path)
    return path


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_a_valid_file_is_read(reader: Reader, world: Path) -> None:
    with bounded():
        reader.read(world / reader.path, world)


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_a_broken_file_is_a_value_or_a_sentence(reader: Reader, world: Path) -> None:
    path = world / reader.path
    valid = path.read_bytes()
    count = EXAMPLES // (10 if reader.slow else 1) or (4 if reader.slow else 14)

    @settings(
        max_examples=count,
        derandomize=EXAMPLES == 0,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
    )
    @given(fuzz_inputs.contents(valid, reader.form))
    def fuzz(content: fuzz_inputs.Content) -> None:
        path.write_bytes(content.data)
        before = files(world)
        try:
            with bounded():
                reader.read(world / reader.path, world)
        except InputError as error:
            assert str(error)
            assert len(str(error)) <= LONGEST
            assert "\n" not in str(error)
        assert files(world) == before, "a file was written"

    try:
        fuzz()
    finally:
        path.write_bytes(valid)


@contextmanager
def bounded() -> Iterator[None]:
    """Within the block time and memory are limited, and warnings are of no interest."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"longer than {SECONDS} s")

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    handler, threads = signal.getsignal(signal.SIGALRM), torch.get_num_threads()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, limits[1]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        torch.set_num_threads(threads)


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file below a folder, with its size and date."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
