"""Train the segmentation network anew on the pseudo-labels."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.predictions import evaluate, require_gate
from dsrg.stages.retrain import retrain


def call(run: Run) -> None:
    require_gate(run, "retrain")
    retrain(run)
    print(evaluate(run, "retrain").figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
