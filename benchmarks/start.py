"""What commands cost before they do anything: CPU seconds of a process each, beside an import of PyTorch.

python -m benchmarks.start
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import machine_line, print_table
from dsrg.__main__ import commands
from dsrg.data import demo

REPEATS = 3
NETWORKS = "from dsrg.predict import loading, photographs"


def main() -> None:
    """Measure and print the table."""
    print(machine_line())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        demo.generate(root, train=24, val=8, size=48)
        masks = root / "SegmentationClass"
        of_data = [
            "check-data",
            "--root",
            str(root),
        ]
        of_masks = ["eval-miou", "--pred", str(masks), "--gt", str(masks), "--classes", str(root / "classes.txt")]
        helps = {command: seconds(_dsrg(command, "--help")) for command in commands()}
        dearest = max(helps, key=helps.__getitem__)
        figures = {
            "import torch": seconds(["-c", "import torch"]),
            "python": seconds(["-c", "pass"]),
            f"--help of the dearest command, {dearest}": helps[dearest],
            "eval-miou, 32 masks": seconds(_dsrg(*of_masks)),
            "check-data, 32 photographs": seconds(_dsrg(*of_data)),
            "predict, until it builds its network": seconds(["-c", NETWORKS]),
            "predict, torchvision's networks imported": seconds(["-c", f"{NETWORKS}\nimport torchvision.models"]),
        }
    torch = figures["import torch"]
    rows = [[what, f"{value:.2f}", f"{value / torch:.2f} x"] for what, value in figures.items()]
    print_table(["", f"CPU s, best of {REPEATS}", "of torch"], rows)


def seconds(arguments: Sequence[str]) -> float:
    """CPU seconds, the system's too, of Python with these arguments; the best of several processes."""
    taken = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(taken)


def _dsrg(*words: str) -> list[str]:
    return ["-m", "dsrg", *words]


if __name__ == "__main__":
    main()
