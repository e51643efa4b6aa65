"""From a folder of 60 photographs, one folder a class, to masks in all four formats: README's three commands, timed."""

import csv
import re
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from format_oracles import check_coco, check_labelme
from PIL import Image

from dsrg.data.classes import read_classes
from dsrg.files import pictures

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    dsrg (.+)", README.partition("## Results")[0], re.MULTILINE)
"""Those of README's section "Your own photos in three commands"."""
SHORT = {"warmup": 2, "batch": 8, "size": 129, "scale": [0.5, 1.0], "schedule": "constant"}
HEAD = SHORT | {"optimizer": "adamw", "last_multiplier": 1}
TRAININGS = {
    "classifier": SHORT | {"iterations": 60, "lr": 3e-4, "loss": "single_label"},
    "dsrg": HEAD | {"iterations": 60, "lr": 1e-4},
    "retrain": HEAD | {"iterations": 4, "lr": 1e-5, "start": "dsrg"},
}
OVERRIDES = [
    *(f"{stage}.{key}={value}" for stage, values in TRAININGS.items() for key, value in values.items()),
    *(f"{stage}.size=192" for stage in ("cam", "masks", "test")),
    *(f"{stage}.scales=[1.0]" for stage in ("cam", "masks")),
    *(f"{stage}.crf=false" for stage in ("seeds", "masks", "test")),
    "model.freeze_stages=5",  # ImageNet's features as they are: 60 iterations teach a head, not a network
    "model.aspp_channels=0",
    "masks.confidence=0",
    "grow.warmup=20",
    "workers=0",
    "device=cpu",
]
"""What makes the second command short; its masks are accordingly coarse."""


def make_folders(shared: Path, photos: Path, each: int = 12) -> dict[str, list[str]]:
    """Copy photographs of voc6 that have one label into photos/<class>/; the file names by class.

    No person is alone in voc6.
    """
    found: dict[str, list[str]] = defaultdict(list)
    with (shared / "data/voc6/image_labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            label = row["labels"]
            if " " not in label and len(found[label]) < each:
                (photos / label).mkdir(parents=True, exist_ok=True)
                shutil.copy(shared / "data/voc6/JPEGImages" / f"{row['image']}.jpg", photos / label)
                found[label].append(f"{row['image']}.jpg")
    return dict(found)


def test_three_commands(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = make_folders(shared, tmp_path / "photos")
    assert [len(names) for names in found.values()] == [12] * 5
    assert [command.split()[0] for command in COMMANDS] == ["prepare-data", "run-pipeline", "predict"]
    weights = f"model.weights={shared / 'weights/mobilenet_v2-imagenet.pth'}"
    more: tuple[list[str], ...] = ([], [weights, *OVERRIDES], ["--device", "cpu", "--workers", "0"])
    for command, words in zip(COMMANDS, more, strict=True):
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        call = [sys.executable, "-m", "dsrg", *shlex.split(command), *words]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        with capsys.disabled():
            print(f"\n{time.monotonic() - start:6.1f} s, of the processor {processor:5.1f} s  dsrg {command}", end="")
    out = tmp_path / "predicted"
    classes = read_classes(out / "classes.txt")
    assert classes.foreground == tuple(sorted(found))
    masks = {}
    for label, names in found.items():
        for name in names:
            file = f"{label}/{name}"
            mask = pictures.read_mask(out / "masks" / label / f"{Path(name).stem}.png", len(classes))
            assert mask.shape[::-1] == Image.open(tmp_path / "photos" / file).size
            assert Image.open(out / "overlays" / file).size == mask.shape[::-1]
            shapes = check_labelme(out / "labelme" / label / f"{Path(name).stem}.json")["shapes"]
            assert {shape["label"] for shape in shapes} == {classes.names[index] for index in np.unique(mask) if index}
            masks[file] = mask
    check_coco(out / "annotations.json", masks)
    assert sum(bool(mask.any()) for mask in masks.values()) > 30, "most photographs' masks hold an object"
