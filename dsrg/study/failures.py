"""Where a finished run fails: its worst validation photographs, what kind of error each is, and their pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from dsrg import cam, distributed
from dsrg.data.mask_folders import compare_folders
from dsrg.data.voc import Photo
from dsrg.draw import heatmap, lettering, tiles
from dsrg.draw.masks import paint_mask
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import BACKGROUND, IGNORE, Classes, palette
from dsrg.metrics import ConfusionMatrix
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.run.table import CHECKPOINT, FINAL, NETWORKS, STAGES, final, predictions_of

KINDS = ("wrong class", "missed object", "spills over")
"""Foreground of another class; foreground called background; background called foreground."""
CATEGORIES = (*KINDS, "void/other")
"""Kinds of photograph: by the kind of most of its wrong pixels, or 'void/other' where none has more than half."""
TITLES = {"cam": "CAM of its labels", "dsrg": "DSRG", "retrain": "retrained", "supervised": "fully supervised"}
TILE = 220
"""Long side of a picture on the pages, in pixels."""


@dataclass
class Failure:
    """A validation photograph and how each stage fares on it."""

    photo: Photo
    matrices: dict[str, ConfusionMatrix]
    """By the stage's name; void pixels are in none. Those of `cam` are added for the photographs to be shown alone."""
    void: float
    """Share of the photograph whose truth is void."""
    heat: np.ndarray | None = None
    """The picture of the CAMs, (H, W, 3) uint8."""

    def miou(self, stage: str) -> float:
        """Mean IoU over the classes that occur in the photograph's truth or the stage's mask; nan if all is void."""
        return self.matrices[stage].mean_iou()


def show_failures(run: Run, count: int = 20) -> dict[str, Any]:
    """Write failures/failures.png (and failures-2.png, … where it would be too tall) and failures/failures.json.

    Args:
        run: A run whose validation photographs have been predicted; their true masks must exist.
        count: Photographs to show, the worst ones; all where there are fewer.

    Returns:
        The content of failures.json.

    Raises:
        InputError: predictions or true masks are missing, or `count` is not positive.
    """
    if count < 1:
        raise InputError(f"--count {count}: show at least one photograph.")
    folders = prediction_folders(run)
    network = final(folders.__contains__) or ""  # one of the two is there
    if not run.folder.has_masks(run.val):
        raise InputError(f"{run.folder.mask_dir}: failures are told by true masks, which are missing; add them.")
    ranked = rank(compare(run, folders), network)
    if not distributed.is_main():
        return {}
    worst = ranked[:count]
    _add_cams(run, worst)
    summary = _summary(run, ranked, count, network)
    out = run.directory / "failures"
    disk.write_json(out / "failures.json", summary)
    pages = _draw(run, worst, folders, network)
    names = tiles.write_pages(out, "failures", pages)
    print(_table(summary, run.classes))
    print("\n" + ", ".join(str(out / name) for name in ("failures.json", *names)))
    return summary


def prediction_folders(run: Run) -> dict[str, Path]:
    """The folder of each network's predictions for the validation split, in the pipeline's order.

    Raises:
        InputError: neither the retrained nor the DSRG network's are there, or they are not finished or not this
            configuration's.
    """
    folders = {}
    for network in NETWORKS:
        stage = run.stage(predictions_of(network))
        if stage.foreign:  # as everywhere, a folder without a record is the user's own
            stage.require_foreign()
        elif not stage.recorded or (network == "supervised" and not stage.finished):  # for comparison, trained last
            continue
        elif not stage.finished:
            raise InputError(
                f"{stage.directory}: the predictions are not finished; run {STAGES[network].command} first."
            )
        folders[network] = stage.directory
    if final(folders.__contains__) is None:
        directory = run.directory_of(predictions_of(FINAL[0]))
        raise InputError(f"{directory}: there are no predictions yet; run dsrg run-pipeline first.")
    return folders


def rank(failures: Sequence[Failure], network: str) -> list[Failure]:
    """The lowest mean IoU of one network first, ties by id; photographs whose truth is all void come last."""
    ordered = sorted(failures, key=lambda failure: failure.photo.id)
    return sorted(ordered, key=lambda failure: np.nan_to_num(failure.miou(network), nan=math.inf))


def error_shares(counts: np.ndarray) -> dict[str, float]:
    """Each of KINDS as a share of the wrong pixels, from (C, C) counts, row = truth; all 0 where none is wrong."""
    missed = counts[:, BACKGROUND].sum() - counts[BACKGROUND, BACKGROUND]
    spilt = counts[BACKGROUND].sum() - counts[BACKGROUND, BACKGROUND]
    wrong = counts.sum() - counts.trace()
    pixels = (wrong - missed - spilt, missed, spilt)
    return {kind: float(number / max(1, wrong)) for kind, number in zip(KINDS, pixels, strict=True)}


def category(counts: np.ndarray) -> str:
    """The kind that more than half of a photograph's wrong pixels are of, or 'void/other'."""
    return next((kind for kind, share in error_shares(counts).items() if share > 0.5), CATEGORIES[-1])


def worst_confusion(counts: np.ndarray, classes: Classes) -> str | None:
    """The confusion of the most pixels in words: "cow taken for horse: 61 % of cow's pixels"; None without errors."""
    wrong = counts - np.diag(counts.diagonal())
    if not wrong.any():
        return None
    true, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
    name = classes.names[true]
    share = 100 * wrong[true, predicted] / counts[true].sum()
    return f"{name} taken for {classes.names[predicted]}: {share:.0f} % of {name}'s pixels"


def compare(run: Run, folders: dict[str, Path]) -> list[Failure]:
    """Every photograph of the validation split; all files are read here, before anything is written."""

    def one(photo: Photo) -> Failure:
        truth = pictures.read_mask(run.folder.mask_path(photo), len(run.classes))
        matrices = {
            stage: compare_folders(folder, run.folder.mask_dir, run.classes, [photo.id], 1, objects=False)
            for stage, folder in folders.items()
        }
        return Failure(photo, matrices, float((truth == IGNORE).mean()))

    with ThreadPoolExecutor(max(1, run.cfg.workers)) as pool:
        return list(pool.map(one, run.val))


def _add_cams(run: Run, failures: Sequence[Failure]) -> None:
    """Add the CAMs of the photographs' own labels, which only the training split has on disk, and their IoU.

    The IoU is at the threshold that was best on the training split; without true masks there, there is no IoU.
    """
    if not (run.directory_of("classifier") / CHECKPOINT).is_file():
        return
    model, settings, stage = networks.trained_classifier(run), run.cfg.cam, run.stage("cams")
    threshold = stage.figures.get("cam_threshold") if stage.recorded and stage.finished else None
    for failure in failures:
        pixels, tags = inference.read_pixels(failure.photo), torch.from_numpy(failure.photo.tags)[None]
        maps = inference.activation_maps(
            model,
            pixels.to(run.device),
            tags[0],
            source=run.cfg.seeds.source,
            scales=settings.scales,
            size=settings.size,
            mirror=settings.mirror,
            amp=run.cfg.amp,
        )[None].cpu()
        failure.heat = heatmap.paint(pixels.permute(1, 2, 0).numpy(), maps[0].numpy().max(axis=0))
        if threshold is not None:
            labels = cam.to_labels(inference.enlarge(maps, pixels.shape[-2:]), tags, threshold)[0]
            failure.matrices["cam"] = matrix = ConfusionMatrix(len(run.classes))
            matrix.update(labels, pictures.read_mask(run.folder.mask_path(failure.photo), len(run.classes)))


def _summary(run: Run, ranked: Sequence[Failure], count: int, network: str) -> dict[str, Any]:
    """The content of failures.json; ranked[:count] may have the stage 'cam', which the rest has not."""
    stages = [stage for stage in TITLES if stage in ranked[0].matrices and stage != "cam"]
    kinds = {stage: [category(failure.matrices[stage].counts) for failure in ranked] for stage in stages}
    return {
        "final": network,
        "photographs": len(ranked),
        "categories": {
            "worst": {name: kinds[network][:count].count(name) for name in CATEGORIES},
            "all": {stage: {name: kinds[stage].count(name) for name in CATEGORIES} for stage in stages},
        },
        "confusion": {stage: _confusion(run, [failure.matrices[stage] for failure in ranked]) for stage in stages},
        "worst": [
            {
                "id": failure.photo.id,
                "labels": [run.classes.names[index] for index in failure.photo.own],
                "category": kind,
                "void": failure.void,
                "error_shares": error_shares(failure.matrices[network].counts),
                "worst_confusion": worst_confusion(failure.matrices[network].counts, run.classes),
                "miou": {stage: failure.miou(stage) for stage in failure.matrices},
                "iou": {
                    name: value
                    for name, value in run.classes.by_name(failure.matrices[network].iou()).items()
                    if value is not None
                },
            }
            for failure, kind in zip(ranked[:count], kinds[network][:count], strict=True)
        ],
    }


def _confusion(run: Run, matrices: Sequence[ConfusionMatrix]) -> dict[str, list[float]]:
    """By true class, the share of its pixels that each class is given to; nan where the class has none."""
    total = ConfusionMatrix(len(run.classes))
    for matrix in matrices:
        total += matrix
    pixels = total.counts.sum(axis=1, keepdims=True)
    shares = np.where(pixels > 0, total.counts / pixels.clip(1), np.nan)
    return dict(zip(run.classes.names, shares.tolist(), strict=True))


def _table(summary: dict[str, Any], classes: Classes) -> str:
    """The counts by category and the confusion matrix, as two Markdown tables."""
    worst, every = summary["categories"]["worst"], summary["categories"]["all"]
    final, number = summary["final"], summary["photographs"]
    columns = {f"{TITLES[final]}, worst {sum(worst.values())}": worst}
    columns |= {f"{TITLES[stage]}, all {number}": counts for stage, counts in every.items()}
    lines = [
        f"| most of a photograph's wrong pixels | {' | '.join(columns)} |",
        "|---" + "|---:" * len(columns) + "|",
        *(f"| {name} | {' | '.join(str(counts[name]) for counts in columns.values())} |" for name in CATEGORIES),
        "",
        f"Share of each true class's pixels, in %, that the {TITLES[final]} network gives to each class:",
        "",
        f"| true | {' | '.join(classes.names)} |",
        "|---" + "|---:" * len(classes) + "|",
    ]
    for name, shares in summary["confusion"][final].items():
        cells = ("-" if math.isnan(share) else f"{100 * share:.0f}" for share in shares)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _draw(run: Run, failures: Sequence[Failure], folders: dict[str, Path], network: str) -> list[Image.Image]:
    """The photographs' rows on as many pages as keep below tiles.PAGE."""
    cams = () if failures[0].heat is None else ("cam",)
    stages = (*cams, *(network for network in NETWORKS if network in folders))
    titles = ["worst first", "photograph, its labels"]
    titles += [TITLES[stage] + " (final)" * (stage == network) for stage in stages]
    titles.append("truth (elsewhere its outline)")
    rows = [_row(run, failure, place, stages, folders, network) for place, failure in enumerate(failures, 1)]
    return tiles.pages(titles, rows, TILE)


def _row(
    run: Run, failure: Failure, place: int, stages: Sequence[str], folders: dict[str, Path], network: str
) -> list[np.ndarray]:
    photo = inference.read_pixels(failure.photo).permute(1, 2, 0).numpy()
    truth = pictures.read_mask(run.folder.mask_path(failure.photo))
    labels = ", ".join(run.classes.names[index] for index in failure.photo.own)
    row = [_words(run, failure, place, network), _captioned(photo, labels)]
    for stage in stages:
        caption = f"IoU {failure.miou(stage):.2f}" if stage in failure.matrices else ""
        picture = failure.heat if stage == "cam" else None
        if picture is None:
            mask = pictures.read_mask(pictures.mask_file(folders[stage], failure.photo.id))
            picture = paint_mask(photo, mask)
        row.append(_captioned(picture, caption, truth))
    return [*row, _captioned(paint_mask(photo, truth), "")]


def _captioned(picture: np.ndarray, caption: str, truth: np.ndarray | None = None) -> np.ndarray:
    """A picture at the pages' size, the outlines of the true objects on it in white, the caption below."""
    tile = tiles.fit(picture, TILE)
    if truth is not None:
        small = cv2.resize(truth, tile.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        small[small == IGNORE] = BACKGROUND  # void is a seam around each object
        edge = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
        tile[edge] = 255
    return tiles.captioned(tile, [caption])


def _words(run: Run, failure: Failure, place: int, network: str) -> np.ndarray:
    """Place, id, category, the worst confusion, and IoU by class beside the class's colour."""
    counts = failure.matrices[network].counts
    lines = [f"{place}. {failure.photo.id}", f"{category(counts)}, IoU {failure.miou(network):.2f}"]
    for part in (worst_confusion(counts, run.classes) or "").replace(": ", ":\n").splitlines():
        lines += lettering.wrap(part, TILE - 4, tiles.LETTERS)
    if failure.void > 0.2:  # such truth says little, and can leave a class a handful of pixels
        lines.append(f"truth void on {100 * failure.void:.0f} %")
    iou = run.classes.by_name(failure.matrices[network].iou())
    occurs = [matrix.counts.any(axis=0) | matrix.counts.any(axis=1) for matrix in failure.matrices.values()]
    shown = [(index, run.classes.names[index]) for index in np.flatnonzero(np.any(occurs, axis=0))]
    sheet = Image.new("RGB", (TILE, 17 * (len(lines) + len(shown)) + 10), "white")
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        lettering.write(pen, (2, 17 * number), line, "black", tiles.HEADING if number == 0 else tiles.LETTERS)
    for number, (index, name) in enumerate(shown, len(lines)):
        pen.rectangle((4, 17 * number + 6, 16, 17 * number + 18), tuple(palette()[index].tolist()))
        value = iou[name]
        text = f"{name} (other stages)" if value is None else f"{name} {value:.2f}"
        lettering.write(pen, (22, 17 * number + 4), text, "black", tiles.LETTERS)
    return np.asarray(sheet)
