"""Train the classifier, compute CAMs and cut seeds; what is finished is skipped."""

import sys

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.classify import classify
from dsrg.stages.seeds import make_cams, make_seeds


def call(run: Run) -> None:
    for stage in (classify, make_cams, make_seeds):
        print(stage(run).figures)


if __name__ == "__main__":
    sys.exit(main(__doc__, call))
