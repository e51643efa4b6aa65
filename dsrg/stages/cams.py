"""Maps of the training photographs' own classes: CAM, or another source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dsrg import distributed
from dsrg.data.voc import Photo, read_mask_for
from dsrg.files import pictures, storage
from dsrg.metrics import ConfusionMatrix
from dsrg.models.build import AnyClassifier
from dsrg.run import inference, networks
from dsrg.run.folder import Figures, Run, Stage

CAM_THRESHOLDS = tuple(round(0.02 * step, 2) for step in range(1, 41))
"""Background thresholds among which the CAMs' mIoU takes the best, as is usual for the figure."""


def make_cams(run: Run) -> Stage:
    """Write cams/<id>.npz, the normalised maps of each training photograph's own classes at a quarter of its size.

    They are CAMs, or what seeds.source names. Where ground-truth masks exist, the figures hold cam_miou: the mIoU of
    the labels cut from the maps at the background threshold that is best for it (cam_threshold). No later stage reads
    either.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        model = networks.trained_classifier(run)

        def work() -> Figures:
            todo = [
                p for p in distributed.share(run.train, sharded=True) if not (stage.directory / f"{p.id}.npz").is_file()
            ]
            write_maps(run, model, todo, stage.directory, run.cfg.seeds.source)
            return {}

        return work

    def measure(stage: Stage) -> Figures:
        return measure_cams(run, run.train, stage.directory) if run.folder.has_masks(run.train) else {}

    return run.make("cams", prepare, measure)


def write_maps(run: Run, model: AnyClassifier, photos: Sequence[Photo], directory: Path, source: str) -> None:
    """Write directory/<id>.npz, the maps of one source at the scales of the section cam, for each of the photographs.

    Args:
        run: Gives the scales.
        model: Its trained classifier.
        photos: The photographs.
        directory: Where the files go.
        source: As in `inference.activation_maps`.
    """
    settings = run.cfg.cam
    for photo in tqdm(photos, f"maps, {source}", disable=not distributed.is_main()):
        maps = inference.activation_maps(
            model,
            inference.read_pixels(photo).to(run.device),
            torch.from_numpy(photo.tags),
            source=source,
            scales=settings.scales,
            size=settings.size,
            mirror=settings.mirror,
            amp=run.cfg.amp,
        )
        own = np.flatnonzero(photo.tags[1:])
        storage.write_cams(directory / f"{photo.id}.npz", own + 1, maps[own].cpu().numpy())


def measure_cams(run: Run, photos: Sequence[Photo], cam_dir: Path) -> Figures:
    """cam_miou of the photographs' CAMs in `cam_dir` at the threshold that is best for it, cam_threshold."""
    matrices = [ConfusionMatrix(len(run.classes)) for _ in CAM_THRESHOLDS]
    for photo in tqdm(distributed.share(photos), "measuring cams", disable=not distributed.is_main()):
        truth = true_mask(run, photo)
        classes, maps = storage.read_cams(cam_dir / f"{photo.id}.npz", photo.own, truth.shape)
        cams = spread(classes, maps, len(photo.tags), (truth.shape[0], truth.shape[1]))
        strongest, winner = (part[0].numpy() for part in cams.max(dim=1))
        for threshold, matrix in zip(CAM_THRESHOLDS, matrices, strict=True):
            # The same labels as cam.to_labels gives, with one argmax for all thresholds.
            matrix.update(np.where(strongest > threshold, winner + 1, 0), truth)
    totals = [ConfusionMatrix(len(run.classes)) for _ in CAM_THRESHOLDS]
    for part in distributed.gather(matrices):  # every process calls this: it waits for the others
        for total, matrix in zip(totals, part, strict=True):
            total += matrix
    best = max(range(len(totals)), key=lambda index: totals[index].mean_iou())
    return {"cam_miou": totals[best].mean_iou(), "cam_threshold": CAM_THRESHOLDS[best]}


def spread(classes: np.ndarray, maps: np.ndarray, count: int, size: tuple[int, int] | None = None) -> Tensor:
    """The maps of a photograph's own classes among those of all `count` classes, at `size` where one is given, zero for
    absent classes: (1, count - 1, H, W) in [0, 1]."""
    own = torch.from_numpy(maps)[None]
    if size is not None:
        own = inference.enlarge(own, size)
    cams = torch.zeros(1, count - 1, *own.shape[-2:])
    cams[0, classes - 1] = own[0]
    return cams


def true_mask(run: Run, photo: Photo) -> np.ndarray:
    """The ground truth of a photograph, (H, W) uint8."""
    size = pictures.read_image(photo.path).size
    return read_mask_for(run.folder.mask_path(photo), size, len(run.classes), photo.path)
