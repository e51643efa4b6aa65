"""A tiny data set in VOC's layout, written without the code under test; and a training's log."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

TOOLS = Path(__file__).parents[1] / "tools"

Result = tuple[int, str, str]
"""Exit status, stdout and stderr of a tool."""
Tool = Callable[..., Result]
NAMES = ("background", "cat", "dog", "traffic light")
COLOURS = np.array([(20, 20, 20), (220, 30, 30), (30, 220, 30), (30, 30, 220)], np.uint8)
"""Colour of each class in the photographs."""


def quadrants(width: int, height: int, seed: int) -> np.ndarray:
    """A mask (height, width) of four fields in the order of the classes, turned by `seed`."""
    fields = np.roll(np.arange(4, dtype=np.uint8), seed).reshape(2, 2)
    return fields[np.ix_(np.arange(height) * 2 // height, np.arange(width) * 2 // width)]


def write_mask_file(path: Path, mask: np.ndarray) -> None:
    """Write class indices as a grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


def read_log(directory: Path) -> list[dict[str, float]]:
    """The lines of a training's metrics.jsonl."""
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def make_voc(
    root: Path,
    splits: Mapping[str, Sequence[str]] | None = None,
    *,
    size: tuple[int, int] = (16, 12),
    names: Sequence[str] = NAMES,
    labels: Mapping[str, str] | None = None,
    masks: bool = True,
) -> Path:
    """Write a data set whose photographs' colours tell each pixel's class.

    Args:
        root: Folder to write to.
        splits: Ids of each split; two for training and one for validation when None.
        size: Width and height of the photographs.
        names: The class list.
        labels: The second column of the CSV for some ids; 'cat dog' for the others.
        masks: Write the true masks too.

    Returns:
        root
    """
    splits = splits or {"train": ("a", "b"), "val": ("c",)}
    for folder in ("JPEGImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(names) + "\n")
    rows = ["image,labels"]
    for split, ids in splits.items():
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for seed, name in enumerate(ids):
            mask = quadrants(*size, seed)
            Image.fromarray(COLOURS[mask]).save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
            if masks:
                write_mask_file(root / "SegmentationClass" / f"{name}.png", mask)
            rows.append(f"{name},{(labels or {}).get(name, 'cat dog')}")
    (root / "image_labels.csv").write_text("\n".join(rows) + "\n")
    return root


def subprocess_tool(name: str, *arguments: object) -> Result:
    """Run a command in a process of its own: as `Tool`."""
    command = [sys.executable, "-m", "dsrg", name, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    return done.returncode, done.stdout, done.stderr


def check_refusal(result: Result, *named: object) -> None:
    """Exit status 2, nothing on stdout, and one line on stderr that holds each of `named`."""
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "\r" not in err
    assert all(str(name) in err for name in named), err


def save_photo(path: Path, colour: int = 0) -> Path:
    """A photograph (8, 10) of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 10, 3), colour, np.uint8)).save(path)
    return path
