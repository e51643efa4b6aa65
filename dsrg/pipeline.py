"""All stages in order, and the table of their figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from dsrg import distributed
from dsrg.files import disk
from dsrg.page.report import write_report
from dsrg.run import results
from dsrg.run.folder import Run, Stage
from dsrg.stages.classifier import classify
from dsrg.stages.masks import make_masks
from dsrg.stages.predictions import evaluate
from dsrg.stages.retrain import retrain, train_dsrg, train_supervised
from dsrg.stages.seeds import make_cams, make_seeds
from dsrg.study import examples


def stages(run: Run) -> list[tuple[str, Callable[[], Stage]]]:
    """The run's stages in order, each with its name and the call that runs it or finds it finished."""
    before: list[tuple[str, Callable[[], Stage]]] = [
        ("classifier", lambda: classify(run)),
        ("cams", lambda: make_cams(run)),
    ]
    if run.stage("seeds").foreign:  # somebody's own seeds need no CAM
        before = before[:1] if run.cfg.model.init == "classifier" else []
    weak: list[tuple[str, Callable[[], Stage]]] = [
        *before,
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
    """Run every stage that is not finished, write results.json, pictures.png and report.html, and print the table.

    Returns:
        The content of results.json.
    """
    figures: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, call in stages(run):
        stage = call()
        figures |= stage.figures
        seconds[name] = stage.seconds
    whole = figures | results.ratio(figures) | {"seconds": seconds}
    if distributed.is_main():
        disk.write_json(run.directory / "results.json", whole)
        print(results.table(whole))
        print(f"\n{', '.join([str(run.directory / 'results.json'), *_show(run)])}")
    return whole


def _show(run: Run) -> list[str]:
    """Draw pictures.png and report.html; the files that were written."""
    pictures, page = run.directory / "pictures.png", run.directory / "report.html"
    try:
        shown = examples.examples(run)
        examples.draw_grid(shown, pictures)
        write_report(run, shown=shown)
    # Whatever goes wrong here, hours of training have ended well, and their figures are on disk.
    except Exception as error:
        print(
            f"warning: {page} was not written ({type(error).__name__}: {error}); every stage is finished, and "
            "tools/report.py writes the page alone",
            file=sys.stderr,
        )
    return [str(path) for path in (pictures, page) if path.is_file()]
