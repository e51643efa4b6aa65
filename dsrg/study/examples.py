"""Training photographs with what every stage makes of them, and the grid of these pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dsrg import distributed
from dsrg.data.voc import Photo, spread
from dsrg.draw import heatmap, tiles
from dsrg.draw.masks import paint_mask
from dsrg.files import pictures, storage
from dsrg.run import inference, large, networks
from dsrg.run.folder import Run
from dsrg.run.table import final
from dsrg.stages.dsrg import DsrgStep

COLUMNS = ("photo", "CAM", "seeds", "grown seeds", "mask", "prediction", "truth")
BOX = (240, 228, 66)
"""Colour of a box that seeds are cut from."""
TILE = 160
"""Long side of a picture in the grid, in pixels."""


@dataclass(frozen=True)
class Example:
    """One training photograph and what every stage makes of it; None for a stage that has not run."""

    photo: Photo
    picture: np.ndarray
    """The photograph, (H, W, 3) uint8."""
    boxes: np.ndarray
    """(N, 4) those that its seeds are cut from; N is 0 where they are not."""
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
    chosen = spread(run.train, count)
    grow = _grown_seeds(run) if run.has_network("dsrg") else None
    network = final(run.has_network)
    probs_of = networks.predictor(run, network) if network else None
    shown = tqdm(chosen, "pictures", disable=not distributed.is_main())
    return [_example(run, photo, grow, probs_of) for photo in shown]


def draw_grid(shown: Sequence[Example], path: Path) -> None:
    """Write a PNG with a row for each example and a column for each stage. What one example lacks is an empty tile; a
    column that all lack, of a stage that has not run or of truth that nobody has, is left out."""
    rows = [_row(example) for example in shown]
    kept = [column for column in range(len(COLUMNS)) if any(row[column] is not None for row in rows)]
    filled = [[_tile(example, row[column]) for column in kept] for example, row in zip(shown, rows, strict=True)]
    tiles.write_picture(path, tiles.sheet([COLUMNS[column] for column in kept], filled, TILE))


def _example(
    run: Run,
    photo: Photo,
    grow: Callable[[Photo], np.ndarray] | None,
    probs_of: inference.ProbabilitiesOf | None,
) -> Example:
    picture = np.array(pictures.read_image(photo.path))
    boxes = None if run.boxed is None else run.boxed.read(photo, picture.shape[:2])
    maps = run.directory_of("cams") / f"{photo.id}.npz"
    seeds = _mask_in(run.directory_of("seeds"), photo)
    prediction = None
    if probs_of is not None:
        seen = inference.planes(large.copy_of(picture, len(run.classes)))
        probs = probs_of(seen.to(run.device)).cpu()
        crf = run.cfg.crf.arguments() if run.cfg.test.crf else None
        prediction = inference.to_mask(probs, seen, crf=crf, size=picture.shape[:2]).numpy()
    return Example(
        photo=photo,
        picture=picture,
        boxes=np.zeros((0, 4)) if boxes is None else boxes.boxes,
        cam=storage.read_cams(maps, photo.own)[1].max(axis=0, initial=0) if maps.is_file() else None,
        seeds=seeds,
        grown=None if grow is None or seeds is None else grow(photo),
        mask=_mask_in(run.directory / "masks", photo),
        prediction=prediction,
        truth=_mask_in(run.folder.mask_dir, photo),
    )


def _mask_in(folder: Path, photo: Photo) -> np.ndarray | None:
    path = pictures.mask_file(folder, photo.id)
    return pictures.read_mask(path) if path.is_file() else None


def _row(example: Example) -> list[np.ndarray | None]:
    picture = example.picture
    masks = (example.seeds, example.grown, example.mask, example.prediction, example.truth)
    return [
        heatmap.draw_boxes(picture, example.boxes, BOX),
        None if example.cam is None else heatmap.paint(picture, example.cam),
        *(None if mask is None else paint_mask(picture, mask) for mask in masks),
    ]


def _tile(example: Example, picture: np.ndarray | None) -> np.ndarray:
    return tiles.fit(np.full_like(example.picture, 235) if picture is None else picture, TILE)


def _grown_seeds(run: Run) -> Callable[[Photo], np.ndarray]:
    """From a training photograph to its seeds as the trained DSRG network grows them, at the photograph's size."""
    model = networks.trained_deeplab(run, "dsrg")
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
