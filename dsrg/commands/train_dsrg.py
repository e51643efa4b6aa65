"""Train the segmentation network on the seeds, growing them at each iteration."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run import Run
from dsrg.stages.evaluate import evaluate
from dsrg.stages.segment import train_dsrg


def call(run: Run) -> None:
    train_dsrg(run)
    print(evaluate(run, "dsrg").figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
