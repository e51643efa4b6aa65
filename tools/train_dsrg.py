"""Train the segmentation network on the seeds, growing them at each iteration."""

import sys

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.evaluate import evaluate
from dsrg.stages.segment import train_dsrg


def call(run: Run) -> None:
    train_dsrg(run)
    print(evaluate(run, "dsrg").figures)


if __name__ == "__main__":
    sys.exit(main(__doc__, call))
