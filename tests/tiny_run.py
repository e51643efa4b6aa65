"""A finished run in seconds: six photographs of 48 pixels, four iterations a training."""

from pathlib import Path

from demo_run import start_demo_run
from programs.kill_runs import SMALL

from dsrg.data.demo import generate
from dsrg.run.folder import Run


def make_data(root: Path) -> Path:
    generate(root, train=6, val=3, size=48)
    return root


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return start_demo_run(data, run_dir, "workers=0", *SMALL, *overrides)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for its lock and TensorBoard's events."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if "tfevents" not in path.name}
