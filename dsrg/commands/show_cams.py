"""Draw photographs with their likeliest labels and a heat map of each: where did the classifier look?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsrg import cli
from dsrg.tables import MAPS

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    options = (
        cli.option("--method", choices=list(MAPS), help="maps (default: cam, or acol where classifier.head is acol)"),
        cli.option("--count", type=int, default=12, metavar="N", help="photographs to show (default 12)"),
        cli.option("--wrong", action="store_true", help="only those whose likeliest class is wrong, surest first"),
        cli.option("files", nargs="*", metavar="FILE", help="photographs (default: of the validation split)"),
    )
    return cli.main(__doc__, call, arguments, *options)


def call(run: Run, **options: Any) -> None:
    from dsrg.study.show_cams import show_cams

    show_cams(run, **options)
