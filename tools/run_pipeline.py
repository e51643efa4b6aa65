"""Run every stage in order; what is finished is skipped, what was interrupted continues."""

import sys

from dsrg.cli import main
from dsrg.run import Run
from dsrg.stages.pipeline import run_pipeline


def call(run: Run) -> None:
    run_pipeline(run)


if __name__ == "__main__":
    sys.exit(main(__doc__, call))
