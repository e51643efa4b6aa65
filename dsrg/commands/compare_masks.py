"""Make masks from a run's DSRG network in several ways and print how good each is; only the table is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsrg import cli

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    every = cli.option("--every", type=int, default=1, metavar="N", help="measure on every N-th photograph (default 1)")
    return cli.main(__doc__, call, arguments, every)


def call(run: Run, every: int) -> None:
    from dsrg.study.compare_masks import mask_table

    print(mask_table(run, every))
