"""Processes that a test starts and kills."""

import subprocess
import sys

OWNS = """
import sys, time; from pathlib import Path; from dsrg.files import locks
held = locks.lock_folder(Path(sys.argv[1])); print("held", flush=True); time.sleep(60)
"""


def program(text: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that has printed its first line."""
    process = subprocess.Popen([sys.executable, "-c", text, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.first = process.stdout.readline().strip()  # type: ignore[attr-defined]
    return process


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
