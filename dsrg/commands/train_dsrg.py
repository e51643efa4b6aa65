"""Train the segmentation network on the seeds, growing them at each iteration."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.predictions import evaluate
from dsrg.stages.retrain import train_dsrg


def call(run: Run) -> None:
    train_dsrg(run)
    print(evaluate(run, "dsrg").figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
