"""Measure what a person's corrections buy: retrain with the true masks of a few photographs, picked or at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsrg import cli

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, train and measure; returns the exit status."""
    return cli.main(
        f"{__doc__} The data set's masks of the training split stand for the person. What is finished is skipped. With "
        "corrections.seeds=true each set of true masks teaches a DSRG network too, which takes several times as long.",
        _simulate,
        arguments,
        cli.option(
            "--counts",
            nargs="+",
            default=["6", "30", "120"],
            metavar="N",
            help="numbers of true masks (default 6 30 120); 0 is always measured",
        ),
        cli.option("--seeds", nargs="+", default=["0"], metavar="N", help="random seeds (default 0)"),
    )


def _simulate(run: Run, counts: list[str], seeds: list[str]) -> None:
    from dsrg.study.simulate_corrections import Simulation

    Simulation(run, cli.whole_numbers("--counts", counts), cli.whole_numbers("--seeds", seeds)).run()
