"""Train the classifier on the image-level labels and print what it measures on the validation split."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.classifier import classify


def call(run: Run) -> None:
    print(classify(run).figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
