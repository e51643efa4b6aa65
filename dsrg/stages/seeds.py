"""Seeds, cut from the maps of the training photographs' own classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dsrg import cam, distributed
from dsrg.crf import dense_crf
from dsrg.data.voc import Photo, read_mask_for
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.metrics import SeedQuality
from dsrg.run import inference, processes
from dsrg.run.folder import Figures, Run, Stage
from dsrg.schema import Crf, Seeds
from dsrg.stages.cams import spread, true_mask


def make_seeds(run: Run) -> Stage:
    """Write seeds/<id>.png, as large as the photographs, from cams/.

    Figures: foreground_threshold and background_threshold where a rule found them; where ground-truth masks exist,
    seeds.coverage, foreground_precision, background_precision. The user's own seeds are measured and left as they are.

    Raises:
        InputError: a saliency map is missing, broken, or of another size than its photograph.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        cam_dir, saliency = run.require("cams"), run.cfg.seeds.saliency_dir
        if run.cfg.seeds.background == "saliency" and saliency is not None:
            for photo in run.train:  # before anything is written
                if not pictures.mask_file(saliency, photo.id).is_file():
                    raise InputError(f"{saliency / photo.id}.png: the saliency map does not exist; add it.")
        return functools.partial(_write_seeds, run, cam_dir, stage.directory)

    def measure(stage: Stage) -> Figures:
        return {"seeds": _measure_seeds(run, stage.directory)} if run.folder.has_masks(run.train) else {}

    return run.make("seeds", prepare, measure)


def _write_seeds(run: Run, cam_dir: Path, directory: Path) -> Figures:
    """Write the seeds that are missing; the thresholds, where a rule found them."""
    todo = [p for p in distributed.share(run.train) if not (directory / f"{p.id}.png").is_file()]
    settings = with_thresholds(run.cfg.seeds, cam_dir, run.train)
    cutter = Cutter(cam_dir, directory, settings, run.cfg.crf)
    with cutter.pool(run.cfg.workers) as pool:
        for _ in tqdm(pool.map(cutter.write, todo), "seeds", len(todo), disable=not distributed.is_main()):
            pass
    if settings.thresholds == "fixed":
        return {}
    return settings.model_dump(include={"foreground_threshold", "background_threshold"})


def with_thresholds(settings: Seeds, cam_dir: Path, photos: Sequence[Photo]) -> Seeds:
    """The settings with both thresholds: their own, or Otsu's over the largest CAM of every pixel of the photographs.

    Args:
        settings: Of the seeds.
        cam_dir: Folder of the photographs' CAMs.
        photos: The photographs.
    """
    if settings.thresholds == "fixed":
        return settings
    counts = np.zeros(256)
    for photo in photos:
        _, maps = storage.read_cams(cam_dir / f"{photo.id}.npz", photo.own)
        counts += np.histogram(np.cbrt(maps.max(axis=0, initial=0)), bins=256, range=(0, 1))[0]
    low, high = cam.otsu_thresholds(counts)
    return settings.model_copy(update={"foreground_threshold": high**3, "background_threshold": low**3})


@dataclass(frozen=True)
class Cutter:
    """Cuts seeds from a photograph's CAMs. It travels to other processes, as a Run could not."""

    cam_dir: Path
    """Folder of the CAMs, which may be another run's (shared)."""
    seed_dir: Path
    """Where `write` puts the seeds."""
    settings: Seeds
    """With the thresholds to be used."""
    crf: Crf

    def cut(self, photo: Photo) -> np.ndarray:
        """The seeds, (H, W) uint8, as large as the photograph."""
        pixels, tags = inference.read_pixels(photo), torch.from_numpy(photo.tags)
        saliency = self._saliency(photo, (pixels.shape[1], pixels.shape[2]))
        stored = storage.read_cams(self.cam_dir / f"{photo.id}.npz", photo.own, pixels.shape[1:])
        return np.asarray(cut_seeds(*stored, pixels, tags, self.settings, self.crf, saliency).numpy())

    def write(self, photo: Photo) -> None:
        """Write them to seeds/<id>.png."""
        pictures.write_mask(self.seed_dir / f"{photo.id}.png", self.cut(photo))

    def pool(self, workers: int) -> Executor:
        """Where to cut many: the CRF needs processes, for pydensecrf holds Python's lock; without it threads do."""
        workers = max(1, workers)
        return processes.process_pool(workers) if self.settings.crf else ThreadPoolExecutor(workers)

    def _saliency(self, photo: Photo, size: tuple[int, int]) -> Tensor | None:
        """The photograph's saliency map at `size`, (1, H, W) in [0, 1], where the settings want one."""
        if self.settings.background != "saliency" or self.settings.saliency_dir is None:
            return None
        path = pictures.mask_file(self.settings.saliency_dir, photo.id)
        grey = torch.from_numpy(np.array(pictures.read_image(path, "saliency map").convert("L"))).float() / 255
        return functional.interpolate(grey[None, None], size, mode="bilinear")[0]


def cut_seeds(
    classes: np.ndarray,
    maps: np.ndarray,
    pixels: Tensor,
    tags: Tensor,
    settings: Seeds,
    crf: Crf,
    saliency: Tensor | None = None,
) -> Tensor:
    """Seeds of one photograph, cut from the maps of its own classes.

    Args:
        classes, maps: As in `storage.read_cams`: (n,) class indices and (n, h, w) float32 maps in [0, 1].
        pixels: (3, H, W) uint8.
        tags: (C,) bool.
        settings: With the thresholds to be used, see `with_thresholds`.
        crf: For `settings.crf`, which refines both cuts of the maps at their size: at the photograph's it takes ten
            times as long, and the seeds' precision is the same.
        saliency: (1, H, W) in [0, 1], for the cue "saliency" alone.

    Returns:
        (H, W) uint8, class index or 255 = unlabelled.
    """
    height, width = pixels.shape[-2:]
    tags = tags[None]
    if not settings.crf:
        return cam.to_seeds(
            spread(classes, maps, tags.shape[1], (height, width)),
            tags,
            foreground_threshold=settings.foreground_threshold,
            background=settings.background,
            background_threshold=settings.background_threshold,
            alpha=settings.alpha,
            saliency=saliency,
            saliency_threshold=settings.saliency_threshold,
        )[0]
    cams = spread(classes, maps, tags.shape[1])
    small = functional.interpolate(pixels[None].float(), cams.shape[-2:], mode="bilinear", antialias=True)
    arguments = crf.arguments(scale=width / cams.shape[-1])

    def refined(threshold: float) -> Tensor:
        labels = cam.to_labels(cams, tags, threshold)
        return dense_crf(cam.label_probs(labels, tags), small, tags, **arguments).argmax(dim=1)

    seeds = cam.merge_labels(refined(settings.foreground_threshold), refined(settings.background_threshold))
    return functional.interpolate(seeds[None], (height, width), mode="nearest-exact")[0, 0]


def _measure_seeds(run: Run, directory: Path) -> dict[str, float]:
    quality = SeedQuality(len(run.classes))
    for photo in tqdm(distributed.share(run.train), "measuring seeds", disable=not distributed.is_main()):
        truth = true_mask(run, photo)
        path = directory / f"{photo.id}.png"
        quality.update(read_mask_for(path, truth.shape[::-1], len(run.classes), photo.path), truth)
    total = SeedQuality(len(run.classes))
    for part in distributed.gather(quality):
        total += part
    return total.result()
