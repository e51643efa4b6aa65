"""A run folder with every stage's files, made by hand: nothing is trained, and the masks' errors are known."""

import json
from pathlib import Path

import numpy as np
import yaml
from helpers import make_voc, quadrants, write_mask_file

from dsrg import config
from dsrg.files import pictures, storage
from dsrg.run import networks
from dsrg.run.folder import Run, Stage
from dsrg.run.table import predictions_of

HOSTILE = "<script>alert(1)</script>"
"""A class name that a careless page would run."""
NAMES = ("background", HOSTILE, "it's&dog", "traffic light")
TRAIN = ("a&b'<i>", "b", "c")
VAL = ("p0", "p1", "p2", "p3", "p4")
FIGURES = {
    "classifier": {"classifier_map": 0.75, "classifier_ap": {HOSTILE: 1.0, "it's&dog": 0.5, "traffic light": None}},
    "cams": {"cam_miou": 0.123456789},
    "seeds": {"seeds": {"coverage": 0.5, "foreground_precision": 2 / 3, "background_precision": 0.9}},
    "masks": {"masks_coverage": 1.0, "masks_miou": 1 / 3},
}
"""What the stages that write training files measured."""
LOG = [
    {"iteration": 20 * n, "seed_loss": 2 / n, "boundary_loss": 0.1 * n, "loss": 2 / n + 0.1 * n}
    | {"seed_coverage": 0.25, "grown_coverage": min(1.0, 0.2 * n), "lr": 0.001 / n}
    for n in range(1, 6)
]
"""The DSRG training's metrics.jsonl; the other trainings have its loss and learning rate."""


def write_cfg(root: Path, **values: object) -> Path:
    """A data set of three training and five validation photographs, and a configuration; nothing has run."""
    labels = dict.fromkeys((*TRAIN, *VAL), f"{HOSTILE};it's&dog")
    make_voc(root / "data", {"train": TRAIN, "val": VAL}, names=NAMES, labels=labels)
    training = {"iterations": 100, "batch": 2, "size": 33}
    path = root / "run.yaml"
    settings = {
        "run_dir": str(root / "run"),
        "device": "cpu",
        "workers": 0,
        "data": {"root": str(root / "data")},
        "model": {"backbone": "resnet18", "weights": None, "freeze_batch_norm": False, "aspp_channels": 0},
        "grow": {"warmup": 40},
        "classifier": training,
        "dsrg": training,
        "retrain": training,
        "test": {"scales": [1.0], "crf": False},
    }
    path.write_text(yaml.safe_dump(settings | values))
    return path


def make_run(root: Path) -> Run:
    """The run of `write_cfg` with all stages finished."""
    run = Run(config.load(write_cfg(root)))
    for name in ("classifier", "cams", "seeds", "masks"):
        finish(run.stage(name), FIGURES[name])
    for seed, name in enumerate(TRAIN):
        storage.write_cams(run.directory / "cams" / f"{name}.npz", (1, 2), np.eye(2, dtype=np.float32)[:, None, :])
        seeds = quadrants(16, 12, seed)
        seeds[:4] = 255
        pictures.write_mask(run.directory / "seeds" / f"{name}.png", seeds)
        pictures.write_mask(run.directory / "masks" / f"{name}.png", quadrants(16, 12, seed + 1))
    for network in ("dsrg", "retrain", "supervised"):
        finish(run.stage(network), {})
        predict(run, network)
    write_log(run.directory / "classifier", ("loss", "lr"))
    write_log(run.directory / "dsrg")
    write_log(run.directory / "retrain", ("loss", "lr"))
    write_log(run.directory / "supervised", ("loss", "lr"))
    for network in ("dsrg", "retrain"):
        weights = networks.new_deeplab(Run(config.load(root / "run.yaml", ["model.init=weights"]))).state_dict()
        storage.save_checkpoint(run.directory / network / "checkpoint.pt", {"model": weights})
    return run


def predict(run: Run, network: str) -> None:
    """Predictions of the validation split: the n-th photograph's first n quarters of the columns are background."""
    stage = run.stage(predictions_of(network))
    stage.begin()
    for seed, name in enumerate(VAL):
        mask = quadrants(16, 12, seed)
        mask[:, : 4 * seed if network == "retrain" else 4] = 0
        write_mask_file(stage.directory / f"{name}.png", mask)
    iou = naive_iou(run, stage.directory)
    known = [value for value in iou.values() if value is not None]
    stage.finish({f"{network}_miou": float(np.mean(known)), f"{network}_iou": iou})


def naive_iou(run: Run, folder: Path) -> dict[str, float | None]:
    """IoU by class over the validation split, from the definition: sets of pixels."""
    truth = np.stack([quadrants(16, 12, seed) for seed in range(len(VAL))])
    predicted = np.stack([pictures.read_mask(folder / f"{name}.png") for name in VAL])
    values: dict[str, float | None] = {}
    for index, name in enumerate(NAMES):
        union = int(((truth == index) | (predicted == index)).sum())
        values[name] = int(((truth == index) & (predicted == index)).sum()) / union if union else None
    return values


def finish(stage: Stage, figures: dict[str, object]) -> None:
    stage.begin()
    stage.finish(figures)


def write_log(folder: Path, keys: tuple[str, ...] = tuple(LOG[0])) -> None:
    lines = [{key: line[key] for key in ("iteration", *keys)} for line in LOG]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
