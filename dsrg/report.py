"""What a run shows: the table of its figures, and the grid of every stage's pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dsrg import distributed, heatmap, inference, networks, pictures, storage, tiles
from dsrg.data.voc import Photo
from dsrg.formats.overlay import overlay as overlay  # others know it by this name
from dsrg.models.deeplab import DeepLab
from dsrg.run import Run
from dsrg.step import DsrgStep

ROWS: tuple[tuple[str, str], ...] = (
    ("classifier_map", "classifier, mean average precision (val)"),
    ("cam_miou", "CAM, mIoU at its best threshold (train)"),
    ("seeds.coverage", "seeds, coverage (train)"),
    ("seeds.foreground_precision", "seeds, foreground precision (train)"),
    ("seeds.background_precision", "seeds, background precision (train)"),
    ("dsrg_miou", "DSRG, mIoU (val)"),
    ("masks_coverage", "masks, labelled pixels (train)"),
    ("masks_miou", "masks with image-level labels, mIoU over labelled pixels (train)"),
    ("retrain_miou", "retrained on the masks, mIoU (val)"),
    ("supervised_miou", "fully supervised, mIoU (val)"),
    ("weak_to_full_ratio", "retrained / fully supervised"),
)
"""Keys of results.json in the order of the table."""
COLUMNS = ("photo", "CAM", "seeds", "grown seeds", "mask", "prediction", "truth")
TILE = 160
"""Long side of a picture in the grid, in pixels."""


def table(results: dict[str, Any]) -> str:
    """The figures as a Markdown table; a figure that was not measured says so."""
    lines = ["| figure | value |", "|---|---:|"]
    for key, title in ROWS:
        value = figure(results, key)
        lines.append(f"| {title} | {'not measured' if value is None else f'{value:.3f}'} |")
    return "\n".join(lines)


def ratio(figures: dict[str, Any]) -> dict[str, float]:
    """{"weak_to_full_ratio": retrained over fully supervised}; empty where either was not measured."""
    weak, full = figures.get("retrain_miou"), figures.get("supervised_miou")
    return {"weak_to_full_ratio": weak / full} if weak is not None and full else {}


def figure(results: dict[str, Any], key: str) -> float | None:
    """The figure under a dotted key of results.json; None where it was not measured."""
    value: Any = results
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None else float(value)


@dataclass(frozen=True)
class Example:
    """One training photograph and what every stage makes of it; None for a stage that has not run."""

    photo: Photo
    picture: np.ndarray
    """The photograph, (H, W, 3) uint8."""
    cam: np.ndarray | None
    """The strongest of its classes' maps, (h, w) float32 in [0, 1]."""
    seeds: np.ndarray | None
    """(H, W) uint8, class index or 255 = unlabelled; so are the four below."""
    grown: np.ndarray | None
    mask: np.ndarray | None
    prediction: np.ndarray | None
    """Of the last network that is trained, without the image-level labels."""
    truth: np.ndarray | None


def examples(run: Run, count: int = 12) -> list[Example]:
    """Pictures of `count` training photographs from every stage that is finished, or put there by the user.

    The photographs are spread over the split, so that neighbours in the file, which often show the same scene or
    class, do not fill the picture.

    Raises:
        InputError: a stage's folder was made with other settings, or one of its files is broken.
    """
    chosen = [run.train[index] for index in np.linspace(0, len(run.train) - 1, min(count, len(run.train))).astype(int)]
    grow = _grown_seeds(run) if trained(run, "dsrg") else None
    final = next((name for name in ("retrain", "dsrg") if trained(run, name)), None)
    model = networks.trained_segmenter(run, final) if final else None
    shown = tqdm(chosen, "pictures", disable=not distributed.is_main())
    return [_example(run, photo, grow, model) for photo in shown]


def trained(run: Run, name: str) -> bool:
    """Whether the network of the stage 'dsrg', 'retrain' or 'supervised' is trained, or put there by the user."""
    stage = run.stage(name)
    return (stage.finished or stage.foreign) and (stage.directory / "checkpoint.pt").is_file()


def draw_grid(shown: Sequence[Example], path: Path) -> None:
    """Write a PNG with a row for each example and a column for each stage; what has not run leaves its tiles empty."""
    tiles.write_picture(path, tiles.sheet(COLUMNS, [_row(example) for example in shown], TILE))


def heat(photo: np.ndarray, cams: np.ndarray) -> np.ndarray:
    """The strongest of an image's CAMs (n, h, w) over its photograph."""
    return heatmap.overlay(photo, cams.max(axis=0))


def _example(run: Run, photo: Photo, grow: Callable[[Photo], np.ndarray] | None, model: DeepLab | None) -> Example:
    pixels = inference.read_pixels(photo)
    maps = run.directory_of("cams") / f"{photo.id}.npz"
    seeds = _mask_in(run.directory_of("seeds"), photo)
    prediction = None
    if model is not None:
        probs = networks.predictor(run, model, run.cfg.test)(pixels.to(run.device)).cpu()
        crf = run.cfg.crf.arguments() if run.cfg.test.crf else None
        prediction = inference.to_mask(probs, pixels, crf=crf).numpy()
    return Example(
        photo=photo,
        picture=pixels.permute(1, 2, 0).numpy(),
        cam=storage.read_cams(maps)[1].max(axis=0, initial=0) if maps.is_file() else None,
        seeds=seeds,
        grown=None if grow is None or seeds is None else grow(photo),
        mask=_mask_in(run.directory / "masks", photo),
        prediction=prediction,
        truth=_mask_in(run.folder.mask_dir, photo),
    )


def _mask_in(folder: Path, photo: Photo) -> np.ndarray | None:
    path = pictures.mask_file(folder, photo.id)
    return pictures.read_mask(path) if path.is_file() else None


def _row(example: Example) -> list[np.ndarray]:
    picture = example.picture
    masks = (example.seeds, example.grown, example.mask, example.prediction, example.truth)
    shown = [picture, None if example.cam is None else heatmap.overlay(picture, example.cam)]
    shown += [None if mask is None else overlay(picture, mask) for mask in masks]
    return [tiles.fit(np.full_like(picture, 235) if tile is None else tile, TILE) for tile in shown]


def _grown_seeds(run: Run) -> Callable[[Photo], np.ndarray]:
    """From a training photograph to its seeds as the trained DSRG network grows them, at the photograph's size."""
    model = networks.trained_segmenter(run, "dsrg")
    step = DsrgStep(run.cfg)
    size = run.cfg.dsrg.size

    @torch.no_grad()
    def grow(photo: Photo) -> np.ndarray:
        pixels = inference.read_pixels(photo)
        seeds = pictures.read_mask(pictures.mask_file(run.directory_of("seeds"), photo.id))
        warped = torch.nn.functional.interpolate(pixels[None].float(), (size, size), mode="bilinear", antialias=True)
        batch = {
            "images": warped.round().byte(),
            "masks": inference.on_grid(torch.from_numpy(seeds)[None], (size, size)),
            "tags": torch.from_numpy(photo.tags)[None],
        }
        batch = {name: tensor.to(run.device) for name, tensor in batch.items()}
        _, grown, _ = step.supervision(step.probabilities(model, batch), batch, run.cfg.dsrg.iterations)
        return inference.on_grid(grown[0].cpu(), seeds.shape).numpy()

    return grow
