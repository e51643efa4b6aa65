"""The notebook of docs/, every cell run, on few generated photographs and with short trainings."""

import os
import sys
from pathlib import Path

import pytest
from programs.kill_runs import SMALL

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parents[1] / "docs/own_photographs.ipynb"


def test_every_cell_runs_and_a_mask_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # what it shows is made by who runs it
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    settings = " ".join(f'"{setting}"' for setting in (*SMALL, "workers=0"))
    first.source += f"\nSETTINGS, COUNT = {settings!r}, 9"
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/dsrg"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dsrg "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
    assert not [out.text for out in shown if out.output_type == "stream" and "error:" in out.text]
    assert sum("image/png" in out.get("data", {}) for out in shown) == 2
    for name in ("mask.png", "overlay.png", "runs/mine/report.html"):
        assert (tmp_path / name).is_file()
