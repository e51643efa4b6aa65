"""report.html: a run in one file, which opens from disk without a server or a network."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from dsrg.data.mask_folders import compare_folders
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.labels import BACKGROUND
from dsrg.page import pictures, record
from dsrg.page.corrections import corrections
from dsrg.page.record import Status
from dsrg.page.render import Filters, render
from dsrg.run import results
from dsrg.run.folder import Run
from dsrg.run.table import FINAL, NETWORKS, STAGES, TRAININGS, predictions_of
from dsrg.study import examples, failures
from dsrg.study.examples import Example
from dsrg.tables import MAPS

EXTREMES = 6
"""Worst validation photographs, and best ones, at most."""
MOST_PICTURES = 100
"""Photographs that the page may show: each takes some 40 kB of it."""
HIGHLIGHTS = ("classifier_map", "dsrg_miou", "retrain_miou", "weak_to_full_ratio")
"""Figures that the page begins with."""


@dataclass(frozen=True)
class ClassRow:
    """A class and how well each network segments it."""

    name: str
    colour: str
    precision: float | None
    """The classifier's average precision; None for background, and where it was not measured."""
    iou: Mapping[str, float | None]
    """By network."""


@dataclass(frozen=True)
class Extremes:
    """The worst and the best validation photographs of one network."""

    network: str
    worst: Sequence[pictures.Ranked]
    best: Sequence[pictures.Ranked]
    count: int
    """Photographs that were ranked."""
    void: int
    """Photographs that were not, since their truth is all void."""
    median: float


def write_report(run: Run, count: int = 12, shown: Sequence[Example] | None = None) -> Path:
    """Write <run_dir>/report.html for a run in any state.

    Args:
        run: The run; what has not run or was not measured is said to be so.
        count: Training photographs to show.
        shown: Those photographs, where they are at hand already.

    Returns:
        The file.

    Raises:
        InputError: `count` is out of range, a stage was made with other settings, or a file is broken.
    """
    if not 1 <= count <= MOST_PICTURES:
        raise InputError(f"--pictures {count}: choose a number from 1 to {MOST_PICTURES}.")
    found = record.statuses(run)
    context = _context(run, found, examples.examples(run, count) if shown is None else shown)
    filters: Filters = {"duration": duration, "code": code}
    page = render("page.html.j2", context, filters, script="script.js")
    path = run.directory / "report.html"
    disk.write_text(path, page)
    return path


def _context(run: Run, found: Mapping[str, Status], shown: Sequence[Example]) -> dict[str, Any]:
    """What the template shows."""
    figures = record.results(found)
    measured = run.folder.has_masks(run.val)
    cards = [pictures.card(example, run.classes) for example in shown]
    return {
        "name": run.directory.resolve().name,  # the directory may be '.', which has no name
        "directory": str(run.directory.resolve()),
        "cfg": run.cfg,
        "sizes": {"train": len(run.train), "val": len(run.val), "classes": len(run.classes.foreground)},
        "statuses": list(found.values()),
        "column": results.column(figures),
        "rows": [(key, title, results.figure(figures, key)) for key, title in results.ROWS],
        "highlights": [(title, results.figure(figures, key)) for key, title in results.ROWS if key in HIGHLIGHTS],
        "measured": measured,
        "corrections": corrections(run),
        "networks": NETWORKS,
        "classes": _classes(run, found, figures, measured),
        "trainings": [(record.training(run, found[name]), STAGES[name].command) for name in TRAININGS if name in found],
        "growth": record.growth(run, found["dsrg"]),
        "layers": pictures.LAYERS | {"cam": MAPS[run.cfg.seeds.source].title},
        "first_layer": next((card.first for card in cards if card.first), ""),
        "cards": cards,
        # Width over height of the frame that all pictures are fitted into: the middle one of theirs.
        "box": statistics.median(card.width / card.height for card in cards) if cards else 1.0,
        "extremes": _extremes(run, found) if measured else None,
        "settings": record.settings(run.cfg),
        "environment": record.environment(run),
    }


def _classes(
    run: Run, found: Mapping[str, Status], figures: Mapping[str, Any], measured: bool
) -> tuple[list[str], list[ClassRow]]:
    """The networks whose IoU by class is known, and a row for each class."""
    known: dict[str, Mapping[str, float | None]] = {}
    for network in NETWORKS:
        status = found[predictions_of(network)]
        if f"{network}_iou" in figures:
            known[network] = figures[f"{network}_iou"]
        elif measured and status.state == record.FOREIGN:
            names = [photo.id for photo in run.val]
            matrix = compare_folders(
                status.stage.directory, run.folder.mask_dir, run.classes, names, max(1, run.cfg.workers)
            )
            known[network] = run.classes.by_name(matrix.iou())
    precision = figures.get("classifier_ap", {})
    rows = [
        ClassRow(
            name,
            pictures.colour(index),
            None if index == BACKGROUND else precision.get(name),
            {network: iou.get(name) for network, iou in known.items()},
        )
        for index, name in enumerate(run.classes.names)
    ]
    return list(known), rows


def _extremes(run: Run, found: Mapping[str, Status]) -> Extremes | None:
    """None where no network has predicted the validation split."""
    network = next((name for name in (*FINAL, "supervised") if found[predictions_of(name)].usable), None)
    if network is None:
        return None
    folder = found[predictions_of(network)].stage.directory
    ordered = failures.rank(failures.compare(run, {network: folder}), network)
    count = len(ordered)
    ordered = [failure for failure in ordered if not math.isnan(failure.miou(network))]
    if not ordered:
        return None
    best = min(EXTREMES, len(ordered) // 2)
    worst = min(EXTREMES, len(ordered) - best)
    return Extremes(
        network=network,
        worst=[pictures.ranked(run, failure, network) for failure in ordered[:worst]],
        best=[pictures.ranked(run, failure, network) for failure in ordered[::-1][:best]],
        count=len(ordered),
        void=count - len(ordered),
        median=statistics.median(failure.miou(network) for failure in ordered),
    )


def code(text: str) -> Markup:
    """Plain words in which `names` stand in the type of code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def duration(seconds: float) -> str:
    """Seconds as one reads them: 7.4 s, 10 min 24 s, 2 h 05 min."""
    whole = round(seconds)
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
