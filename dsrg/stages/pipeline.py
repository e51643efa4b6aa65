"""All stages in order, and the table of their figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dsrg import distributed, report, storage
from dsrg.run import Run, Stage
from dsrg.stages.classify import classify
from dsrg.stages.evaluate import evaluate
from dsrg.stages.masks import make_masks
from dsrg.stages.seeds import make_cams, make_seeds
from dsrg.stages.segment import retrain, train_dsrg, train_supervised


def stages(run: Run) -> list[tuple[str, Callable[[], Stage]]]:
    """The run's stages in order, each with its name and the call that runs it or finds it finished."""
    weak: list[tuple[str, Callable[[], Stage]]] = [
        ("classifier", lambda: classify(run)),
        ("cams", lambda: make_cams(run)),
        ("seeds", lambda: make_seeds(run)),
        ("dsrg", lambda: train_dsrg(run)),
        ("dsrg predictions", lambda: evaluate(run, "dsrg")),
        ("masks", lambda: make_masks(run)),
        ("retrain", lambda: retrain(run)),
        ("predictions", lambda: evaluate(run, "retrain")),
    ]
    full: list[tuple[str, Callable[[], Stage]]] = [
        ("supervised", lambda: train_supervised(run)),
        ("supervised predictions", lambda: evaluate(run, "supervised")),
    ]
    return weak + full if run.cfg.supervised.enabled and run.folder.has_masks(run.train) else weak


def run_pipeline(run: Run) -> dict[str, Any]:
    """Run every stage that is not finished, write results.json and pictures.png, and print the table.

    Returns:
        The content of results.json.
    """
    figures: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, call in stages(run):
        stage = call()
        figures |= stage.figures
        seconds[name] = stage.seconds
    weak, full = figures.get("retrain_miou"), figures.get("supervised_miou")
    if weak is not None and full:
        figures["weak_to_full_ratio"] = weak / full
    results = figures | {"seconds": seconds}
    if distributed.is_main():
        storage.write_json(run.directory / "results.json", results)
        report.draw_grid(run, run.directory / "pictures.png")
        print(report.table(results))
        print(f"\n{run.directory / 'results.json'}, {run.directory / 'pictures.png'}")
    return results
