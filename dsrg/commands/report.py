"""Write report.html: a run, finished or not, on one page that opens without a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsrg import cli, distributed

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and write the page; returns the exit status."""
    shown = "training photographs to show (default 12)"
    return cli.main(
        str(__doc__), _write, arguments, cli.option("--pictures", type=int, default=12, metavar="N", help=shown)
    )


def _write(run: Run, pictures: int) -> None:
    from dsrg.page.report import write_report

    if distributed.is_main():
        path = write_report(run, pictures)
        print(f"{path}, {path.stat().st_size / 1e6:.1f} MB")
