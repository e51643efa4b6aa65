"""Compare ways to cut seeds from a run's CAMs and boxes, or sources of maps for seeds; only the table is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsrg import cli
from dsrg.tables import SEED_MAPS

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def call(runs: Sequence[Run], every: int, sources: Sequence[str], pictures: int) -> None:
    from dsrg.study.compare_seeds import seed_table, source_table

    of_sources = bool(sources) or len(runs) > 1
    print(source_table(runs, sources, every) if of_sources else seed_table(runs[0], every, pictures))


def main(arguments: Sequence[str] | None = None) -> int:
    which = f"compare these maps, made for the table, instead of ways to cut: {', '.join(SEED_MAPS)}"
    every = cli.option("--every", type=int, default=1, metavar="N", help="measure on every N-th photograph (default 1)")
    sources = cli.option("--sources", nargs="+", default=[], metavar="NAME", help=which)
    shown = "draw the seeds of N of these photographs by each way too, without --sources and --also (default 0)"
    pictures = cli.option("--pictures", type=int, default=0, metavar="N", help=shown)
    return cli.main(__doc__, call, arguments, every, sources, pictures, several=True)
