"""Make masks from a run's DSRG network in several ways and print how good each is; nothing but the table is written."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.study.compare_masks import mask_table


def main(arguments: Sequence[str] | None = None) -> int:
    every = cli.option("--every", type=int, default=1, metavar="N", help="measure on every N-th photograph (default 1)")
    return cli.main(__doc__, lambda run, every: print(mask_table(run, every)), arguments, every)
