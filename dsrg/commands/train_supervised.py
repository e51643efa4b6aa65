"""Train the same network on ground-truth masks, for comparison."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.predictions import evaluate, require_gate
from dsrg.stages.retrain import train_supervised


def call(run: Run) -> None:
    require_gate(run, "supervised")
    train_supervised(run)
    print(evaluate(run, "supervised").figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
