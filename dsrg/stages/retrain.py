"""Training of the segmentation network: DSRG on seeds, and ordinary training on dense masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from dsrg.errors import InputError
from dsrg.files import storage
from dsrg.labels import IGNORE
from dsrg.models.backbone import load_strictly
from dsrg.run import inference, networks
from dsrg.run.folder import Run, Stage
from dsrg.run.trainer import train
from dsrg.stages.dsrg import DsrgStep


def train_dsrg(run: Run) -> Stage:
    """DSRG training (Huang et al. 2018, Sect. 3): at each iteration softmax, CRF, growing, seed and boundary loss."""
    stage = run.stage("dsrg")
    if stage.foreign:
        run.require("dsrg", "dsrg train-dsrg")
    if stage.foreign or stage.finished:
        return stage
    seeds = run.require("seeds", "tools/make_seeds.py")
    run.seed()
    model = networks.segmenter(run)
    stage.begin()  # after the weights are read: a wrong path leaves nothing behind
    step = DsrgStep(run.cfg)
    train(run, stage, model, step, run.cfg.dsrg, seeds, step.pictures)
    stage.finish({})
    return stage


def retrain(run: Run) -> Stage:
    """Ordinary supervised training on the pseudo-labels in masks/."""
    return _train_on_masks(run, "retrain", lambda: run.require("masks", "tools/make_masks.py"))


def train_supervised(run: Run) -> Stage:
    """The same network and schedule on ground truth: the upper bound that weak supervision is measured against. Its
    length may be its own (supervised.iterations).

    Raises:
        InputError: the training split has no ground-truth masks.
    """

    def truth() -> Path:
        if not run.folder.has_masks(run.train):
            raise InputError(f"{run.folder.mask_dir}: holds no masks to train on; set supervised.enabled=false.")
        return run.folder.mask_dir

    return _train_on_masks(run, "supervised", truth)


def _train_on_masks(run: Run, name: str, masks: Callable[[], Path]) -> Stage:
    stage = run.stage(name)
    if stage.foreign:
        run.require(name, f"the stage '{name}'")
    if stage.foreign or stage.finished:
        return stage
    mask_dir = masks()
    run.seed()
    model = networks.segmenter(run)
    if name == "retrain" and run.cfg.retrain.start == "dsrg":
        path = run.require("dsrg", "tools/train_dsrg.py") / "checkpoint.pt"
        load_strictly(model, storage.load_network(path), str(path))
    settings = run.cfg.retrain
    if name == "supervised" and run.cfg.supervised.iterations is not None:
        settings = settings.model_copy(update={"iterations": run.cfg.supervised.iterations})
    stage.begin()
    train(run, stage, model, _mask_step, settings, mask_dir)
    stage.finish({})
    return stage


def _mask_step(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
    """Cross-entropy at the input's resolution; 255 is left out."""
    masks = batch["masks"].long()
    logits = inference.enlarge(model(inference.normalise(batch["images"])).float(), masks.shape[-2:])
    # The mean over no pixel at all would be nan: a crop can hold nothing but padding and void.
    total = functional.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="sum")
    return {"loss": total / (masks != IGNORE).sum().clamp(min=1)}
