"""Compare ways to cut seeds from a run's CAMs, or sources of maps for seeds; only the table is written."""

import argparse
from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.study.compare_seeds import SOURCES, seed_table, source_table


def call(runs: Sequence[Run], every: int, sources: Sequence[str]) -> None:
    print(source_table(runs, sources, every) if sources or len(runs) > 1 else seed_table(runs[0], every))


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--every", type=int, default=1, metavar="N", help="measure on every N-th photograph (default 1)"
    )
    options.add_argument(
        "--sources",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"compare these maps, made for the table, in place of ways to cut: {', '.join(SOURCES)}",
    )
    return cli.main(__doc__, call, arguments, parents=[options], several=True)
