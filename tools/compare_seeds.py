"""Cut a run's CAMs into seeds in several ways, or take several sources of maps, and print how good the seeds are;
nothing but the table is written."""

import argparse
import sys
from collections.abc import Sequence

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.seed_table import SOURCES, seed_table, source_table


def call(runs: Sequence[Run], every: int, sources: Sequence[str]) -> None:
    print(source_table(runs, sources, every) if sources or len(runs) > 1 else seed_table(runs[0], every))


if __name__ == "__main__":
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
    sys.exit(main(__doc__, call, parents=[options], several=True))
