"""How much a training photograph's mask is in doubt, without any true mask: what `dsrg pick` ranks by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dsrg.data.voc import Photo, read_mask_for
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.labels import IGNORE
from dsrg.run import contents, inference, networks
from dsrg.run.folder import Run
from dsrg.run.table import CHECKPOINT, final
from dsrg.stages.corrected import learnt_masks

FEATURE_SIZE = 193
"""Long side, in pixels, at which a photograph is seen whole, to be compared with others."""
LARGEST = 2**24
"""Bytes of a photograph's file."""


@dataclass(frozen=True)
class Doubt:
    """What is known of one photograph. Shares are of its pixels, by class, (C,) float64."""

    photo: Photo
    area: np.ndarray
    """What the mask labels so."""
    wrong: np.ndarray
    """Where network and mask differ on the class: the mean of |p - m|, p the network's probability among the
    photograph's own classes, m 1 where the mask says so and else 0."""
    mirror: np.ndarray
    """Where photograph and mirror image differ: the mean of |p - p'|."""
    foreign: np.ndarray
    """What the network, not told the labels, gives to a class that they do not name."""
    classifier: np.ndarray
    """The classifier's probability of each class, background's 1; nan where there is no classifier."""
    features: np.ndarray
    """The backbone's features of the whole photograph, (D,)."""


def doubts(run: Run, photos: Sequence[Photo]) -> list[Doubt]:
    """Look at photographs with the run's final network; what is known of each is kept in pick/, and not computed again
    for the same network and masks.

    Args:
        run: With masks and a trained segmentation network.
        photos: Some of its training photographs.

    Raises:
        InputError: the masks or the network are not there, or a file is broken.
    """
    masks, name = learnt_masks(run), final(run.has_network)
    if name is None:
        raise InputError(f"{run.directory}: holds no trained segmentation network; run dsrg run-pipeline first.")
    checkpoint = run.require(name) / CHECKPOINT
    made_from = [contents.of_file(checkpoint), contents.of_bytes(masks / f"{photo.id}.png" for photo in run.train)]
    settings = run.cfg.test.model_dump_json(include={"scales", "size", "merge"})
    key = hashlib.sha256("\n".join([*map(str, made_from), settings, str(FEATURE_SIZE)]).encode()).hexdigest()[:16]
    place = run.directory / "pick" / key
    todo = [photo for photo in photos if not (place / f"{photo.id}.npz").is_file()]
    if todo:
        run.lock()
        look = _looker(run, name, masks)
        for photo in tqdm(todo, "pick"):
            disk.write_bytes(place / f"{photo.id}.npz", storage.npz(**look(photo)))
    return [_read(place / f"{photo.id}.npz", photo) for photo in photos]


KEPT = ("area", "wrong", "mirror", "foreign", "classifier", "features")


def _read(path: Path, photo: Photo) -> Doubt:
    mend = "delete it to have it made anew"
    found = storage.read_arrays(path, "file of a photograph's doubts", KEPT, limit=LARGEST, mend=mend)
    shapes = {name: array.shape for name, array in found.items() if name != "features"}
    fits = all(array.dtype.kind == "f" and array.ndim == 1 for array in found.values())
    if not fits or any(shape != photo.tags.shape for shape in shapes.values()):
        raise InputError(f"{path}: holds arrays of other shapes; {mend}.")
    return Doubt(photo, **{name: array.astype(np.float64) for name, array in found.items()})


def _looker(run: Run, name: str, masks: Path) -> Callable[[Photo], dict[str, np.ndarray]]:
    """What computes a photograph's numbers."""
    model = networks.trained_deeplab(run, name)
    probs_of = networks.probabilities_of(run, model, run.cfg.test.model_copy(update={"mirror": False}))
    gate = None
    if run.cfg.classifier.head != "own" and run.has_network("classifier"):  # own: a baseline of the boxes alone
        gate = networks.new_gate(run.cfg.classifier, run.cfg.model.backbone, len(run.classes), amp=run.cfg.amp)
        networks.load_trained(run, "classifier", gate.classifier)
        gate.to(run.device).to(memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def look(photo: Photo) -> dict[str, np.ndarray]:
        pixels = inference.read_pixels(photo).to(run.device)
        size = (pixels.shape[2], pixels.shape[1])
        mask = read_mask_for(pictures.mask_file(masks, photo.id), size, len(run.classes), photo.path)
        probs, mirrored = probs_of(pixels), probs_of(pixels.flip(-1)).flip(-1)
        found = compare(probs, mirrored, torch.from_numpy(mask).to(run.device), torch.from_numpy(photo.tags))
        shown = torch.full((len(photo.tags),), torch.nan)
        if gate is not None:
            shown = torch.cat([torch.ones(1), gate.class_probs(pixels[None])[0].cpu()])
        (small,) = inference.pyramid(model, pixels, (1.0,), FEATURE_SIZE, mirror=False)
        features = model.backbone(small).mean(dim=(0, 2, 3)).cpu()
        kept = {**found, "classifier": shown, "features": features}
        return {key: value.float().cpu().numpy() for key, value in kept.items()}

    return look


def compare(probs: Tensor, mirrored: Tensor, mask: Tensor, tags: Tensor) -> dict[str, Tensor]:
    """The shares of `Doubt`.

    Args:
        probs: The network's class probabilities of a photograph, (C, H, W).
        mirrored: Those of its mirror image, mirrored back.
        mask: (H, W) uint8 class indices; what is 255 is compared with nothing.
        tags: (C,) bool, the photograph's own classes.

    Returns:
        "area", "wrong", "mirror", "foreign", (C,) each.
    """
    tags = tags.to(probs.device)
    seen = probs.argmax(dim=0)
    foreign = functional.one_hot(seen, len(tags)).float().mean(dim=(0, 1)) * ~tags
    own, other = ((part * tags[:, None, None]).clamp(min=0) for part in (probs, mirrored))
    own, other = (part / part.sum(dim=0).clamp(min=1e-6) for part in (own, other))
    labelled = mask != IGNORE
    says = functional.one_hot(mask.masked_fill(~labelled, 0).long(), len(tags)).permute(2, 0, 1).float() * labelled
    return {
        "area": says.mean(dim=(1, 2)),
        "wrong": ((own - says).abs() * labelled).mean(dim=(1, 2)),
        "mirror": (own - other).abs().mean(dim=(1, 2)),
        "foreign": foreign,
    }
