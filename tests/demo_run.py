"""A run on the generated demo set, for tests of the stages."""

from pathlib import Path

import pytest

from dsrg import config
from dsrg.data.demo import generate
from dsrg.run.folder import Run

PRESET = Path(__file__).parents[1] / "configs/demo/resnet18.yaml"


def make_demo_data(factory: pytest.TempPathFactory, train: int, val: int, size: int = 64) -> Path:
    """A small generated data set in a folder of its own."""
    root = factory.mktemp("data") / "demo"
    generate(root, train=train, val=val, size=size)
    return root


def start_demo_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    """The demo's preset on `data`, with its files read."""
    run = Run(config.load(PRESET, (f"data.root={data}", f"run_dir={run_dir}", *overrides)))
    run.start()
    return run
