"""dsrg check-data: what it prints and writes, and its exit status."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import Tool, check_refusal

from dsrg.data.check import check_data
from dsrg.data.demo import CLASSES, generate
from dsrg.data.faults import DataCheck
from dsrg.data.voc import VocFolder
from dsrg.files import pictures

PHOTO, MASK = "JPEGImages/train_00000.jpg", "SegmentationClass/train_00000.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generate(tmp_path / "data", train=20, val=10, size=48)
    return tmp_path / "data"


def check(root: Path) -> DataCheck:
    return check_data(VocFolder(root), "train", "val")


def test_the_tool_prints_a_table_of_a_clean_folder(root: Path, tool: Tool, tmp_path: Path) -> None:
    shutil.copy(root / PHOTO, root / "JPEGImages/spare.jpg")
    code, out, err = tool("check_data", "--root", root, "--json", tmp_path / "out/check.json")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    result = check(root)
    for index, name in enumerate(CLASSES[1:], 1):
        assert [name, *(str(split.labels[index]) for split in result.splits.values())] in rows
    assert "in no split: 1 photographs" in out
    assert "no fault, 0 warnings" in out
    written = json.loads((tmp_path / "out/check.json").read_text())
    assert written["splits"]["val"]["classes"] == dict(
        zip(CLASSES[1:], result.splits["val"].labels[1:].tolist(), strict=True)
    )
    assert (written["faults"], written["warnings"], written["unused"]) == ([], [], 1)
    assert written["splits"]["train"]["width"] == [48, 48]


def test_the_tool_lists_every_fault_and_ends_with_status_2(root: Path, tool: Tool, tmp_path: Path) -> None:
    (root / PHOTO).unlink()
    (root / MASK.replace("00000", "00001")).write_bytes(b"")
    (root / "JPEGImages/train_00002.jpg").write_text("hello")
    cfg = Path(__file__).parents[2] / "configs/demo/resnet18.yaml"
    code, out, err = tool("check_data", "--cfg", cfg, f"data.root={root}", "--json", tmp_path / "check.json")
    result = check(root)
    assert code == 2
    assert out.splitlines() == [f"{'warning' if f.warning else 'fault'}: {f.message}" for f in result.found]
    assert err.startswith(f"error: {root}: 3 faults in 3 files (")
    assert err.count("\n") == 1
    written = json.loads((tmp_path / "check.json").read_text())
    assert [(row["kind"], Path(row["file"]), row["photo"], row["message"]) for row in written["faults"]] == [
        (fault.kind, fault.file, fault.photo, fault.message) for fault in result.faults
    ]
    assert written["warnings"] == []


def test_warnings_alone_do_not_fail(root: Path, tool: Tool) -> None:
    pictures.write_mask(root / MASK, np.zeros((48, 48), np.uint8))
    code, out, err = tool("check_data", "--root", root)
    assert (code, err) == (0, "")
    assert out.startswith(f"warning: {root / MASK}: does not show")
    assert "no fault, 1 warnings" in out


def test_what_cannot_be_checked_is_refused(root: Path, tool: Tool, tmp_path: Path) -> None:
    check_refusal(tool("check_data", "--root", tmp_path / "nowhere"), tmp_path / "nowhere", "does not exist")
    check_refusal(tool("check_data", "--root", root, "data.clases=voc"), "data.clases", "data.classes")
    check_refusal(tool("check_data", "--root", root, "--json", root), root, "cannot be written")
    (root / "classes.txt").unlink()
    check_refusal(tool("check_data", "--root", root), root / "classes.txt", "the class list does not exist")
    assert tool("check_data")[0] == 2
    assert tool("check_data", "--root", root, "--cfg", "x.yaml")[0] == 2
