"""A run whose classifier nobody trained, and which is sure of what it says."""

from pathlib import Path

import torch

from dsrg import config
from dsrg.files import storage
from dsrg.run import networks
from dsrg.run.folder import Run

CONFIG = Path(__file__).parents[1] / "configs/demo/resnet18.yaml"


def words(data: Path, run_dir: Path, *overrides: str) -> list[str]:
    small = ("workers=0", "device=cpu", "cam.output_stride=16", "classifier.acol_channels=4", "localize.size=64")
    return [f"data.root={data}", f"run_dir={run_dir}", *small, *overrides]


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    """A run whose classifier says cat for sure and perhaps dog, whatever it sees."""
    run = Run(config.load(CONFIG, words(data, run_dir, *overrides)))
    torch.manual_seed(0)
    state = networks.new_classifier(run).state_dict()
    if "linear.bias" in state:
        state["linear.bias"] = torch.tensor([3.0, 1.0, -3.0])
    storage.save_checkpoint(run_dir / "classifier/checkpoint.pt", {"model": state})
    return run
