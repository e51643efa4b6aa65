"""What a run shows: the table of its figures, and the grid of every stage's pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsrg import heatmap, inference, networks, storage, tiles
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
        value: Any = results
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        lines.append(f"| {title} | {'not measured' if value is None else f'{value:.3f}'} |")
    return "\n".join(lines)


def draw_grid(run: Run, path: Path, count: int = 12) -> None:
    """Write a PNG with a row for each of `count` training photographs and a column for each stage.

    The photographs are spread over the split, so that neighbours in the file, which often show the same scene or
    class, do not fill the picture. A stage that has not run leaves its tiles empty.
    """
    chosen = [run.train[index] for index in np.linspace(0, len(run.train) - 1, min(count, len(run.train))).astype(int)]
    grown = _grown_seeds(run) if (run.directory / "dsrg" / "checkpoint.pt").is_file() else None
    final = next((name for name in ("retrain", "dsrg") if (run.directory / name / "checkpoint.pt").is_file()), None)
    model = networks.trained_segmenter(run, final) if final else None
    rows = [_row(run, photo, grown, model) for photo in chosen]
    tiles.write_picture(path, tiles.sheet(COLUMNS, rows, TILE))


def heat(photo: np.ndarray, cams: np.ndarray) -> np.ndarray:
    """The strongest of an image's CAMs (n, h, w) over its photograph."""
    return heatmap.overlay(photo, cams.max(axis=0))


def _row(
    run: Run, photo: Photo, grown: Callable[[Photo], np.ndarray] | None, model: DeepLab | None
) -> list[np.ndarray]:
    pixels = inference.read_pixels(photo)
    picture = pixels.permute(1, 2, 0).numpy()
    folder = run.directory
    shown: list[np.ndarray | None] = [picture, None, None, None, None, None, None]
    cams = run.directory_of("cams") / f"{photo.id}.npz"
    if cams.is_file():
        shown[1] = heat(picture, storage.read_cams(cams)[1])
    for column, path in ((2, run.directory_of("seeds")), (4, folder / "masks"), (6, run.folder.mask_dir)):
        if (path / f"{photo.id}.png").is_file():
            shown[column] = overlay(picture, storage.read_mask(path / f"{photo.id}.png"))
    if grown is not None:
        shown[3] = overlay(picture, grown(photo))
    if model is not None:
        probs = networks.predictor(run, model, run.cfg.test)(pixels.to(run.device)).cpu()
        crf = run.cfg.crf.arguments() if run.cfg.test.crf else None
        shown[5] = overlay(picture, inference.to_mask(probs, pixels, crf=crf).numpy())
    return [tiles.fit(np.full_like(picture, 235) if tile is None else tile, TILE) for tile in shown]


def _grown_seeds(run: Run) -> Callable[[Photo], np.ndarray]:
    """From a training photograph to its seeds as the trained DSRG network grows them, at the photograph's size."""
    model = networks.trained_segmenter(run, "dsrg")
    step = DsrgStep(run.cfg)
    size = run.cfg.dsrg.size

    @torch.no_grad()
    def grow(photo: Photo) -> np.ndarray:
        pixels = inference.read_pixels(photo)
        seeds = storage.read_mask(run.directory_of("seeds") / f"{photo.id}.png")
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
