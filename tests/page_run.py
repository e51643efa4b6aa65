"""A small run for the page, made in a second and without training."""

import socket
from pathlib import Path

import torch

from dsrg import config
from dsrg.files import disk, storage
from dsrg.run import networks
from dsrg.run.folder import Run

CONFIG = Path(__file__).parents[1] / "configs/demo/resnet18.yaml"
LONG_SIDE = 60


def make_run(data: Path, run_dir: Path, *, segmenter: bool = True) -> Run:
    """A run whose classifier says cat for sure and perhaps dog, whatever it sees."""
    words = [f"data.root={data}", f"run_dir={run_dir}", "workers=0", "device=cpu", "cam.output_stride=16"]
    run = Run(config.load(CONFIG, words))
    torch.manual_seed(0)
    state = networks.new_classifier(run).state_dict()
    state["linear.bias"] = torch.tensor([3.0, 1.0, -3.0])
    storage.save_checkpoint(run_dir / "classifier/checkpoint.pt", {"model": state})
    if segmenter:
        torch.manual_seed(1)
        storage.save_checkpoint(run_dir / "retrain/checkpoint.pt", {"model": networks.new_deeplab(run).state_dict()})
    disk.write_text(run_dir / "config.yaml", config.dump(run.cfg))
    return run


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
