"""Untrained runs of each head on the demo set, that the tests of maps by every source share."""

import shutil
from pathlib import Path

import torch
from demo_run import start_demo_run

from dsrg.files import storage
from dsrg.models.acol import ACoL
from dsrg.run import inference, networks
from dsrg.run.folder import Run

QUICK = (
    *("workers=0", "model.backbone=mobilenet_v2", "classifier.acol_channels=8", "classifier.size=65"),
    *("cam.scales=[0.5, 1.0]", "cam.output_stride=16"),
)
KINDS = {
    "gap": (),
    "gmp": ("classifier.pooling=max",),
    "acol": ("classifier.head=acol", "seeds.source=acol"),
}
TRAIN, VAL = 5, 4
"""Photographs."""


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return start_demo_run(data, run_dir, *QUICK, *overrides)


def make_classifiers(data: Path, folder: Path) -> Path:
    """Three runs in a folder, gap/, gmp/, acol/, whose classifiers have random weights and logits of some size."""
    for kind, settings in KINDS.items():
        run = make_run(data, folder / kind, *settings)
        torch.manual_seed(2)
        model = networks.new_classifier(run).eval()
        heads = [model.branch_a[-1], model.branch_b[-1]] if isinstance(model, ACoL) else [model.linear]
        pixels = torch.stack([inference.read_pixels(photo) for photo in run.train])
        with torch.no_grad():
            spread = model(inference.normalise(pixels)).std()
            for head in heads:
                head.weight /= spread  # type: ignore[operator]  # a layer's tensor
        storage.save_checkpoint(folder / kind / "classifier" / "checkpoint.pt", {"model": model.state_dict()})
    return folder


def copy_run(data: Path, trained: Path, kind: str, run_dir: Path, *overrides: str) -> Run:
    """A run of its own with the same classifier."""
    shutil.copytree(trained / kind, run_dir)
    return make_run(data, run_dir, *KINDS[kind], *overrides)
