"""Train the segmentation network on the seeds, growing them at each iteration."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.dsrg import train_dsrg
from dsrg.stages.predictions import evaluate, require_gate


def call(run: Run) -> None:
    require_gate(run, "dsrg")
    train_dsrg(run)
    print(evaluate(run, "dsrg").figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
