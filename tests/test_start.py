"""What commands import. Modules are counted, not seconds: PyTorch takes seconds on every machine."""

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dsrg.__main__ import commands

PROGRAM = """
import contextlib, io, json, sys
before = {*sys.modules}
from dsrg.__main__ import main
loaded = {}
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(words)
    loaded[words[0]] = [status, said.getvalue(), sorted({*sys.modules} - before)]
print(json.dumps(loaded))
"""


def run(*lines: Sequence[object]) -> dict[str, tuple[int, str, set[str]]]:
    """By command: exit status, output, and the modules that there are after it and those before it, in one process."""
    given = json.dumps([[str(word) for word in words] for words in lines])
    done = subprocess.run([sys.executable, "-c", PROGRAM, given], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {name: (status, said, {*modules}) for name, (status, said, modules) in found.items()}


def packages(modules: set[str]) -> set[str]:
    """Those that are neither Python's own nor ours."""
    names = {module.partition(".")[0] for module in modules}
    return {name for name in names if name not in sys.stdlib_module_names and name not in ("dsrg", "__mp_main__")}


def test_help_imports_no_package() -> None:
    found = run(*[[name, "--help"] for name in commands()])
    assert found.keys() == commands().keys()
    known: set[str] = set()
    for name, (status, said, modules) in found.items():
        assert status == 0
        assert said.startswith(f"usage: dsrg {name} ")
        new = packages(modules) - known
        assert not new, f"dsrg {name} --help imports {sorted(new)}; import them where it computes"
        known |= new


def test_commands_that_compute_nothing_import_no_torch(tmp_path: Path) -> None:
    data, cues, photos = tmp_path / "demo", tmp_path / "cues.pickle", tmp_path / "demo/JPEGImages"
    masks, classes, labels = data / "SegmentationClass", data / "classes.txt", data / "image_labels.csv"
    # of one photograph that shows an aeroplane in two places, as the authors' are pickled
    of_one = {"7_labels": np.array([1]), "7_cues": np.array([[1, 1], [2, 3], [4, 5]])}
    cues.write_bytes(pickle.dumps(of_one, protocol=2))
    found = run(
        ["make-demo-data", "--root", data, "--train", "24", "--val", "8", "--size", "48"],
        ["check-data", "--root", data],
        ["eval-miou", "--pred", masks, "--gt", masks, "--classes", classes],
        ["prepare-data", "--photos", photos, "--labels", labels, "--root", tmp_path / "new"],
        ["import-cues", "--cues", cues],
        ["import-masks", "--root", data, "--masks", masks, "--dry-run"],
        ["make-boxes", "--cfg", "demo/resnet18", f"data.root={data}", "--out", tmp_path / "boxes"],
    )
    assert len(found) == 7
    for name, (status, said, modules) in found.items():
        assert status == 0, said
        assert not packages(modules) & {"torch", "torchvision", "matplotlib", "sklearn"}, f"dsrg {name}"
    assert "mean                 1.0000" in found["eval-miou"][1]


def test_who_builds_no_network_imports_no_networks() -> None:
    modules = "dsrg.pipeline, dsrg.predict.photographs, dsrg.study.compare_seeds, dsrg.study.probe, dsrg.study.localize"
    program = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torchvision", "torch._dynamo", "timm"} & {*json.loads(done.stdout)}
