"""Train the segmentation network anew on the pseudo-labels."""

import sys

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.evaluate import evaluate
from dsrg.stages.segment import retrain


def call(run: Run) -> None:
    retrain(run)
    print(evaluate(run, "retrain").figures)


if __name__ == "__main__":
    sys.exit(main(__doc__, call))
