"""A few kills and a few spoilt files of a whole tiny run, by the programs that do many of either."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[1] / "programs"
SPOILT = (
    *("retrain/checkpoint.pt flip, unfinished", "retrain/checkpoint.pt: random = [{}], unfinished"),
    *("masks .png half, finished", "cams .npz class 9, read", "retrain/stage.json list"),
    *("retrain/metrics.jsonl torn, unfinished", "environment.json garbage"),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both programs keep the data and the unbroken run."""
    return tmp_path_factory.mktemp("kills")


def run_program(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAMS / f"{name}.py"), *map(str, arguments)]
    path = os.pathsep.join(filter(None, (str(PROGRAMS.parents[1]), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_run_that_was_killed_ends_as_one_that_was_not(work: Path) -> None:
    done = run_program("kill_runs", "--work", work, "--kills", 2, "--signals", "KILL", "TERM")
    assert done.returncode == 0, done.stdout + done.stderr
    # in two where the first is done before its second signal
    assert re.search(r"2 signals in \d runs, 0 runs wrong", done.stdout)


def test_a_spoilt_file_is_mended_or_named(work: Path) -> None:
    done = run_program("spoil_files", "--work", work, "--only", *SPOILT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(SPOILT)} faults, 0 taken wrongly" in done.stdout
