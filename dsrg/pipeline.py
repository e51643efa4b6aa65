"""All stages in order, and the table of their figures."""

from __future__ import annotations

import sys
from typing import Any

from dsrg import distributed
from dsrg.files import disk
from dsrg.page.report import write_report
from dsrg.run import results
from dsrg.run.folder import Run
from dsrg.stages.masks import require_segments
from dsrg.stages.order import MAKERS, planned
from dsrg.study import examples


def run_pipeline(run: Run) -> dict[str, Any]:
    """Run every stage that is not finished, write results.json, pictures.png and report.html, and print the table.

    Returns:
        The content of results.json.
    """
    run.check_classes(*planned(run))
    require_segments(run)  # before the trainings take their hours
    figures: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name in planned(run):
        stage = MAKERS[name](run)
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
            "dsrg report writes the page alone",
            file=sys.stderr,
        )
    return [str(path) for path in (pictures, page) if path.is_file()]
