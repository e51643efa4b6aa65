"""Dense prediction, masks and boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from dsrg import tables
from dsrg.schema.kinds import Fraction, Merge, NonNegative, OneOf, Positive, Scales, Section, Side


class Inference(Section):
    """Dense prediction of whole photographs."""

    scales: Scales = (0.75, 1.0, 1.25)
    """Sizes to merge, times the base size."""
    size: Side | None = None
    """Long side of the photograph at scale 1, in pixels; null for its own size."""
    mirror: bool = True
    """Merge the mirror image too."""
    merge: Merge = "probabilities"
    """What scales and mirror images are merged as: the mean of their probabilities; or the softmax of their summed
    logits, as in the authors' test, which is surer the more they are, so that the CRF changes less."""
    crf: bool = True
    """Refine with the dense CRF at full size."""
    engine: Annotated[str, OneOf(dict.fromkeys(tables.ENGINES))] = "auto"
    """What computes the networks: torch; onnx, ONNX Runtime on a CPU, whose labels are the same except for one in a
    thousand; or auto: in dsrg predict, onnx on a CPU if it is installed and pays, otherwise torch. A run's own masks
    and predictions, whose bits must not depend on what is installed, are torch's unless this says onnx."""


class Masks(Inference):
    """Pseudo-labels of the training photographs."""

    confidence: Fraction = 0.0
    """Leave a pixel unlabelled where the network, before the CRF, gives its class a probability below this among the
    photograph's own classes; 0 labels all of them."""
    saliency: NonNegative = 0.0
    """If the seeds are cut by saliency, use it here too, before the CRF: the odds of background are multiplied by
    ((1 - s) / s) to this power. 0 leaves it out, 1 counts it as much as the network."""
    saliency_odds: Positive = 1.0
    """If saliency is used, the odds of background are also multiplied by this: below 1 if network and map together miss
    more of the objects than they add to them, as they do where the seeds call parts of objects background
    (docs/voc6.md)."""
    boxes: bool = True
    """If the seeds are cut from a photograph's boxes, keep each class inside its own boxes here too."""
    segments: str | None = None
    """Segments vote a class each on the mask that the CRF gives (Chen et al. 2023): those of a folder with a file for
    each training photograph, <id>.png (a label map, 0 is no segment) or <id>.json (SAM's automatic masks as run
    lengths); or 'slic', superpixels, which need scikit-image (dsrg[segments]). With null, nothing votes."""
    segment_share: Fraction = 0.5
    """A segment takes the class, or background, that has more than this share of it; one in which none has stays as it
    is. Below 0.5 objects win against more background."""
    region_share: Fraction | None = 0.85
    """A segment also takes a class that has at least this share of all its pixels in it, so that a mask that shows part
    of an object grows to its segment. Only for folders; null always asks for `segment_share`."""
    superpixel: Annotated[int, Field(gt=1, le=1000)] = 8
    """'slic': side in pixels of a square as large as a superpixel."""

    @property
    def segment_dir(self) -> Path | None:
        """The folder that `segments` names, if it does."""
        return None if self.segments is None or self.segments in tables.SUPERPIXELS else Path(self.segments)


class Test(Inference):
    """Predictions without image-level labels: of the validation split, of dsrg predict, of exported networks."""

    gate: bool = False
    """Multiply the probabilities of each foreground class by min(1, p / 0.5) before the CRF, with p the stage-1
    classifier's probability that the photograph shows it. All predictions then need the trained classifier."""


class Localize(Section):
    """Boxes from the classifier's maps."""

    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """The box is around the largest component of what is above this share of the map's maximum (Zhou et al. 2016)."""
    tight_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """That of the tight boxes in the heuristic choice of five boxes for three classes; the loose ones are cut at
    `threshold`. The paper names no number; its released code cuts at 100 / 255."""
    size: Side | None = None
    """Long side of the photographs, in pixels; null for their own size."""
    saliency_blur: NonNegative = 0.0
    """Deviation of the Gaussian, in pixels, that smooths saliency maps; 0 leaves them raw."""
