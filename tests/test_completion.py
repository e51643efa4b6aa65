"""Tab completion: what the shell is told for a line, as argcomplete's own script asks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("argcomplete")


def completed(line: str, tmp_path: Path) -> list[str]:
    """What fits at the end of a line."""
    answer = tmp_path / "answer"
    answer.unlink(missing_ok=True)
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    asked |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dsrg"], env=os.environ | asked, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    return [word.strip() for word in answer.read_text().split("\n")] if answer.exists() else []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dsrg make-s", ["make-saliency", "make-seeds"]),
        ("dsrg eval-miou --pr", ["--pred"]),
        ("dsrg train-dsrg --cfg own/mobilenet_v2 dsrg.lr", ["dsrg.lr="]),
        ("dsrg train-dsrg --cfg own/mobilenet_v2 run_", ["run_dir="]),
        ("dsrg no-such-command --", []),
    ],
)
def test_a_line_is_completed(line: str, expected: list[str], tmp_path: Path) -> None:
    assert completed(line, tmp_path) == expected


def test_a_configuration_is_a_preset_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("seed: 1\n")
    (tmp_path / "owner.txt").write_text("")
    found = completed("dsrg run-pipeline --cfg own", tmp_path)
    assert {"own/mobilenet_v2", "own.yaml"} <= set(found)
    assert "owner.txt" not in found
