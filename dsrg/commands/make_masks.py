"""Write pseudo-labels of the training photographs with the DSRG network."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.masks import make_masks


def call(run: Run) -> None:
    print(make_masks(run).figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
