"""Write pseudo-labels of the training photographs with the DSRG network."""

import sys

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.masks import make_masks


def call(run: Run) -> None:
    print(make_masks(run).figures)


if __name__ == "__main__":
    sys.exit(main(__doc__, call))
