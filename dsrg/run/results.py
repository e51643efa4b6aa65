"""A run's figures, as results.json has them: their names, their table, and what follows from several."""

from __future__ import annotations

from typing import Any

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


def table(results: dict[str, Any]) -> str:
    """The figures as a Markdown table; a figure that was not measured says so."""
    lines = [f"| figure | {column(results)} |", "|---|---:|"]
    for key, title in ROWS:
        value = figure(results, key)
        lines.append(f"| {title} | {'not measured' if value is None else f'{value:.3f}'} |")
    return "\n".join(lines)


def column(results: dict[str, Any]) -> str:
    """What the column of the figures is called: what the seeds were made from, "tags" or "tags and saliency", for runs
    compare within one kind alone; "value" where the seeds are not made yet, or not by this program."""
    seeds = results.get("seeds")
    return str(seeds.get("supervision", "value")) if isinstance(seeds, dict) else "value"


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
