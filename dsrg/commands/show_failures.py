"""Draw the worst validation photographs of a finished run at every stage, and say what goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsrg import cli

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    count = cli.option("--count", type=int, default=20, metavar="N", help="photographs to show (default 20)")
    return cli.main(__doc__, call, arguments, count)


def call(run: Run, **options: Any) -> None:
    from dsrg.study.failures import show_failures

    show_failures(run, **options)
