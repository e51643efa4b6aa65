"""Kill a tiny whole pipeline at random moments, restart it, and compare what it ends with to an unbroken run.

    python tests/programs/kill_runs.py --work DIR --kills 60 [--workers 2] [--signals KILL TERM INT] [--lone]

Each broken run has a fresh folder. The command gets a signal at a random time in a stage that is drawn among those to
come (near ones more often), and is started again, until it ends by itself. By default the whole process group is
killed, with --lone the main process alone, whose workers must then end by themselves. Compared by SHA-256: every file
of seeds, masks and predictions, the arrays of the CAMs, the tensors of the networks and their optimisers, logs,
pictures.png, and the records without their seconds. Files that the unbroken run does not have (temporary ones) are
listed.

Exit status 1 where a broken run ends otherwise than the unbroken one, or with another exit status than expected, or
prints a traceback, or leaves a file or a process. Lines of DIR/kills.jsonl: one a kill; DIR/runs.jsonl: one a run.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

TRAININGS = ("classifier", "dsrg", "retrain", "supervised")
STAGES = (
    *("classifier", "cams", "seeds", "dsrg", "dsrg/predictions/val", "masks"),
    *("retrain", "predictions/val", "supervised", "supervised/predictions/val"),
)
SMALL = [
    *("device=cpu", "model.output_stride=16", "model.aspp_rates=[1, 2]"),
    *("crf.engine=exact", "crf.iterations=2", "crf.bilateral_sxy=8", "crf.gaussian_sxy=1"),
    *("cam.scales=[1.0]", "masks.scales=[1.0]", "test.scales=[1.0]", "grow.warmup=0"),
    *(
        f"{section}.{setting}"
        for section in ("classifier", "dsrg", "retrain")
        for setting in ("iterations=4", "batch=2", "size=33", "log_every=1", "checkpoint_every=1", "warmup=0")
    ),
]
AFTER = "results, pictures, report"
BEGUN = 120
"""Seconds that a process may take to begin to write."""
ORPHANS = 60
"""Seconds that workers may take to end after their parent: one that has just begun first imports torch."""


def command(options: argparse.Namespace, run_dir: Path) -> list[str]:
    """The command line that makes the whole run."""
    places = [f"data.root={options.work / 'data'}", f"run_dir={run_dir}", f"workers={options.workers}"]
    return [sys.executable, "-m", "dsrg", "run-pipeline", "--cfg", "demo/resnet18", *places, *SMALL]


def start(options: argparse.Namespace, run_dir: Path, log: Path) -> subprocess.Popen[bytes]:
    """The command, begun in a process group of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            command(options, run_dir),
            stdout=file,
            stderr=file,
            env=environment,
            cwd=options.work,
            start_new_session=True,
        )


def prepare(options: argparse.Namespace) -> Path:
    """The data and the unbroken run below options.work, made where they are missing; the run's folder."""
    options.work.mkdir(parents=True, exist_ok=True)
    data = [sys.executable, "-m", "dsrg", "make-demo-data", "--root", str(options.work / "data")]
    subprocess.run([*data, "--train", "6", "--val", "3", "--size", "48"], check=True, stdout=subprocess.DEVNULL)
    unbroken: Path = options.work / "unbroken"
    if not (unbroken / "results.json").is_file():
        shutil.rmtree(unbroken, ignore_errors=True)
        begun = time.monotonic()
        status = start(options, unbroken, options.work / "unbroken.log").wait()
        if status:
            raise SystemExit(f"the unbroken run ended with {status}: {options.work / 'unbroken.log'}")
        print(f"unbroken run: {time.monotonic() - begun:.1f} s", flush=True)
    return unbroken


def snapshot(run_dir: Path) -> dict[Path, int]:
    """When each file was written."""
    found = {}
    for path in run_dir.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a temporary file, renamed meanwhile
            found[path] = path.stat().st_mtime_ns
    return found


def place(run_dir: Path) -> str:
    """What the process was at: the first stage that is not finished."""
    for stage in STAGES:
        record = run_dir / stage / "stage.json"
        if not record.is_file():
            return f"before {stage}"
        if not json.loads(record.read_text())["finished"]:
            return stage
    return AFTER


def aim(options: argparse.Namespace, run_dir: Path, chance: random.Random) -> str | None:
    """The stage to signal in, drawn among those to come that had fewer than two; None to let the run end."""
    now = place(run_dir).removeprefix("before ")
    left = [*STAGES[STAGES.index(now) :], AFTER] if now in STAGES else [AFTER]
    left = [stage for stage in left if options.sent[stage] < 2]
    if options.unhindered or not left:
        return None
    return left[min(chance.randrange(len(left)), chance.randrange(len(left)))]


def signal_once(
    options: argparse.Namespace, run_dir: Path, log: Path, chance: random.Random
) -> dict[str, object] | None:
    """Start, wait, signal; None where the process ended well by itself before."""
    before = snapshot(run_dir)
    process = start(options, run_dir, log)
    begun = time.monotonic()
    while snapshot(run_dir) == before and process.poll() is None:
        if time.monotonic() - begun > BEGUN:
            os.killpg(process.pid, signal.SIGKILL)
            raise SystemExit(f"{run_dir}: nothing was written in {BEGUN} s")
        time.sleep(0.01)
    wait, target = 0.0, aim(options, run_dir, chance)
    while target is not None and process.poll() is None:
        if place(run_dir).removeprefix("before ") == target:
            wait = chance.uniform(0, options.spans.get(target, 1.0))
            break
        time.sleep(0.005)
    try:
        process.wait(wait if target is not None else None)
    except subprocess.TimeoutExpired:
        return _signal(options, process, chance.choice(options.signals)) | {
            "at": place(run_dir),
            "after": round(wait, 2),
        }
    return None if process.returncode == 0 else {"status": process.returncode, "signal": "none", "at": place(run_dir)}


def _signal(options: argparse.Namespace, process: subprocess.Popen[bytes], name: str) -> dict[str, object]:
    number = getattr(signal, f"SIG{name}")
    os.kill(process.pid, number) if options.lone else os.killpg(process.pid, number)
    status: int | str
    try:
        status = process.wait(30)
    except subprocess.TimeoutExpired:
        status = "did not end in 30 s"
    end = time.monotonic() + ORPHANS
    while group_lives(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    orphans = group_lives(process.pid)
    if orphans:
        os.killpg(process.pid, signal.SIGKILL)
    return {"signal": name, "status": status, "orphans": orphans}


def group_lives(group: int) -> bool:
    """Whether a process of the group is left that is no zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # ended meanwhile
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def of_tensors(value: object) -> bytes:
    """The bytes of nested tensors and plain values, for a digest."""
    if isinstance(value, torch.Tensor):
        return str((value.dtype, tuple(value.shape))).encode() + value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return b"".join(repr(key).encode() + of_tensors(value[key]) for key in sorted(value, key=str))
    if isinstance(value, list | tuple):
        return b"".join(map(of_tensors, value))
    return repr(value).encode()


def fingerprint(run_dir: Path) -> dict[str, str]:
    """A digest of everything that must not depend on kills, by file and part."""
    prints = {}
    for path in sorted(run_dir.rglob("*.png")):
        prints[path.relative_to(run_dir).as_posix()] = digest(path.read_bytes())
    for path in sorted(run_dir.glob("cams/*.npz")):
        with np.load(path) as stored:
            arrays = b"".join(stored[key].tobytes() for key in sorted(stored))
        prints[path.relative_to(run_dir).as_posix()] = digest(arrays)
    for stage in TRAININGS:
        state: dict[str, Any] = torch.load(run_dir / stage / "checkpoint.pt", weights_only=True)
        for part in ("model", "optimizer", "scheduler"):
            prints[f"{stage}/checkpoint.pt:{part}"] = digest(of_tensors(state[part]))
        prints[f"{stage}/metrics.jsonl"] = digest((run_dir / stage / "metrics.jsonl").read_bytes())
    for name in ("results.json", *(f"{stage}/stage.json" for stage in STAGES)):
        record = json.loads((run_dir / name).read_text())
        record.pop("seconds")
        prints[f"{name} without seconds"] = digest(json.dumps(record, sort_keys=True).encode())
    return prints


def names(run_dir: Path) -> set[str]:
    """Every file; TensorBoard's aside, of which each start makes one, and the record of checked files, which depends on
    how long the data have lain there."""
    files = {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file()}
    return {name for name in files if ".tfevents." not in name and name != "checked.bin"}


def write_line(path: Path, value: object) -> None:
    """Append a line of JSON."""
    with path.open("a") as file:
        file.write(json.dumps(value) + "\n")


def break_run(options: argparse.Namespace, number: int, kills: int, chance: random.Random) -> tuple[int, bool]:
    """One run, killed until it ends; the kills so far, and whether it ended as the unbroken one."""
    unbroken = options.work / "unbroken"
    run_dir = options.work / f"broken{options.seed}-{number}"
    log = run_dir.with_suffix(".log")
    shutil.rmtree(run_dir, ignore_errors=True)
    log.unlink(missing_ok=True)
    options.sent = collections.Counter()
    faults = []
    while True:
        options.unhindered = kills + options.sent.total() >= options.kills  # the last run ends by itself
        end = signal_once(options, run_dir, log, chance)
        if end is None:
            break
        write_line(options.work / "kills.jsonl", {"run": number, **end})
        options.sent[str(end["at"]).removeprefix("before ")] += 1
        expected = {"KILL": -signal.SIGKILL, "TERM": 130, "INT": 130}.get(str(end["signal"]))  # see dsrg.boundary
        if end["status"] != expected or end["orphans"]:
            faults.append(f"{end}")
        if end["signal"] == "none":
            break
    found: dict[str, Any] = {"run": number, "kills": options.sent.total(), "faults": faults}
    found["tracebacks"] = log.read_text(errors="replace").count("Traceback")
    if end is None:
        prints, wanted = fingerprint(run_dir), fingerprint(unbroken)
        found["different"] = sorted(k for k in prints.keys() | wanted.keys() if prints.get(k) != wanted.get(k))
        found["left over"] = sorted(names(run_dir) - names(unbroken))
        found["missing"] = sorted(names(unbroken) - names(run_dir))
    write_line(options.work / "runs.jsonl", found)
    print(f"{run_dir.name}: {json.dumps(found)}", flush=True)
    good = end is None and not any(value for key, value in found.items() if key not in ("run", "kills"))
    if good:
        shutil.rmtree(run_dir)
    return kills + options.sent.total(), good


def main() -> int:
    """Parse the command line and kill; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for data, runs and logs")
    parser.add_argument("--kills", type=int, default=60, help="signals to send in all (default 60)")
    parser.add_argument("--signals", nargs="+", default=["KILL"], choices=("KILL", "TERM", "INT"))
    parser.add_argument("--lone", action="store_true", help="signal the main process alone, not its workers")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work = options.work.resolve()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    unbroken = prepare(options)
    seconds = json.loads((unbroken / "results.json").read_text())["seconds"]
    options.spans = dict(zip(STAGES, (max(0.2, 1.2 * own) for own in seconds.values()), strict=True))
    chance = random.Random(options.seed)
    kills = runs = wrong = 0
    while kills < options.kills:
        kills, good = break_run(options, runs, kills, chance)
        wrong += not good
        runs += 1
    print(f"{kills} signals in {runs} runs, {wrong} runs wrong", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
