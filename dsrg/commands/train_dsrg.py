"""Train the segmentation network on the seeds, growing them at each iteration."""

from collections.abc import Sequence

from dsrg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.stages(__doc__, arguments, "dsrg", "dsrg predictions")
