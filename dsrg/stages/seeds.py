"""Class activation maps of the training photographs, and the seeds that are cut from them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dsrg import cam, distributed, inference, networks, storage
from dsrg.data.voc import Photo, read_mask_for
from dsrg.errors import InputError
from dsrg.metrics import ConfusionMatrix, SeedQuality
from dsrg.run import Run, Stage

CAM_THRESHOLDS = tuple(round(0.02 * step, 2) for step in range(1, 41))
"""Background thresholds among which the CAMs' mIoU takes the best, as is usual for the figure."""


def make_cams(run: Run) -> Stage:
    """Write cams/<id>.npz, the normalised CAMs of each training photograph's own classes at a quarter of its size.

    Where ground-truth masks exist, the figures hold cam_miou: the mIoU of the labels cut from the CAMs at the
    background threshold that is best for it (cam_threshold). No later stage reads either.
    """
    stage = run.stage("cams")
    if stage.finished:
        return stage
    run.require("classifier", "tools/make_seeds.py or tools/run_pipeline.py")
    stage.begin()
    settings = run.cfg.cam
    todo = [p for p in distributed.share(run.train) if not (stage.directory / f"{p.id}.npz").is_file()]
    model = networks.trained_classifier(run) if todo else None
    for photo in tqdm(todo, "cams", disable=not distributed.is_main()):
        assert model is not None
        pixels = inference.read_pixels(photo).to(run.device)
        maps = inference.activation_maps(
            model, pixels, scales=settings.scales, size=settings.size, mirror=settings.mirror, amp=run.cfg.amp
        )
        maps = cam.normalise(maps[None], torch.from_numpy(photo.tags)[None].to(run.device))[0]
        own = np.flatnonzero(photo.tags[1:])
        storage.write_cams(stage.directory / f"{photo.id}.npz", own + 1, maps[own].cpu().numpy())
    distributed.barrier()
    stage.finish(_measure_cams(run) if run.folder.has_masks(run.train) else {})
    return stage


def make_seeds(run: Run) -> Stage:
    """Write seeds/<id>.png, as large as the photographs, from cams/.

    Figures, where ground-truth masks exist: seeds.coverage, foreground_precision, background_precision.

    Raises:
        InputError: a saliency map is missing, broken, or of another size than its photograph.
    """
    stage = run.stage("seeds")
    if stage.finished:
        return stage
    run.require("cams", "tools/make_seeds.py")
    saliency = run.cfg.seeds.saliency_dir
    if run.cfg.seeds.background == "saliency" and saliency is not None:
        for photo in run.train:  # before anything is written
            if not (saliency / f"{photo.id}.png").is_file():
                raise InputError(f"{saliency / photo.id}.png: the saliency map does not exist; add it.")
    stage.begin()
    todo = [p for p in distributed.share(run.train) if not (stage.directory / f"{p.id}.png").is_file()]

    def write(photo: Photo) -> None:
        storage.write_mask(stage.directory / f"{photo.id}.png", _seeds_of(run, photo))

    with ThreadPoolExecutor(max(1, run.cfg.workers)) as pool:
        for _ in tqdm(pool.map(write, todo), "seeds", len(todo), disable=not distributed.is_main()):
            pass
    distributed.barrier()
    stage.finish({"seeds": _measure_seeds(run)} if run.folder.has_masks(run.train) else {})
    return stage


def _full_size_cams(run: Run, photo: Photo, size: tuple[int, int]) -> Tensor:
    """The stored CAMs at `size`, zero for absent classes: (1, K, H, W) in [0, 1]."""
    classes, maps = storage.read_cams(run.directory / "cams" / f"{photo.id}.npz")
    cams = torch.zeros(1, len(photo.tags) - 1, *size)
    cams[0, classes - 1] = inference.enlarge(torch.from_numpy(maps)[None], size)[0]
    return cams


def _seeds_of(run: Run, photo: Photo) -> np.ndarray:
    settings = run.cfg.seeds
    width, height = storage.read_image(photo.path).size
    saliency = None
    if settings.background == "saliency" and settings.saliency_dir is not None:
        path = settings.saliency_dir / f"{photo.id}.png"
        grey = torch.from_numpy(np.array(storage.read_image(path).convert("L"))).float() / 255
        saliency = functional.interpolate(grey[None, None], (height, width), mode="bilinear")[0]
    seeds = cam.to_seeds(
        _full_size_cams(run, photo, (height, width)),
        torch.from_numpy(photo.tags)[None],
        foreground_threshold=settings.foreground_threshold,
        background=settings.background,
        background_threshold=settings.background_threshold,
        alpha=settings.alpha,
        saliency=saliency,
        saliency_threshold=settings.saliency_threshold,
    )
    return np.asarray(seeds[0].numpy(), np.uint8)


def _truth(run: Run, photo: Photo) -> np.ndarray:
    size = storage.read_image(photo.path).size
    return read_mask_for(run.folder.mask_path(photo), size, len(run.classes), photo.path)


def _measure_cams(run: Run) -> dict[str, Any]:
    matrices = [ConfusionMatrix(len(run.classes)) for _ in CAM_THRESHOLDS]
    for photo in tqdm(distributed.share(run.train), "measuring cams", disable=not distributed.is_main()):
        truth = _truth(run, photo)
        cams = _full_size_cams(run, photo, truth.shape)
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


def _measure_seeds(run: Run) -> dict[str, float]:
    quality = SeedQuality(len(run.classes))
    for photo in tqdm(distributed.share(run.train), "measuring seeds", disable=not distributed.is_main()):
        seeds = storage.read_mask(run.directory / "seeds" / f"{photo.id}.png", len(run.classes))
        quality.update(seeds, _truth(run, photo))
    total = SeedQuality(len(run.classes))
    for part in distributed.gather(quality):
        total += part
    return total.result()
