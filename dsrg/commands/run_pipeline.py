"""Run every stage in order; what is finished is skipped, what was interrupted continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsrg import cli

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)


def call(run: Run) -> None:
    from dsrg.pipeline import run_pipeline

    run_pipeline(run)
