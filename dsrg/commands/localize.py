"""Box objects with a trained classifier's maps: boxes.json, pictures, and one table over methods and networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsrg import cli
from dsrg.tables import MAPS

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    options = (
        cli.option(
            "--methods", nargs="+", default=[], metavar="NAME", help=f"some of {', '.join(MAPS)} (default: all)"
        ),
        cli.option("--split", metavar="NAME", help="split to box (default: data.val_split)"),
        cli.option(
            "--pictures", type=int, default=20, metavar="N", help="draw the split's first N photographs (default 20)"
        ),
    )
    return cli.main(__doc__, call, arguments, *options, several=True)


def call(runs: Sequence[Run], **options: Any) -> None:
    from dsrg.study.localize import localize

    localize(runs, **options)
