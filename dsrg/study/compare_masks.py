"""The table of mask quality: what each choice of scales and of confidence gives, from the same DSRG network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dsrg.data.voc import Photo, read_mask_for
from dsrg.files import disk, pictures
from dsrg.labels import IGNORE
from dsrg.metrics import ConfusionMatrix
from dsrg.run import inference, large, networks
from dsrg.run.folder import Run
from dsrg.stages.masks import after_crf, weigher
from dsrg.study.comparison import every_nth

SCALES: tuple[tuple[float, ...], ...] = ((1.0,), (0.75, 1.25), (1.0, 1.5), (0.75, 1.5), (0.75, 1.0, 1.25, 1.5))
"""The rows, beside the configuration's own."""
CONFIDENCES = (0.0, 0.6, 0.7, 0.8, 0.9)
"""The columns, beside the configuration's own."""


def mask_table(run: Run, every: int = 1) -> str:
    """Make masks in every way and measure them on ground truth; nothing that a stage reads is written.

    Args:
        run: With a finished DSRG network.
        every: Take every n-th training photograph alone.

    Returns:
        The table in Markdown: mIoU over the labelled pixels and, in brackets, their share; and of the masks that label
        all pixels, what they miss of the objects and what they add to them (`ConfusionMatrix.missed`, `added`). It and
        the figures are in <run_dir>/mask_table.md and .json.

    Raises:
        InputError: the network is not there, the training split has no masks, or `every` is below 1.
    """
    photos, model = every_nth(run, every), networks.trained_deeplab(run, "dsrg")
    settings, weigh, after = run.cfg.masks, weigher(run), after_crf(run)
    rows = list(dict.fromkeys((settings.scales, *SCALES)))
    confidences = sorted({settings.confidence, *CONFIDENCES})
    cells = {(scales, confidence): _Cell(len(run.classes)) for scales in rows for confidence in confidences}
    for photo in tqdm(photos, "masks"):
        picture = np.array(pictures.read_image(photo.path))
        pixels = inference.planes(large.copy_of(picture, len(run.classes))).to(run.device)
        shape = picture.shape[:2]
        truth = read_mask_for(run.folder.mask_path(photo), shape[::-1], len(run.classes), photo.path)
        one = {
            scale: networks.probabilities_of(run, model, settings.model_copy(update={"scales": (scale,)}))(pixels)
            for scale in sorted({scale for scales in rows for scale in scales})
        }
        for scales in rows:
            merged = inference.merge_probs([one[scale] for scale in scales], settings.merge)
            merged = merged if weigh is None else weigh(photo, merged)
            for confidence, mask in _masks(run, photo, merged, pixels, shape, confidences).items():
                cells[scales, confidence].update(mask if after is None else after(photo, mask), truth)
    figures = [
        {
            "scales": scales,
            "confidence": confidence,
            "coverage": cell.labelled / cell.pixels,
            "miou": cell.matrix.mean_iou(),
            "missed": cell.matrix.missed(),
            "added": cell.matrix.added(),
        }
        for (scales, confidence), cell in cells.items()
    ]
    text = _markdown(figures, confidences)
    disk.write_json(run.directory / "mask_table.json", {"every": every, "masks": figures})
    disk.write_text(run.directory / "mask_table.md", text)
    return text


class _Cell:
    """One cell of the table, added up over photographs."""

    def __init__(self, num_classes: int) -> None:
        self.matrix = ConfusionMatrix(num_classes)
        self.labelled = self.pixels = 0

    def update(self, mask: np.ndarray, truth: np.ndarray) -> None:
        labelled = mask != IGNORE
        self.matrix.update(mask[labelled], truth[labelled])
        self.labelled += int(labelled.sum())
        self.pixels += mask.size


def _masks(
    run: Run, photo: Photo, probs: Tensor, pixels: Tensor, size: tuple[int, int], confidences: list[float]
) -> dict[float, np.ndarray]:
    """The masks that the stage would write, by confidence."""
    tags = torch.from_numpy(photo.tags).to(probs.device)
    crf = run.cfg.crf.arguments() if run.cfg.masks.crf else None
    masks = inference.to_masks(
        probs, pixels, tags, crf=crf, crf_tags=run.cfg.crf.tags, confidences=confidences, size=size
    )
    return {confidence: mask.cpu().numpy() for confidence, mask in zip(confidences, masks, strict=True)}


def _markdown(figures: list[dict[str, Any]], confidences: list[float]) -> str:
    cells = {(row["scales"], row["confidence"]): row for row in figures}
    heads = ["all pixels" if confidence == 0 else f"≥ {confidence:g}" for confidence in confidences]
    heads += ["objects' pixels missed", "added"]
    lines = ["| scales | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for scales in dict.fromkeys(row["scales"] for row in figures):
        found = [cells[scales, confidence] for confidence in confidences]
        values = [f"{cell['miou']:.3f} ({cell['coverage']:.2f})" for cell in found]
        values += [f"{found[0][key]:.3f}" for key in ("missed", "added")]  # confidence 0 comes first
        lines.append(f"| {', '.join(f'{scale:g}' for scale in scales)} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"
