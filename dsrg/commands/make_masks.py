"""Write pseudo-labels of the training photographs with the DSRG network."""

from collections.abc import Sequence

from dsrg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.stages(__doc__, arguments, "masks", sharded=True)
