"""Compute the saliency maps of the training photographs with saliency.weights; what is finished is skipped."""

from collections.abc import Sequence

from dsrg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.stages(__doc__, arguments, "saliency", sharded=True)
