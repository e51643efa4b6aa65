"""Train the classifier on the image-level labels and measure it on the validation split."""

from collections.abc import Sequence

from dsrg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.stages(__doc__, arguments, "classifier")
