"""A run's folder with a network in it, made in a second and without training."""

from pathlib import Path

import numpy as np
import torch
from helpers import NAMES
from PIL import Image

from dsrg import config
from dsrg.files import disk, storage
from dsrg.models.build import build_deeplab
from dsrg.run.networks import deeplab_arguments
from dsrg.schema import Config

CRF = {"engine": "exact", "iterations": 2, "bilateral_sxy": 8.0, "gaussian_sxy": 1.0}


def make_trained_run(
    folder: Path, *stages: str, classes: bool = True, finished: bool = True, crf: bool = False
) -> Path:
    """Write config.yaml, classes.txt and, for each stage, checkpoint.pt and stage.json; the data folder is not there.

    The networks' random weights are scaled so that their masks hold several classes.
    """
    cfg = Config.model_validate(
        {
            "run_dir": str(folder),
            "data": {"root": str(folder.parent / "data-that-is-gone")},
            "model": {
                "backbone": "resnet18",
                "weights": None,
                "freeze_batch_norm": False,
                "output_stride": 16,
                "aspp_rates": [1, 2],
                "aspp_channels": 0,
            },
            "test": {"scales": [1.0], "mirror": True, "crf": crf},
            "crf": CRF,
        }
    )
    disk.write_text(folder / "config.yaml", config.dump(cfg))
    if classes:
        disk.write_text(folder / "classes.txt", "\n".join(NAMES) + "\n")
    for number, stage in enumerate(stages or ("retrain",)):
        torch.manual_seed(number)
        model = build_deeplab(**deeplab_arguments(cfg.model, len(NAMES)))
        for layer in model.last_layers:
            layer.weight.data *= 3
        storage.save_checkpoint(folder / stage / "checkpoint.pt", {"model": model.state_dict()})
        record = {"finished": finished, "seconds": 1.0, "figures": {}, "settings": {}}
        disk.write_json(folder / stage / "stage.json", record)
    return folder


def make_photos(folder: Path, *names: str, size: tuple[int, int] = (64, 48)) -> list[Path]:
    """Write photographs (width, height) of coloured fields and noise, each another."""
    paths = []
    for number, name in enumerate(names):
        generator = np.random.default_rng(number)
        fields = generator.integers(0, 256, (3, 4, 3))
        width, height = size
        picture = fields[np.arange(height)[:, None] * 3 // height, np.arange(width) * 4 // width]
        noisy = (picture + generator.normal(0, 20, picture.shape)).clip(0, 255).astype(np.uint8)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path)
        paths.append(path)
    return paths
