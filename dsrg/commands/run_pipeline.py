"""Run every stage in order; what is finished is skipped, what was interrupted continues."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.pipeline import run_pipeline
from dsrg.run.folder import Run


def call(run: Run) -> None:
    run_pipeline(run)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
