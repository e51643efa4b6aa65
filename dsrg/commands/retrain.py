"""Train the segmentation network anew on the pseudo-labels."""

from collections.abc import Sequence

from dsrg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.stages(__doc__, arguments, "retrain", "predictions")
