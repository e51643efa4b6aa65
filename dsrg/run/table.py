"""The stages' facts: one line for each folder of a run, in the order in which they are made.

The run, the pipeline, the ablation, the report and the sentences of errors read them here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CHECKPOINT = "checkpoint.pt"
"""In the folder of each stage that trains: its network."""
SEGMENTER_KEYS = tuple(
    f"model.{key}"
    for key in (
        *("init", "output_stride", "neck", "standardise", "pool_features"),
        *("aspp_rates", "aspp_channels", "dropout"),
    )
)
"""Keys of the section model on which the classifier and what is made with it do not depend."""
CAM_KEYS = ("thresholds", "foreground_threshold", "background_threshold", "crf", "par")
"""Keys of the section seeds that the cue "cam_saliency" does not read."""
CAM_SALIENCY_KEYS = ("cam_foreground", "cam_background", "saliency_foreground", "saliency_background")
"""Those that it alone reads."""


@dataclass(frozen=True)
class Facts:
    """What is true of a stage whatever the run."""

    title: str
    """Its name on the report."""
    command: str
    """What the user types to have it made."""
    folder: str
    """Below the run's folder; {val} is the validation split."""
    after: tuple[str, ...] = ()
    """The stages that it builds on."""
    sections: tuple[str, ...] = ()
    """Sections of the configuration that decide on it, besides those of `common`."""
    keys: tuple[str, ...] = ()
    """Single keys of other sections that decide on it too."""
    unread: tuple[str, ...] = ()
    """Single keys of its own sections that do not."""
    ending: str = ""
    """How the file that it writes for each photograph ends; none where it writes none."""
    masks: bool = True
    """Whether it makes masks, or learns from them: more classes than those hold are refused."""
    of_classifier: bool = False
    """Whether it is made with the classifier alone, before any segmentation network."""
    shared: bool = False
    """Whether another run may lend it (`shared`)."""
    trains: bool = False
    """Whether it trains a network."""
    network: str = ""
    """What the segmentation network that it trains is called on the report."""
    predicts: str = ""
    """The stage whose network predicts the validation split here."""
    again: str = ""
    """The command that keeps its output among earlier ones and makes it anew."""
    common: tuple[str, ...] = ("seed", "amp", "data", "model")
    """What decides on nearly all stages."""


STAGES = {
    "classifier": Facts(
        "classifier",
        "dsrg train-classifier",
        "classifier",
        sections=("classifier",),
        of_classifier=True,
        masks=False,
        shared=True,
        trains=True,
    ),
    "cams": Facts(
        "CAMs",
        "dsrg make-seeds",
        "cams",
        ("classifier",),
        ("cam",),
        ("seeds.source",),
        ending=".npz",
        masks=False,
        of_classifier=True,
        shared=True,
    ),
    "saliency": Facts(
        "saliency maps",
        "dsrg make-saliency",
        "saliency",
        sections=("saliency",),
        common=("data",),
        ending=".png",
        masks=False,
        shared=True,
    ),
    "seeds": Facts(
        "seeds", "dsrg make-seeds", "seeds", ("cams",), ("seeds",), ending=".png", of_classifier=True, shared=True
    ),
    "dsrg": Facts(
        "DSRG training",
        "dsrg train-dsrg",
        "dsrg",
        ("seeds",),
        ("crf", "grow", "losses", "dsrg"),
        trains=True,
        network="DSRG",
    ),
    "dsrg predictions": Facts(
        "DSRG predictions",
        "dsrg train-dsrg",
        "dsrg/predictions/{val}",
        ("dsrg",),
        ("crf", "test"),
        ending=".png",
        predicts="dsrg",
    ),
    "masks": Facts("masks", "dsrg make-masks", "masks", ("dsrg",), ("crf", "masks"), ending=".png"),
    "retrain": Facts(
        "retraining",
        "dsrg retrain",
        "retrain",
        ("masks",),
        ("retrain",),
        trains=True,
        network="retrained",
        again="dsrg retrain --again",
    ),
    "predictions": Facts(
        "predictions",
        "dsrg retrain",
        "predictions/{val}",
        ("retrain",),
        ("crf", "test"),
        ending=".png",
        predicts="retrain",
        again="dsrg retrain --again",
    ),
    "supervised": Facts(
        "full supervision",
        "dsrg train-supervised",
        "supervised",
        sections=("retrain",),
        unread=("retrain.start", "retrain.distill", "retrain.rounds", "retrain.settled"),
        trains=True,
        network="fully supervised",
    ),
    "supervised predictions": Facts(
        "supervised predictions",
        "dsrg train-supervised",
        "supervised/predictions/{val}",
        ("supervised",),
        ("crf", "test"),
        ending=".png",
        predicts="supervised",
    ),
}
"""By the name that results.json gives them."""
LOCALIZE = Facts(
    "boxes",
    "dsrg localize",
    "localize",
    ("classifier",),
    ("localize",),
    ("cam.output_stride", "data.annotations"),
    masks=False,
    of_classifier=True,
)
"""The boxes that the classifier's maps give: made on demand, once for each split and method, and so no line above."""
TRAININGS = [name for name, facts in STAGES.items() if facts.trains]
NETWORKS = {name: facts.network for name, facts in STAGES.items() if facts.network}
"""The stages that train a segmentation network, and what it is called."""
FINAL = ("retrain", "dsrg")
"""Those whose network is a run's result, the best first: full supervision has seen true masks and is for comparison."""


def final(trained: Callable[[str], bool]) -> str | None:
    """The stage whose network is the run's result so far.

    Args:
        trained: Whether a stage's network is there.

    Returns:
        The first of FINAL that is trained; None where none is.
    """
    return next((name for name in FINAL if trained(name)), None)


def predictions_of(network: str) -> str:
    """The stage in which the network that the stage `network` trains predicts the validation split."""
    return next(name for name, facts in STAGES.items() if facts.predicts == network)
