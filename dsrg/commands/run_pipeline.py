"""Run every stage in order; what is finished is skipped, what was interrupted continues."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run import Run
from dsrg.stages.pipeline import run_pipeline


def call(run: Run) -> None:
    run_pipeline(run)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
