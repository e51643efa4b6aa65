"""Spoil each file of a finished run in turn, then give the same command again.

    python tests/programs/spoil_files.py --work DIR [--only TEXT ...]

DIR is as of kill_runs.py, whose unbroken run is made where it is missing. Good is: exit status 0 and the artefacts of
the unbroken run, or status 2 and one sentence that names the file. Exit status 1 where a case is not; one line of
DIR/faults.jsonl each. The command runs in a forked child of this process, since an import of torch takes seconds.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import kill_runs
import numpy as np
import torch
from bad_records import LOGS, RECORDS

import dsrg.__main__
import dsrg.commands.run_pipeline
from dsrg import pipeline

LATER = {
    "classifier": ("cams", "seeds"),
    "cams": ("seeds",),
    "seeds": ("dsrg",),
    "dsrg": ("dsrg/predictions", "masks"),
    "masks": ("retrain",),
    "retrain": ("predictions",),
    "supervised": ("supervised/predictions",),
    "predictions/val": (),
    "dsrg/predictions/val": (),
    "supervised/predictions/val": (),
}
"""What must be made again for a stage's files to be read."""
WAYS = ("empty", "half", "all but 10 bytes", "garbage", "zeros", "flip")


class Fault(NamedTuple):
    """One way to spoil a run."""

    name: str
    named: str
    """What the sentence must name."""
    spoil: Callable[[Path], None]
    """Gets the run's folder."""
    again: tuple[str, ...] = ()
    """Folders that are deleted, so that they are made anew."""


def replace(path: Path, content: bytes) -> None:
    """Write a file that may be a hard link of the unbroken run's."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def spoil(path: Path, how: str) -> None:
    """Damage a file in one of WAYS."""
    content = path.read_bytes()
    middle = len(content) // 2
    made = {
        "empty": b"",
        "half": content[:middle],
        "all but 10 bytes": content[:-10],
        "garbage": random.Random(0).randbytes(1000),
        "zeros": bytes(len(content)),
        "flip": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
    }
    replace(path, made[how])


def unfinished(run: Path, stage: str) -> None:
    """Let a stage's record say that it is not finished."""
    path = run / stage / "stage.json"
    replace(path, path.read_bytes().replace(b'"finished": true', b'"finished": false'))


def first(run: Path, stage: str, ending: str) -> Path:
    """The first of a stage's files."""
    return min((run / stage).glob(f"*{ending}"))


def checkpoints() -> Iterator[Fault]:
    """Damaged checkpoints, of finished stages and of a training that goes on."""
    for stage in kill_runs.TRAININGS:
        for how in WAYS if stage in ("classifier", "retrain") else ("half", "flip"):
            named = f"{stage}/checkpoint.pt"

            def go(run: Path, named: str = named, how: str = how) -> None:
                spoil(run / named, how)

            yield Fault(f"{named} {how}, read", named, go, LATER[stage])
            yield Fault(f"{named} {how}, finished", named, go)

            def resumed(run: Path, stage: str = stage, named: str = named, how: str = how) -> None:
                unfinished(run, stage)
                spoil(run / named, how)

            if stage == "retrain":
                yield Fault(f"{named} {how}, unfinished", named, resumed)


def parts() -> Iterator[Fault]:
    """Checkpoints whole as files, whose parts are not what they should be."""
    values: tuple[Any, ...] = ("missing", [], {}, "x", None, 1.5, True, {"cpu": 5}, [{}], [None], -5, 10**9)
    values += ([{"cpu": torch.zeros(3)}], [{"cpu": torch.zeros(5056)}], {1: torch.zeros(1)}, {"a": torch.zeros(1)})
    for part in ("random", "iteration", "optimizer", "scheduler", "model", "logged"):
        for value in values:
            if part == "logged" and (value is None or str(value) == "missing"):
                continue  # as in older checkpoints
            yield Fault(
                f"retrain/checkpoint.pt: {part} = {str(value)[:30]}, unfinished",
                "retrain/checkpoint.pt",
                functools.partial(_change_checkpoint, part=part, value=value),
            )
    for name, change in CHANGES.items():
        yield Fault(
            f"retrain/checkpoint.pt: {name}, unfinished",
            "retrain/checkpoint.pt",
            functools.partial(_change_checkpoint, change=change),
        )
        if name.startswith("model"):
            yield Fault(
                f"retrain/checkpoint.pt: {name}, read",
                "retrain/checkpoint.pt",
                functools.partial(_change_checkpoint, change=change, finished=True),
                LATER["retrain"],
            )


def _change_checkpoint(
    run: Path,
    part: str = "",
    value: Any = None,
    change: Callable[[dict[str, Any]], object] | None = None,
    finished: bool = False,
) -> None:
    if not finished:
        unfinished(run, "retrain")
    path = run / "retrain/checkpoint.pt"
    state = torch.load(path, weights_only=True)
    if change is not None:
        change(state)
    elif isinstance(value, str) and value == "missing":
        state.pop(part)
    else:
        state[part] = value
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace(path, buffer.getvalue())


def _first_tensor(state: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    key = next(key for key, value in state["model"].items() if value.is_floating_point() and value.ndim)
    state["model"][key] = change(state["model"][key])


def _memory(state: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    own = next(iter(state["optimizer"]["state"].values()))
    key = next(key for key, value in own.items() if isinstance(value, torch.Tensor) and value.ndim)
    own[key] = change(own[key])


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "model of another shape": lambda state: _first_tensor(state, lambda tensor: tensor[:1, ..., :1].clone()),
    "model not finite": lambda state: _first_tensor(state, lambda tensor: tensor * float("nan")),
    "model lacks a tensor": lambda state: state["model"].pop(next(iter(state["model"]))),
    "optimizer of another shape": lambda state: _memory(state, lambda tensor: tensor[..., :1].clone()),
    "optimizer not finite": lambda state: _memory(state, lambda tensor: tensor * float("inf")),
    "optimizer forgets": lambda state: state["optimizer"].update(state={}),
    "optimizer lacks groups": lambda state: state["optimizer"].pop("param_groups"),
    "optimizer of another decay": lambda state: state["optimizer"]["param_groups"][0].update(weight_decay=0.5),
    "optimizer of a text": lambda state: state["optimizer"]["param_groups"][0].update(lr="x"),
    "scheduler of another iteration": lambda state: state["scheduler"].update(last_epoch=2),
    "scheduler of other rates": lambda state: state["scheduler"].update(base_lrs=[1.0]),
    "scheduler forgets": lambda state: state["scheduler"].pop("last_epoch"),
    "iteration a tensor": lambda state: state.update(iteration=torch.tensor(4)),
}


def outputs() -> Iterator[Fault]:
    """Damaged seeds, masks, predictions and CAMs."""
    for stage in ("seeds", "masks", *(name for name in LATER if "predictions" in name), "cams"):
        ending = ".npz" if stage == "cams" else ".png"
        for how in WAYS:

            def go(run: Path, stage: str = stage, ending: str = ending, how: str = how) -> None:
                spoil(first(run, stage, ending), how)

            def resumed(run: Path, stage: str = stage, ending: str = ending, how: str = how) -> None:
                unfinished(run, stage)
                spoil(first(run, stage, ending), how)

            yield Fault(f"{stage} {ending} {how}, read", ending, go, LATER[stage])
            yield Fault(f"{stage} {ending} {how}, finished", ending, go)
            yield Fault(f"{stage} {ending} {how}, unfinished", ending, resumed, LATER[stage])
    shapes: dict[str, dict[str, np.ndarray]] = {
        "class 9": {"classes": np.array([9])},
        "class 0": {"classes": np.array([0])},
        "class -1": {"classes": np.array([-1])},
        "no class": {"classes": np.array([], np.int64)},
        "classes 2d": {"classes": np.array([[1]])},
        "classes floats": {"classes": np.array([1.0])},
        "maps 2d": {"cams": np.zeros((12, 12), np.float16)},
        "maps of another size": {"cams": np.zeros((1, 5, 7), np.float16)},
        "maps above 1": {"cams": np.full((1, 12, 12), 2, np.float16)},
        "maps below 0": {"cams": np.full((1, 12, 12), -1, np.float16)},
        "maps not finite": {"cams": np.full((1, 12, 12), np.nan, np.float16)},
        "maps integers": {"cams": np.zeros((1, 12, 12), np.int64)},
        "maps missing": {"other": np.zeros(1)},
    }
    for name, arrays in shapes.items():

        def changed(run: Path, arrays: dict[str, np.ndarray] = arrays) -> None:
            path = first(run, "cams", ".npz")
            with np.load(path) as stored:
                whole = {key: stored[key] for key in stored}
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **(arrays if "other" in arrays else whole | arrays))  # type: ignore[arg-type]
            replace(path, buffer.getvalue())

        yield Fault(f"cams .npz {name}, read", ".npz", changed, LATER["cams"])


def records() -> Iterator[Fault]:
    """Records, logs and the run's own files that hold something else."""
    for name, text in RECORDS.items():
        for stage in ("classifier", "retrain", "masks", "predictions/val"):
            if stage == "retrain" or name in ("empty", "list", "null", "nul", "not utf8"):
                named = f"{stage}/stage.json"
                yield Fault(f"{named} {name}", named, lambda run, n=named, t=text: replace(run / n, t))  # type: ignore[misc]
    for name, text in LOGS.items():

        def go(run: Path, text: bytes = text) -> None:
            unfinished(run, "retrain")
            replace(run / "retrain/metrics.jsonl", text)

        yield Fault(f"retrain/metrics.jsonl {name}, unfinished", "metrics.jsonl", go)
    for name in ("config.yaml", "classes.txt", "environment.json", "results.json"):
        for what, text in {"garbage": b"\xff\x00{", "empty": b"", "list": b"[]"}.items():
            made = (lambda run, n=name, t=text: replace(run / n, t), ("predictions",))  # type: ignore[misc]
            yield Fault(f"{name} {what}", name, *made)

    def a_file(run: Path) -> None:
        shutil.rmtree(run / "retrain")
        (run / "retrain").write_text("a file where a folder should be")

    def a_folder(run: Path) -> None:
        (run / "retrain/checkpoint.pt").unlink()
        (run / "retrain/checkpoint.pt").mkdir()

    def a_pipe(run: Path) -> None:
        (run / "retrain/stage.json").unlink()
        os.mkfifo(run / "retrain/stage.json")

    yield Fault("retrain a file", "retrain", a_file)
    yield Fault("retrain/checkpoint.pt a folder, read", "checkpoint.pt", a_folder, ("predictions",))
    yield Fault("retrain/stage.json a pipe", "stage.json", a_pipe)


def run_in_child(words: list[str], log: Path) -> int:
    """The command's exit status; what it prints is in `log`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code: Any = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        code = dsrg.__main__.main(words)
    except SystemExit as left:
        code = left.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def try_fault(options: argparse.Namespace, fault: Fault, expected: dict[str, str]) -> list[str]:
    """What is wrong with how the command takes the fault."""
    run_dir = options.work / "faulty"
    shutil.rmtree(run_dir, ignore_errors=True)
    shutil.copytree(options.work / "unbroken", run_dir, copy_function=os.link)
    (run_dir / ".lock").unlink(missing_ok=True)  # a link of it would be the unbroken run's lock
    fault.spoil(run_dir)
    for folder in fault.again:
        shutil.rmtree(run_dir / folder, ignore_errors=True)
    log = options.work / "faulty.log"
    status = run_in_child(kill_runs.command(options, run_dir)[3:], log)
    text = log.read_text(errors="replace")
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()] or [""]
    wrong = [f"status {status}"] if status not in (0, 2) else []
    wrong += ["traceback"] if "Traceback" in text else []
    if status == 2 and fault.named not in lines[-1]:
        wrong.append("the file is not named")
    if status == 0:
        try:
            prints = kill_runs.fingerprint(run_dir)
            differ = sorted(key for key in expected if prints.get(key) != expected[key] and key != "pictures.png")
        except Exception as error:  # whatever a damaged file makes of it: it was accepted
            differ = [f"{type(error).__name__}: {error}"]
        wrong += [f"accepted; {len(differ)} other artefacts: {differ[:3]}"] if differ else []
    line = {"name": fault.name, "status": status, "wrong": wrong, "says": lines[-1][:300]}
    kill_runs.write_line(options.work / "faults.jsonl", line)
    if wrong or options.verbose:
        print(("WRONG " if wrong else "good  ") + str(line), flush=True)
    return wrong


def main() -> int:
    """Parse the command line and spoil; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of kill_runs.py")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="cases whose name holds one of these")
    parser.add_argument("--verbose", action="store_true", help="print the good ones too")
    options = parser.parse_args()
    options.work, options.workers = options.work.resolve(), 0
    torch.set_num_threads(1)
    expected = kill_runs.fingerprint(kill_runs.prepare(options))
    pipeline._show = lambda run: []  # pictures and report are left out: they take longer than all the rest
    tried = failed = 0
    for fault in (*checkpoints(), *parts(), *outputs(), *records()):
        if not options.only or any(text in fault.name for text in options.only):
            tried += 1
            failed += bool(try_fault(options, fault, expected))
    print(f"{tried} faults, {failed} taken wrongly", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
