"""The table of seed quality: what each way to cut the same CAMs gives."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from dsrg import storage
from dsrg.data.voc import read_mask_for
from dsrg.errors import InputError
from dsrg.metrics import SeedQuality
from dsrg.run import Run
from dsrg.schema import Seeds
from dsrg.stages.seeds import Cutter, with_thresholds

WAYS: dict[str, dict[str, Any]] = {
    "as published": {"background": "cam", "foreground_threshold": 0.2, "background_threshold": 0.05},
    "as published, CRF": {"background": "cam", "foreground_threshold": 0.2, "background_threshold": 0.05, "crf": True},
    "few and sure": {"background": "cam", "foreground_threshold": 0.5, "background_threshold": 0.05},
    "few and sure, CRF": {"background": "cam", "foreground_threshold": 0.5, "background_threshold": 0.05, "crf": True},
    "Otsu": {"background": "cam", "thresholds": "otsu"},
    "Otsu, CRF": {"background": "cam", "thresholds": "otsu", "crf": True},
    "power of background": {"background": "power", "foreground_threshold": 0.2, "alpha": 4.0},
}
"""The rows, beside the configuration's own; settings of the section seeds, the others at their defaults."""
COLUMNS = {
    "coverage": "coverage",
    "foreground_precision": "foreground precision",
    "background_precision": "background precision",
    "objects_right": "objects labelled right",
    "objects_as_background": "objects called background",
}


def seed_table(run: Run, every: int = 1) -> str:
    """Cut the run's CAMs in every way and measure the seeds on ground truth; nothing that a stage reads is written.

    Args:
        run: With finished CAMs.
        every: Take every n-th training photograph alone.

    Returns:
        The table in Markdown. It and the figures, each class's precision among them, are in <run_dir>/seed_table.md
        and .json.

    Raises:
        InputError: the CAMs are not there, the training split has no masks, or `every` is below 1.
    """
    if every < 1:
        raise InputError(f"--every {every}: give a whole number from 1 on.")
    run.require("cams", "tools/make_seeds.py")
    if not run.folder.has_masks(run.train):
        raise InputError(f"{run.folder.mask_dir}: holds no masks to measure seeds on.")
    figures = {}
    for way, settings in ({"this configuration": run.cfg.seeds} | {k: Seeds(**v) for k, v in WAYS.items()}).items():
        settings = with_thresholds(run, settings)
        thresholds = [settings.foreground_threshold, settings.background_threshold]
        two = settings.background == "cam"  # the other cues have no second threshold
        figures[way] = {"thresholds": thresholds[: 1 + two]} | _quality(run, settings, every, way)
    text = _markdown(figures)
    storage.write_json(run.directory / "seed_table.json", {"every": every, "seeds": figures})
    storage.write_text(run.directory / "seed_table.md", text)
    return text


def _quality(run: Run, settings: Seeds, every: int, way: str) -> dict[str, Any]:
    quality = SeedQuality(len(run.classes))
    photos = run.train[::every]
    cutter = Cutter(run.directory_of("cams"), run.directory_of("seeds"), settings, run.cfg.crf)
    with cutter.pool(run.cfg.workers) as pool:
        for photo, seeds in zip(photos, tqdm(pool.map(cutter.cut, photos), way, len(photos)), strict=True):
            size = seeds.shape[::-1]
            quality.update(seeds, read_mask_for(run.folder.mask_path(photo), size, len(run.classes), photo.path))
    objects = quality.counts[1:]
    return quality.result() | {
        "objects_right": float(objects[:, 1:-1].trace() / objects.sum()),
        "objects_as_background": float(objects[:, 0].sum() / objects.sum()),
        "precision": run.classes.by_name(quality.precision()),
    }


def _markdown(figures: dict[str, dict[str, Any]]) -> str:
    lines = ["| seeds | thresholds | " + " | ".join(COLUMNS.values()) + " |", "|---|---|" + "---:|" * len(COLUMNS)]
    for way, values in figures.items():
        thresholds = ", ".join(f"{threshold:.3f}" for threshold in values["thresholds"])
        cells = [f"{values[column]:.3f}" for column in COLUMNS]
        lines.append(" | ".join([f"| {way}", thresholds, *cells]) + " |")
    return "\n".join(lines) + "\n"
