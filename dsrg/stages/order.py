"""How each stage is made, by its name in `dsrg.run.table`, in order."""

from __future__ import annotations

import functools
from collections.abc import Callable

from dsrg.run.folder import Run, Stage
from dsrg.run.table import NETWORKS, predictions_of
from dsrg.stages.cams import make_cams
from dsrg.stages.classifier import classify
from dsrg.stages.dsrg import train_dsrg
from dsrg.stages.masks import make_masks
from dsrg.stages.predictions import evaluate
from dsrg.stages.retrain import retrain, train_supervised
from dsrg.stages.saliency import make_saliency
from dsrg.stages.seeds import make_seeds

MAKERS: dict[str, Callable[[Run], Stage]] = {
    "classifier": classify,
    "cams": make_cams,
    "saliency": make_saliency,
    "seeds": make_seeds,
    "dsrg": train_dsrg,
    "masks": make_masks,
    "retrain": retrain,
    "supervised": train_supervised,
    **{predictions_of(network): functools.partial(evaluate, network=network) for network in NETWORKS},
}
"""Each makes its stage or finds it finished."""


def planned(run: Run) -> list[str]:
    """Names of the stages that make up a run, in order: somebody's own seeds need no CAM, nor saliency unless the masks
    are weighed by it, and full supervision needs masks of the training split."""
    left_out = set()
    if run.stage("seeds").foreign:
        left_out |= {"cams"} if run.cfg.needs_classifier else {"classifier", "cams"}
        left_out |= set() if run.cfg.masks.saliency else {"saliency"}
    if not (run.cfg.supervised.enabled and run.folder.has_masks(run.train)):
        left_out |= {"supervised", predictions_of("supervised")}
    return [name for name in run.stages if name not in left_out]
