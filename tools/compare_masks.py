"""Make masks from a run's DSRG network in several ways and print how good each is; nothing but the table is written."""

import argparse
import sys

from dsrg.cli import main
from dsrg.stages.mask_table import mask_table

if __name__ == "__main__":
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--every", type=int, default=1, metavar="N", help="measure on every N-th photograph (default 1)"
    )
    sys.exit(main(__doc__, lambda run, every: print(mask_table(run, every)), parents=[options]))
