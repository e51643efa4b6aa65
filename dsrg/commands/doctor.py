"""Print what this machine and installation have, on one screen: paste it into a bug report."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from dsrg import __version__

_GIB = 2**30
_SCRIPTS = {"Latin": "a", "Greek": "λ", "Cyrillic": "я", "Arabic": "ع", "Hindi": "क", "Chinese": "猫", "Korean": "개"}
"""A letter of each script whose font is looked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the words of the command line (None: the process's own) and print; returns the exit status."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    width = max(len(name) for name, _ in _LINES)
    for name, found in _LINES:
        try:
            lines = list(found())
        except Exception as error:  # a broken package is what this command is there to show
            lines = [f"broken: {type(error).__name__}: {error}".partition("\n")[0]]
        room, margin = max(60, shutil.get_terminal_size().columns), " " * (width + 2)
        for number, line in enumerate(lines):
            first = margin if number else f"{name:{width}}  "
            print(textwrap.fill(line, room, initial_indent=first, subsequent_indent=f"{margin}  "), flush=True)
    return 0


def _program() -> Iterator[str]:
    yield f"{__version__}, {Path(__file__).resolve().parents[1]}"


def _python() -> Iterator[str]:
    yield f"{platform.python_version()}, {sys.executable}, {platform.platform()}"


def _machine() -> Iterator[str]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    memory = f", {pages / _GIB:.1f} GiB of memory" if pages else ""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS")
    yield f"{usable} cores{memory}" + (f", OMP_NUM_THREADS={threads}" if threads else "")


def _disk() -> Iterator[str]:
    for place in (Path.cwd(), Path(os.environ.get("TMPDIR", "/tmp")), Path("/dev/shm")):
        if place.is_dir():
            yield f"{shutil.disk_usage(place).free / _GIB:.1f} GiB free in {place}"


def _packages() -> Iterator[str]:
    """What the package requires, and each of its extras that users install, with versions."""
    extras: dict[str, list[str]] = {}
    for text in importlib.metadata.requires("dsrg") or ():
        start, end = re.match(r"[\w.-]+", text), re.search(r"""extra == ['"]([\w-]+)['"]""", text)
        if start is not None and start[0] != "dsrg":
            extras.setdefault(end[1] if end else "", []).append(start[0])
    for extra, names in extras.items():
        if extra in ("dev", "docs"):
            continue
        found = {name: _version(name) for name in names}
        there = [f"{name} {version}" for name, version in found.items() if version]
        missing = [name for name, version in found.items() if not version]
        if there:
            yield (f"dsrg[{extra}]: " if extra else "") + ", ".join(there)
        if missing:
            mend = f"pip install 'dsrg[{extra}]'" if extra else "install dsrg anew"
            yield f"missing: {', '.join(missing)} ({mend})"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[str]:
    import torch

    yield f"torch {torch.__version__}, {torch.get_num_threads()} threads, " + (
        f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    )
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(index)
        yield f"cuda:{index}: {about.name}, {about.total_memory / _GIB:.1f} GiB"
    if torch.backends.mps.is_available():
        yield "mps"


def _engines() -> Iterator[str]:
    from dsrg import distributed, tables

    device = distributed.pick_device("auto")
    for name in tables.CRF_ENGINES:
        fault = _fault_of(name, str(device))
        yield f"{name}: works on {device.type}" if fault is None else f"{name}: no ({fault})"


def _fault_of(engine: str, device: str) -> str | None:
    """Why an engine of the CRF does not work here, in its own words; None where it does."""
    import torch

    from dsrg.crf import dense_crf

    probs, pixels = torch.full((1, 2, 8, 8), 0.5, device=device), torch.zeros(1, 3, 8, 8, device=device)
    try:
        dense_crf(probs, pixels, engine=engine, iterations=1)
    except Exception as error:
        return str(error).partition("\n")[0]
    return None


def _fonts() -> Iterator[str]:
    from dsrg.draw import lettering

    found = {script: lettering.readable(letter) == letter for script, letter in _SCRIPTS.items()}
    yield "for " + ", ".join(script for script, there in found.items() if there)
    missing = [script for script, there in found.items() if not there]
    if missing:
        yield f"none for {', '.join(missing)}: their letters are written as numbers (on Debian: fonts-noto)"


_LINES = (
    ("dsrg", _program),
    ("Python", _python),
    ("machine", _machine),
    ("disk", _disk),
    ("packages", _packages),
    ("devices", _devices),
    ("CRF", _engines),
    ("fonts", _fonts),
)
