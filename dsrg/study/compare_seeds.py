"""The tables of seed quality: what each way to cut the same CAMs gives, and what each source of maps."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg.data.voc import Photo, read_mask_for, spread
from dsrg.draw import heatmap, tiles
from dsrg.draw.masks import paint_mask
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.files.pictures import read_image, read_mask
from dsrg.metrics import SeedQuality
from dsrg.run import networks
from dsrg.run.boxing import Boxed
from dsrg.run.folder import Run
from dsrg.schema import Seeds
from dsrg.stages.cams import measure_cams, write_maps
from dsrg.stages.seeds import Cutter, require_saliency, with_thresholds
from dsrg.study.comparison import check_comparable, every_nth, methods_of, network_names
from dsrg.study.examples import BOX, TILE
from dsrg.tables import BOXES, SEED_MAPS

WAYS: dict[str, dict[str, Any]] = {
    "as published": {"background": "cam", "foreground_threshold": 0.2, "background_threshold": 0.05},
    "as published, CRF": {"background": "cam", "foreground_threshold": 0.2, "background_threshold": 0.05, "crf": True},
    "few and sure": {"background": "cam", "foreground_threshold": 0.5, "background_threshold": 0.05},
    "few and sure, CRF": {"background": "cam", "foreground_threshold": 0.5, "background_threshold": 0.05, "crf": True},
    "Otsu": {"background": "cam", "thresholds": "otsu"},
    "Otsu, CRF": {"background": "cam", "thresholds": "otsu", "crf": True},
    "Otsu, sure foreground, CRF": {"background": "cam", "thresholds": "otsu_sure", "crf": True},
    "Otsu, PAR": {"background": "cam", "thresholds": "otsu", "par": True},
    "power of background": {"background": "power", "foreground_threshold": 0.2, "alpha": 4.0},
}
"""The rows, beside the configuration's own; settings of the section seeds, the others at their defaults."""
GIVEN = "seeds/, not made here"
"""The row of seeds that the user, or dsrg import-cues, put into the run's folder."""
COLUMNS = {
    "coverage": "coverage",
    "foreground_precision": "foreground precision",
    "background_precision": "background precision",
    "objects_right": "objects labelled right",
    "objects_as_background": "objects called background",
}
Drawn = dict[str, list[np.ndarray]]
"""By photograph, its seeds by each way."""


def seed_table(run: Run, every: int = 1, pictures: int = 0) -> str:
    """Cut the run's CAMs, and the boxes where seeds.boxes takes such, in every way and measure the seeds on ground
    truth; nothing that a stage reads is written.

    Args:
        run: With finished CAMs, with seeds from elsewhere (the authors' cues, say), or with both.
        every: Take every n-th training photograph alone.
        pictures: How many of these to draw, spread over them, with each way's seeds: <run_dir>/seed_table.png.

    Returns:
        The table in Markdown. It and the figures, each class's precision among them, are in <run_dir>/seed_table.md
        and .json.

    Raises:
        InputError: the CAMs or saliency maps are not there, the training split has no masks, `every` is below 1, or
            `pictures` below 0.
    """
    if pictures < 0:
        raise InputError(f"--pictures {pictures}: give a whole number from 0 on.")
    given = run.stage("seeds").foreign
    if run.directory_of("cams").is_dir() or (run.needs_maps and not given):
        run.require("cams")
    photos, cam_dir = every_nth(run, every), run.directory_of("cams")
    if cam_dir.is_dir():
        require_saliency(run)
    figures = {}
    drawn: Drawn = {photo.id: [] for photo in spread(photos, pictures)}
    if given:
        figures[GIVEN] = _quality_of_given(run, photos)
    for way, boxed in _box_ways(run).items() if cam_dir.is_dir() or not run.needs_maps else ():
        settings = with_thresholds(run.seeds, cam_dir, run.train) if run.needs_maps else run.seeds
        figures[way] = _quality(run, settings, cam_dir, photos, way, boxed, drawn)
    ways = {} if run.boxed else {"this configuration": run.seeds}
    for way, settings in (ways | {k: Seeds(**v) for k, v in WAYS.items()}).items() if cam_dir.is_dir() else ():
        settings = with_thresholds(settings, cam_dir, run.train)
        figures[way] = _quality(run, settings, cam_dir, photos, way, None, drawn)
    text = _markdown("seeds", figures, COLUMNS)
    disk.write_json(run.directory / "seed_table.json", {"every": every, "seeds": figures})
    disk.write_text(run.directory / "seed_table.md", text)
    if pictures:
        _draw(run, photos, drawn, [way for way in figures if way != GIVEN])
    return text


def _draw(run: Run, photos: Sequence[Photo], drawn: Drawn, ways: Sequence[str]) -> None:
    """Write seed_table.png: a photograph with its boxes, and its seeds by each way, in a row."""
    rows = []
    for photo in photos:
        if photo.id in drawn:
            picture = np.array(read_image(photo.path))
            found = None if run.boxed is None else run.boxed.read(photo, picture.shape[:2])
            framed = picture if found is None else heatmap.draw_boxes(picture, found.boxes, BOX)
            seeds = [paint_mask(picture, one) for one in drawn[photo.id]]
            rows.append([tiles.fit(tile, TILE) for tile in (framed, *seeds)])
    titles = ["photo", *(way.removeprefix("this configuration (").rstrip(")") for way in ways)]
    tiles.write_picture(run.directory / "seed_table.png", tiles.sheet(titles, rows, TILE))


def source_table(runs: Sequence[Run], sources: Sequence[str] = (), every: int = 1) -> str:
    """Make maps by each source with each run's classifier, cut them as the run is set, and measure maps and seeds.

    The maps go into a temporary folder: of the runs only the trained classifiers are read. Otsu's thresholds are those
    of the photographs measured.

    Args:
        runs: With trained classifiers, on one data set; the photographs are the first one's.
        sources: Some of SEED_MAPS, all where it is empty; a network takes those that it has.
        every: Take every n-th training photograph alone.

    Returns:
        The table in Markdown. It and the figures are in the first run's source_table.md and .json.

    Raises:
        InputError: a classifier is not trained, the training split has no masks, a source is unknown or no network has
            it, the runs do not fit together, a run's seeds take saliency maps that are missing, or `every` is below 1.
    """
    check_comparable(runs)
    each = methods_of(runs, sources, SEED_MAPS, "--sources")
    photos = every_nth(runs[0], every)
    for run in runs:
        run.require("classifier")
        require_saliency(run)
    rows: dict[str, dict[str, Any]] = {}
    for run, network, own in zip(runs, network_names(runs), each, strict=True):
        model = networks.trained_classifier(run)
        for source in own:
            with tempfile.TemporaryDirectory() as folder:
                cam_dir = Path(folder)
                write_maps(run, model, photos, cam_dir, source)
                settings = with_thresholds(run.seeds, cam_dir, photos)
                maps = measure_cams(run, photos, cam_dir)
                values = maps | _quality(run, settings, cam_dir, photos, f"{network}, {source}")
            what = {"network": network, "run_dir": str(run.directory), "source": source}
            rows[f"{network} | {source}"] = what | values
    text = _markdown("network | maps", rows, {"cam_miou": "mIoU of the maps"} | COLUMNS)
    disk.write_json(runs[0].directory / "source_table.json", {"every": every, "rows": list(rows.values())})
    disk.write_text(runs[0].directory / "source_table.md", text)
    return text


def _box_ways(run: Run) -> dict[str, Boxed]:
    """The rows of seeds from boxes: the configuration's own way, and the others of `tables.BOXES`."""
    if run.boxed is None:
        return {}
    others = {f"boxes, {way}": replace(run.boxed, way=way) for way in BOXES if way != run.boxed.way}
    return {f"this configuration (boxes, {run.boxed.way})": run.boxed} | others


def _quality(
    run: Run,
    settings: Seeds,
    cam_dir: Path,
    photos: Sequence[Photo],
    title: str,
    boxed: Boxed | None = None,
    drawn: Drawn | None = None,
) -> dict[str, Any]:
    """Figures of the seeds that the settings, their thresholds found, cut from the maps in `cam_dir`, or from boxes.
    The seeds themselves are added to `drawn`."""
    quality = SeedQuality(len(run.classes))
    cutter = Cutter(cam_dir, run.directory_of("seeds"), settings, run.cfg.crf, boxed)
    with cutter.pool(run.cfg.workers) as pool:
        for photo, seeds in zip(photos, tqdm(pool.map(cutter.cut, photos), title, len(photos)), strict=True):
            size = seeds.shape[::-1]
            if drawn is not None and photo.id in drawn:
                drawn[photo.id].append(seeds)
            quality.update(seeds, read_mask_for(run.folder.mask_path(photo), size, len(run.classes), photo.path))
    keys = {
        "cam": ("foreground_threshold", "background_threshold"),
        "cam_saliency": ("saliency_foreground", "saliency_background"),
    }
    thresholds = [getattr(settings, key) for key in keys.get(settings.background, ("foreground_threshold",))]
    if boxed is not None and not run.needs_maps:
        thresholds = []
    return _figures(run, quality, thresholds)


def _quality_of_given(run: Run, photos: Sequence[Photo]) -> dict[str, Any]:
    """Figures of the seeds that lie in the run's folder."""
    quality, folder = SeedQuality(len(run.classes)), run.require("seeds")
    for photo in tqdm(photos, GIVEN):
        seeds = read_mask(folder / f"{photo.id}.png", len(run.classes))
        size = (seeds.shape[1], seeds.shape[0])
        quality.update(seeds, read_mask_for(run.folder.mask_path(photo), size, len(run.classes), photo.path))
    return _figures(run, quality, [])


def _figures(run: Run, quality: SeedQuality, thresholds: Sequence[float]) -> dict[str, Any]:
    """What the tables say of seeds; objects_right and objects_as_background are shares of all pixels of objects."""
    objects = quality.counts[1:]
    return {"thresholds": list(thresholds)} | {
        **quality.result(),
        "objects_right": float(objects[:, 1:-1].trace() / objects.sum()),
        "objects_as_background": float(objects[:, 0].sum() / objects.sum()),
        "precision": run.classes.by_name(quality.precision()),
    }


def _markdown(title: str, rows: dict[str, dict[str, Any]], columns: dict[str, str]) -> str:
    """The rows by their first cells, which `title` heads."""
    first = " | ".join([title, "thresholds", *columns.values()])
    lines = [f"| {first} |", "|---" * (title.count("|") + 2) + "|" + "---:|" * len(columns)]
    for row, values in rows.items():
        thresholds = ", ".join(f"{threshold:.3f}" for threshold in values["thresholds"])
        cells = [f"{values[column]:.3f}" for column in columns]
        lines.append(" | ".join([f"| {row}", thresholds, *cells]) + " |")
    return "\n".join(lines) + "\n"
