"""Compute the saliency maps of the training photographs, by saliency.weights; what is finished is skipped."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.saliency import make_saliency


def call(run: Run) -> None:
    print(make_saliency(run).directory)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
