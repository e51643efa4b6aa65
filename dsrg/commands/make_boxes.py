"""Write boxes around the objects in a data set's true masks, as VOC XML: to measure what boxes are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsrg import cli

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the words of the command line (None: the process's own) and write; returns the exit status."""
    return cli.main(
        f"{__doc__} An object is a connected part of one class; 255 is none of any.",
        _make,
        arguments,
        cli.option("--out", type=Path, required=True, metavar="DIR", help="folder for <id>.xml (data.annotations)"),
        cli.option(
            "--smallest",
            type=float,
            default=0.001,
            metavar="SHARE",
            help="share of the photograph below which a part has no box (default 0.001); each class keeps its largest",
        ),
        computes=False,
    )


def _make(run: Run, out: Path, smallest: float) -> None:
    from dsrg.data.boxed import write_mask_boxes

    count = write_mask_boxes(run.folder, run.train, out, smallest)
    print(f"{out}: {count:,} boxes of the {len(run.train):,} photographs of {run.cfg.data.train_split}")
