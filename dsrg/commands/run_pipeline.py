"""Run every stage in order; what is finished is skipped, what was interrupted continues."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.pipeline import run_pipeline


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, run_pipeline, arguments)
