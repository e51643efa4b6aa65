"""The command line that every tool shares: --cfg FILE key=value …

Here and in `dsrg.commands` modules import what the parser needs. What computes is imported where it is called, so that
--help, and a command that only reads files, need not wait for PyTorch.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsrg import boundary, distributed
from dsrg.errors import InputError
from dsrg.run.table import NETWORKS, STAGES

if TYPE_CHECKING:
    from dsrg.run.folder import Run

Option = tuple[str, dict[str, Any]]
CFG_HELP = "configuration: a YAML file, or a preset such as own/mobilenet_v2"
OVERRIDES_HELP = "settings that override it, such as data.root=data/mine dsrg.lr=1e-3"


def option(name: str, **keywords: Any) -> Option:
    """An option, or words without one, for `main`; with argparse's keywords."""
    return name, keywords


def whole_numbers(name: str, words: Sequence[str]) -> list[int]:
    """The numbers that an option of several words was given; raises InputError for a word that is none."""
    for word in words:
        if not (word.isascii() and word.isdecimal() and len(word) < 10):
            raise InputError(f"{name} {word}: must be a whole number, such as 6.")
    return [int(word) for word in words]


def main(
    description: str,
    call: Callable[..., object],
    arguments: Sequence[str] | None = None,
    *options: Option,
    several: bool = False,
    computes: bool = True,
) -> int:
    """Parse --cfg and the overrides, check the data, and call a stage.

    With `several` there is also --also, for further configurations. The overrides hold for all of them, but for
    run_dir, which would make one run of them.

    Args:
        description: What the tool does, for --help.
        call: Gets the run (a list of runs with `several`), and the options' values as keyword arguments.
        arguments: The words of the command line; None for the process's own.
        options: Those that this tool has besides.
        several: Take several configurations.
        computes: Whether it needs the device; a tool that only reads and writes files starts without PyTorch.

    Returns:
        The exit status: 0; 2 after one sentence on stderr where the user can mend the input; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(description=description)
    for name, keywords in options:
        parser.add_argument(name, **keywords)
    parser.add_argument("--cfg", required=True, metavar="FILE", help=CFG_HELP)
    if several:
        parser.add_argument(
            "--also",
            nargs="+",
            default=[],
            metavar="FILE",
            help="configurations of further networks; key=value applies to them too, except run_dir",
        )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES_HELP)
    given = vars(parser.parse_intermixed_args(arguments))  # files and key=value stand before options or after them
    cfg, overrides = given.pop("cfg"), given.pop("overrides")
    for name, words in given.items():
        if isinstance(words, list):  # argparse gives the overrides that follow an option of several words to it
            overrides += [word for word in words if "=" in word]
            given[name] = [word for word in words if "=" not in word]
    also = given.pop("also", [])

    def work() -> None:
        from dsrg import config
        from dsrg.run.folder import Run

        runs = [Run(config.load(cfg, overrides))]
        theirs = [word for word in overrides if not word.startswith("run_dir=")]
        runs += [Run(config.load(path, theirs)) for path in also]
        distributed.check_workers(runs[0].cfg.workers)
        for run in {run.cfg.data: run for run in runs}.values():  # each data set is read once
            run.start(computes=computes)
        call(runs if several else runs[0], **given)

    return guard(work)


def _shard(text: str) -> distributed.Shard:
    try:
        return distributed.parse_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


MODEL = option(
    "--model",
    type=Path,
    required=True,
    metavar="PATH",
    help="a run's folder, an exported .safetensors file, or hf:owner/name on the Hub",
)
"""Of commands that load a trained network."""
SHARD = option(
    "--shard",
    type=_shard,
    metavar="I/N",
    help="make the I-th of N shares of the files, such as 1/4; other calls, on any machine, make the others",
)
"""Of commands that make a file for each photograph."""


def stages(
    description: str,
    arguments: Sequence[str] | None,
    *names: str,
    options: Sequence[Option] = (),
    before: Callable[..., None] = lambda run: None,
    sharded: bool = False,
) -> int:
    """As `main`, for a command that makes stages; prints their figures, a network's with those of its predictions.

    Args:
        description, arguments, options: As in `main`.
        names: Of the stages, as `dsrg.run.table` has them; of several, those that the run has.
        before: Gets the run, and the options' values as keyword arguments, before the first stage is made.
        sharded: Whether it has the option --shard. Stages that train must then be finished.
    """

    def call(run: Run, shard: distributed.Shard | None = None, **given: Any) -> None:
        from dsrg.run.stage import AwaitingShards

        distributed.take_shard(shard)
        try:
            _make(run, names, functools.partial(before, run, **given))
        except AwaitingShards as awaiting:
            print(awaiting)
        finally:
            distributed.take_shard(None)

    return main(description, call, arguments, *options, *([SHARD] if sharded else []))


def _make(run: Run, names: Sequence[str], before: Callable[[], None]) -> None:
    from dsrg.stages.order import MAKERS
    from dsrg.stages.predictions import require_gate

    run.check_classes(*names)  # before the first of them takes its hours
    for network in filter(None, (STAGES[name].predicts for name in names)):
        require_gate(run, network)
    before()
    for name in names if len(names) == 1 else [name for name in names if name in run.stages]:
        if distributed.shard() and STAGES[name].trains:
            run.require(name)  # a training is nobody's share
            continue
        stage = MAKERS[name](run)
        if name not in NETWORKS:
            print(stage.figures)


def guard(work: Callable[[], object]) -> int:
    """Run `work`; turn the errors that users meet into one sentence and an exit status (see `dsrg.boundary.guard`)."""
    keep_freed_memory()
    try:
        return boundary.guard(work)
    finally:
        distributed.leave()


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks for the next iteration in place of giving them back to the system.

    By default each activation of some 100 KB and more is mapped anew at every iteration, and the page faults cost a
    third of the time of training MobileNetV2 on the CPU (231 against 146 ms a photograph at 257 px, one thread).
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, musl for one
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of <malloc.h>
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)
