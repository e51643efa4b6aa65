"""A finished run in seconds: six photographs of 48 pixels, four iterations a training."""

from pathlib import Path

from demo_run import start_demo_run
from programs.kill_runs import SMALL

from dsrg.data.demo import generate
from dsrg.files import pictures
from dsrg.run.folder import Run
from dsrg.stages.order import MAKERS, planned


def make_data(root: Path) -> Path:
    generate(root, train=6, val=3, size=48)
    return root


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return start_demo_run(data, run_dir, "workers=0", *SMALL, *overrides)


def finish_run(run: Run, truth: Path) -> None:
    """Make all stages up to the predictions; in place of seeds that were cut, every other row of the true masks."""
    (run.directory / "seeds").mkdir(parents=True)
    for photo in run.train:
        mask = pictures.read_mask(truth / f"{photo.id}.png")
        mask[::2] = 255
        pictures.write_mask(run.directory / f"seeds/{photo.id}.png", mask)
    for name in planned(run):
        if not name.startswith(("dsrg predictions", "supervised")):
            MAKERS[name](run)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for its lock, TensorBoard's events and the record of files that were checked."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in {".lock", "checked.bin"})
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if "tfevents" not in path.name}
