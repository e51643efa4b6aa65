"""Train the classifier, compute CAMs and cut seeds; what is finished is skipped."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.classifier import classify
from dsrg.stages.seeds import make_seeds


def call(run: Run) -> None:
    for stage in (classify, make_cams, make_seeds):
        print(stage(run).figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
