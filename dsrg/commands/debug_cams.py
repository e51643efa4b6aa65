"""What the maps of right, missed and false tags lie on (own object, another, background): context bias as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsrg import cli
from dsrg.commands._map_mass import OPTIONS

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    count = cli.option("--count", type=int, default=12, metavar="N", help="wrong tags to draw (default 12)")
    return cli.main(__doc__, call, arguments, *OPTIONS, count)


def call(run: Run, **options: Any) -> None:
    from dsrg.study.debug_cams import debug_cams

    debug_cams(run, **options)
