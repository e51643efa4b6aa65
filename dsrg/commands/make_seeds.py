"""Train the classifier, compute CAMs, and saliency maps where wanted, and cut seeds; what is finished is skipped."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.classifier import classify
from dsrg.stages.saliency import make_saliency
from dsrg.stages.seeds import make_seeds


def call(run: Run) -> None:
    saliency = (make_saliency,) if run.cfg.makes_saliency else ()
    for stage in (classify, make_cams, *saliency, make_seeds):
        print(stage(run).figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments)
