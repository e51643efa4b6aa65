"""Train the same network on ground-truth masks, for comparison."""

import sys

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.evaluate import evaluate
from dsrg.stages.segment import train_supervised


def call(run: Run) -> None:
    train_supervised(run)
    print(evaluate(run, "supervised").figures)


if __name__ == "__main__":
    sys.exit(main(__doc__, call))
