"""A run on the generated demo set, for tests of the stages."""

from pathlib import Path

from dsrg import config
from dsrg.run.folder import Run

PRESET = Path(__file__).parents[1] / "configs/demo/resnet18.yaml"


def start_demo_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    """The demo's preset on `data`, with its files read."""
    run = Run(config.load(PRESET, (f"data.root={data}", f"run_dir={run_dir}", *overrides)))
    run.start()
    return run
