"""Train the classifier on the image-level labels and print what it measures on the validation split."""

import sys

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.classify import classify


def call(run: Run) -> None:
    print(classify(run).figures)


if __name__ == "__main__":
    sys.exit(main(__doc__, call))
