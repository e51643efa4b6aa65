"""Train the classifier, compute CAMs and, if wanted, saliency maps, and cut seeds; what is finished is skipped."""

from collections.abc import Sequence

from dsrg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.stages(__doc__, arguments, "classifier", "cams", "saliency", "seeds", sharded=True)
