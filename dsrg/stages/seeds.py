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

from dsrg import cam, distributed, par
from dsrg.crf import dense_crf
from dsrg.data.voc import Photo, read_mask_for
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.metrics import SeedQuality
from dsrg.run import inference, processes
from dsrg.run.boxing import Boxed
from dsrg.run.folder import Figures, Run, Stage
from dsrg.schema import Crf, Seeds
from dsrg.stages.cams import spread, true_mask
from dsrg.tables import SALIENCY_CUES


def make_seeds(run: Run) -> Stage:
    """Write seeds/<id>.png, as large as the photographs: from the boxes of those that have some, where seeds.boxes says
    so; else from cams/ and, where the background cue reads them, saliency maps.

    Figures: seeds.supervision, see there; the thresholds that a rule found, and of saliency the rule; where
    ground-truth masks exist, seeds.coverage, foreground_precision, background_precision. The user's own seeds are
    measured and left as they are.

    Raises:
        InputError: a saliency map is missing, broken, or of another size than its photograph.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        cam_dir = run.require("cams") if run.needs_maps else run.directory_of("cams")
        require_saliency(run)
        return functools.partial(_write_seeds, run, cam_dir, stage.directory)

    def measure(stage: Stage) -> Figures:
        figures = _measure_seeds(run, stage.directory) if run.folder.has_masks(run.train) else {}
        if not stage.foreign:
            figures["supervision"] = supervision(run)
        return {"seeds": figures} if figures else {}

    return run.make("seeds", prepare, measure)


def supervision(run: Run) -> str:
    """What the seeds are made from: "tags" alone; "tags and saliency", whose network has seen masks; "boxes", where all
    photographs have some, "tags and boxes" where some have; "boxes and saliency" and "tags, boxes and saliency"."""
    kinds = ["tags"] * run.needs_maps + ["boxes"] * (run.boxed is not None)
    kinds += ["saliency"] * (run.cfg.cue in SALIENCY_CUES)
    return ", ".join(kinds[:-1]) + " and " * (len(kinds) > 1) + kinds[-1]


def require_saliency(run: Run) -> None:
    """Check that the saliency maps that the background cue reads are there, if it reads any.

    Raises:
        InputError: one is missing.
    """
    folder = run.seeds.saliency_dir
    if run.cfg.makes_saliency:
        run.require("saliency")
    elif run.cfg.cue in SALIENCY_CUES and folder is not None:
        for photo in run.train:
            if not pictures.mask_file(folder, photo.id).is_file():
                raise InputError(f"{folder / photo.id}.png: the saliency map does not exist; add it.")


def _write_seeds(run: Run, cam_dir: Path, directory: Path) -> Figures:
    """Write the seeds that are missing; the thresholds, where a rule found them."""
    todo = [p for p in distributed.share(run.train, sharded=True) if not (directory / f"{p.id}.png").is_file()]
    settings = with_thresholds(run.seeds, cam_dir, run.train) if run.needs_maps else run.seeds
    cutter = Cutter(cam_dir, directory, settings, run.cfg.crf, run.boxed)
    with cutter.pool(run.cfg.workers) as pool:
        for _ in tqdm(pool.map(cutter.write, todo), "seeds", len(todo), disable=not distributed.is_main()):
            pass
    if not run.needs_maps:
        return {}
    if settings.background == "cam_saliency":
        given = None not in (run.cfg.seeds.saliency_foreground, run.cfg.seeds.saliency_background)
        found = settings.model_dump(include={"saliency_foreground", "saliency_background"})
        return found | {"saliency_thresholds": "fixed" if given else "otsu"}
    if settings.thresholds == "fixed":
        return {}
    return settings.model_dump(include={"foreground_threshold", "background_threshold"})


def with_thresholds(settings: Seeds, cam_dir: Path, photos: Sequence[Photo]) -> Seeds:
    """The settings with all thresholds: their own, or Otsu's over every pixel of the photographs: those of the largest
    CAM, or of the saliency.

    Args:
        settings: Of the seeds.
        cam_dir: Folder of the photographs' CAMs.
        photos: The photographs.
    """
    if settings.background == "cam_saliency":
        return _with_saliency_thresholds(settings, photos)
    if settings.thresholds == "fixed":
        return settings
    cubes, squares = np.zeros(256), np.zeros(256)
    for photo in photos:
        _, maps = storage.read_cams(cam_dir / f"{photo.id}.npz", photo.own)
        largest = maps.max(axis=0, initial=0)
        cubes += np.histogram(np.cbrt(largest), bins=256, range=(0, 1))[0]
        squares += np.histogram(np.sqrt(largest), bins=256, range=(0, 1))[0]
    low, high = (root**3 for root in cam.otsu_thresholds(cubes))
    if settings.thresholds == "otsu_sure":
        high = max(high, cam.otsu_thresholds(squares)[1] ** 2)
    return settings.model_copy(update={"foreground_threshold": high, "background_threshold": low})


def _with_saliency_thresholds(settings: Seeds, photos: Sequence[Photo]) -> Seeds:
    low, high, folder = settings.saliency_background, settings.saliency_foreground, settings.saliency_dir
    if (low is None or high is None) and folder is not None:
        counts = np.zeros(256)
        for photo in photos:
            counts += np.bincount(_read_saliency(folder, photo).ravel(), minlength=256)
        found_low, found_high = cam.otsu_thresholds(counts)
        # One of the two may be the user's, on the other's far side.
        low, high = (min(found_low, 1 if high is None else high), high) if low is None else (low, high)
        high = max(found_high, low) if high is None else high
    return settings.model_copy(update={"saliency_background": low, "saliency_foreground": high})


def _read_saliency(folder: Path, photo: Photo) -> np.ndarray:
    """The grey of a photograph's saliency map, (h, w) uint8."""
    path = pictures.mask_file(folder, photo.id)
    return np.array(pictures.read_image(path, "saliency map").convert("L"))


def saliency_of(folder: Path, photo: Photo, size: tuple[int, int]) -> Tensor:
    """A photograph's saliency map at `size`, (1, H, W) in [0, 1]."""
    grey = torch.from_numpy(_read_saliency(folder, photo)).float() / 255
    return functional.interpolate(grey[None, None], size, mode="bilinear")[0]


def saliency_grey(folder: Path, photo: Photo, size: tuple[int, int]) -> np.ndarray:
    """The same in grey, (H, W) uint8."""
    return np.asarray((saliency_of(folder, photo, size)[0] * 255).round().byte().numpy())


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
    boxed: Boxed | None = None
    """What has the word where a photograph has boxes."""

    def cut(self, photo: Photo) -> np.ndarray:
        """The seeds, (H, W) uint8, as large as the photograph."""
        pixels, tags = inference.read_pixels(photo), torch.from_numpy(photo.tags)
        of_boxes = None if self.boxed is None else self.boxed.seeds(photo, pixels)
        if of_boxes is not None:
            return of_boxes
        saliency = self._saliency(photo, (pixels.shape[1], pixels.shape[2]))
        stored = storage.read_cams(self.cam_dir / f"{photo.id}.npz", photo.own, pixels.shape[1:])
        return np.asarray(cut_seeds(*stored, pixels, tags, self.settings, self.crf, saliency).numpy())

    def write(self, photo: Photo) -> None:
        """Write them to seeds/<id>.png."""
        pictures.write_mask(self.seed_dir / f"{photo.id}.png", self.cut(photo))

    def pool(self, workers: int) -> Executor:
        """Where to cut many: the CRF needs processes, for pydensecrf holds Python's lock, and so does GrabCut, whose
        random numbers are a thread's; without them threads do, and with 0 workers a thread of this one."""
        apart = workers > 0 and (self.settings.crf or self.boxed is not None)
        return processes.process_pool(workers) if apart else ThreadPoolExecutor(max(1, workers))

    def _saliency(self, photo: Photo, size: tuple[int, int]) -> Tensor | None:
        """The photograph's saliency map at `size`, (1, H, W) in [0, 1], where the settings want one."""
        if self.settings.background not in SALIENCY_CUES or self.settings.saliency_dir is None:
            return None
        return saliency_of(self.settings.saliency_dir, photo, size)


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
            times as long, and the seeds' precision is the same. `settings.par` refines them at half the photograph's.
        saliency: (1, H, W) in [0, 1], for the cues "saliency" and "cam_saliency" alone.

    Returns:
        (H, W) uint8, class index or 255 = unlabelled.
    """
    height, width = pixels.shape[-2:]
    tags = tags[None]
    if settings.background == "cam_saliency":
        low, high = settings.saliency_background, settings.saliency_foreground
        assert saliency is not None and low is not None and high is not None  # by with_thresholds
        return cam.to_joint_seeds(
            spread(classes, maps, tags.shape[1], (height, width)),
            tags,
            saliency,
            cam_foreground=settings.cam_foreground,
            cam_background=settings.cam_background,
            saliency_foreground=high,
            saliency_background=low,
        )[0]
    if not (settings.crf or settings.par):
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
    # AFA refines at half the photograph's size, for which PAR's distances are.
    size = (-(-height // 2), -(-width // 2)) if settings.par else None
    seeds = _refined(spread(classes, maps, tags.shape[1], size), tags, pixels, settings, crf)
    return functional.interpolate(seeds[None], (height, width), mode="nearest-exact")[0, 0]


def _refined(cams: Tensor, tags: Tensor, pixels: Tensor, settings: Seeds, crf: Crf) -> Tensor:
    """Seeds (1, h, w) from both cuts of the maps, each refined by the CRF or, with `settings.par`, by PAR.

    Args:
        cams: (1, K, h, w) in [0, 1].
        tags: (1, C) bool.
        pixels: (3, H, W) uint8, brought to the maps' size.
        settings, crf: As in `cut_seeds`.
    """
    small = functional.interpolate(pixels[None].float(), cams.shape[-2:], mode="bilinear", antialias=True)
    arguments = crf.on_grid(pixels.shape[-1] / cams.shape[-1], pixels.shape[1:])

    def cut(threshold: float) -> Tensor:
        if settings.par:
            scores = par.refine(cam.with_background(cams, tags, threshold)[:, tags[0]], small)
            return tags[0].nonzero()[:, 0][scores.argmax(dim=1)]
        labels = cam.to_labels(cams, tags, threshold)
        return dense_crf(cam.label_probs(labels, tags), small, tags, **arguments).argmax(dim=1)

    return cam.merge_labels(cut(settings.foreground_threshold), cut(settings.background_threshold))


def _measure_seeds(run: Run, directory: Path) -> Figures:
    quality = SeedQuality(len(run.classes))
    for photo in tqdm(distributed.share(run.train), "measuring seeds", disable=not distributed.is_main()):
        truth = true_mask(run, photo)
        path = directory / f"{photo.id}.png"
        quality.update(read_mask_for(path, truth.shape[::-1], len(run.classes), photo.path), truth)
    total = SeedQuality(len(run.classes))
    for part in distributed.gather(quality):
        total += part
    return total.result()
