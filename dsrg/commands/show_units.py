"""Draw the units that speak most for a class, and the training photographs and regions that drive each most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsrg import cli

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    options = (
        cli.option("--class", dest="name", required=True, metavar="NAME", help="the class, such as dog"),
        cli.option("--units", type=int, default=5, metavar="N", help="units to show (default 5)"),
        cli.option("--images", type=int, default=6, metavar="N", help="photographs for each unit (default 6)"),
    )
    return cli.main(__doc__, call, arguments, *options)


def call(run: Run, **options: Any) -> None:
    from dsrg.study.show_units import show_units

    show_units(run, **options)
