"""The worst validation photographs of a finished run: every stage's picture of them, and what goes wrong."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.study.failures import show_failures


def main(arguments: Sequence[str] | None = None) -> int:
    count = cli.option("--count", type=int, default=20, metavar="N", help="photographs to show (default 20)")
    return cli.main(__doc__, show_failures, arguments, count)
