"""From the classifier's maps to seeds, and what DSRG training makes of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dsrg import tables
from dsrg.schema.kinds import Fraction, NonNegative, NonNegativeInt, OneOf, Positive, Scales, Section, Side


class Cam(Section):
    """Class activation maps of the training photographs."""

    scales: Scales = (0.5, 1.0, 1.5, 2.0)
    """Sizes at which the maps are computed, times the base size."""
    size: Side | None = None
    """Long side of the photographs at scale 1, in pixels; null for their own size."""
    mirror: bool = True
    """Add the mirror image's maps."""
    output_stride: Literal[8, 16, 32] | None = None
    """Output stride of the classifier here; null for the one that it was trained at."""


class Seeds(Section):
    """From CAMs to seeds."""

    source: Annotated[str, OneOf(tables.MAPS, fits=lambda maps: maps.seeds)] = "cam"
    """Maps that the stage `cams` makes: CAM, Grad-CAM, Grad-CAM++, or ACoL's, for which classifier.head is acol."""
    thresholds: Literal["fixed", "otsu", "otsu_sure"] = "fixed"
    """'fixed' takes the two thresholds below; 'otsu' those that split the cube roots of the largest CAM over the whole
    training split best in three (Otsu 1979): without masks, without choosing. 'otsu_sure' takes the upper one from the
    square roots, where it is higher: fewer foreground seeds, and surer ones, which growing extends."""
    foreground_threshold: Fraction = 0.2
    """A pixel is a class's seed where the class's normalised CAM is above this."""
    background: Literal["cam", "power", "saliency", "cam_saliency", "auto"] = "cam"
    """Background cue: every CAM below a threshold; (1 - max CAM)^alpha as a class of its own; or saliency maps.
    'cam_saliency' wants both of foreground and background: CAM and saliency high, CAM and saliency low, by four
    thresholds of their own. 'auto' is 'cam_saliency' where saliency_dir or saliency.weights is set, and else 'cam', so
    that one preset serves both kinds of supervision."""
    background_threshold: Fraction = 0.05
    """'cam': background where every class's CAM is below this."""
    crf: bool = False
    """'cam': refine the classes above the foreground threshold, and background below the other, each by the dense CRF,
    as Ahn et al. 2019 do. The seeds then follow the photograph's edges."""
    par: bool = False
    """'cam': as `crf`, by pixel-adaptive refinement (Ru et al. 2022) in place of the dense CRF: cheaper."""
    alpha: Positive = 4.0
    """'power': the exponent; larger means less background."""
    saliency_dir: Path | None = None
    """'saliency', 'cam_saliency': folder of grey saliency maps, <id>.png; null for those by saliency.weights."""
    saliency_threshold: Fraction = 0.06
    """'saliency': background where the saliency is below this."""
    cam_foreground: Fraction = 0.15
    """'cam_saliency': a class's seed needs its CAM above this."""
    cam_background: Fraction = 0.1
    """'cam_saliency': background needs every class's CAM below this."""
    saliency_foreground: Fraction | None = None
    """'cam_saliency': a class's seed needs a saliency above this; null for the upper of the two thresholds
    that split the saliency over the whole training split best in three (Otsu 1979): without masks, without choosing."""
    saliency_background: Fraction | None = None
    """'cam_saliency': background needs a saliency below this; null for the lower of the two."""
    boxes: Annotated[str | None, OneOf(tables.BOXES)] = None
    """Cut the seeds of each training photograph that has an annotation (data.annotations) from its boxes: 'grabcut'
    looks for the object in the box, 'inner' takes the middle of the box, 'rectangle' all of it. The other photographs
    keep seeds from their labels alone. null ignores boxes."""

    @model_validator(mode="after")
    def _check(self) -> Seeds:
        if self.background in ("cam", "auto") and self.background_threshold > self.foreground_threshold:
            raise ValueError(
                f"background_threshold ({self.background_threshold}) must not be above "
                f"foreground_threshold ({self.foreground_threshold})"
            )
        if self.background in ("power", "saliency") and (self.crf or self.par or self.thresholds != "fixed"):
            raise ValueError("crf, par and Otsu's thresholds need background = cam, which has two thresholds")
        if self.crf and self.par:
            raise ValueError("crf and par both refine the seeds; set one of them to false")
        low, high = self.saliency_background, self.saliency_foreground
        if low is not None and high is not None and low > high:
            raise ValueError(f"saliency_background ({low}) must not be above saliency_foreground ({high})")
        return self


class Boxes(Section):
    """How seeds.boxes makes seeds of boxes. A box that fills the photograph, or in which nothing is found, gives its
    core alone."""

    cuts: Annotated[int, Field(gt=0, le=1000)] = 5
    """'grabcut': how often each box is cut, with edges and core moved a little."""
    size: Side = 192
    """Long side, in pixels, to which a box and its surroundings are brought to be cut and refined; smaller ones stay as
    they are."""
    foreground: Fraction = 0.7
    """A pixel is the object where more than this share of the cuts say so."""
    background: Fraction = 0.2
    """A pixel of the box is background where less than this share of the cuts take it for the object; 0 gives no
    background in boxes."""
    crf: bool = True
    """The dense CRF has to agree on both: it refines the object that is cut at each of the two thresholds."""
    fill: Fraction = 0.5
    """What is not background must fill this share of the box; else what was found is dropped and the core taken."""
    core: Fraction = 0.2
    """Share of the box's area, in its middle, that is taken for the object."""

    @model_validator(mode="after")
    def _check(self) -> Boxes:
        if self.background > self.foreground:
            raise ValueError(f"background ({self.background}) must not be above foreground ({self.foreground})")
        return self


class Saliency(Section):
    """Class-agnostic saliency maps of the training photographs, for seeds.background. Their networks have seen masks,
    though of no class."""

    weights: str | None = None
    """Network that makes them: 'u2net', 'u2netp' or 'isnet', to be downloaded; an ONNX file of U2-Net or IS-Net, told
    apart by the size of its input; 'auto' for u2netp where onnxruntime (dsrg[saliency]), which all of them need, is
    installed; or null for none."""

    @field_validator("weights")
    @classmethod
    def _decide(cls, weights: str | None) -> str | None:
        """A run is then what it was, whatever is installed later."""
        if weights != "auto":
            return weights
        return "u2netp" if importlib.util.find_spec("onnxruntime") else None


class Corrections(Section):
    """True masks of some of the training photographs, drawn or corrected by a person (dsrg pick, dsrg import-masks)."""

    masks: Path | None = None
    """Folder of these masks, <id>.png, relative to data.root, such as SegmentationClass, where dsrg import-masks puts
    them. Retraining learns from them, without distillation, instead of those photographs' pseudo-labels. null uses
    none."""
    weight: Annotated[int, Field(gt=0, le=1000)] | None = None
    """How often retraining draws a photograph that has a true mask where it draws each of the others once; null for as
    often as makes them half of what is drawn, but 40 times at most. The length of the training stays."""
    seeds: bool = False
    """DSRG training takes them too, as seeds of every pixel. Other true masks then need a new DSRG training and new
    pseudo-labels; without it they need retraining alone."""
    teach: bool = False
    """Before retraining, they teach a small network to correct the masks of all other photographs, which retraining
    then learns from (retrain/masks). The masks become better, the network on voc6 did not. It takes a DSRG network that
    has not seen them: leave seeds false."""


class Crf(Section):
    """The dense CRF (Krähenbühl & Koltun 2011)."""

    engine: Annotated[str, OneOf(tables.CRF_ENGINES, ("auto",))] = "auto"
    """'pydensecrf' approximates on a lattice, 'permutohedral' does the same in PyTorch alone; 'exact' stores all pairs
    (for small grids); 'tiled' is exact on CUDA at any size; 'auto' picks by size, device and what is installed."""
    iterations: Annotated[int, Field(gt=0, le=1000)] = 10
    """Mean-field iterations."""
    bilateral_sxy: Positive = 80.0
    """Bilateral kernel: position deviation in pixels of the full-size photograph."""
    bilateral_srgb: Positive = 13.0
    """Bilateral kernel: colour deviation, of 255."""
    bilateral_weight: NonNegative = 10.0
    """Bilateral kernel: weight."""
    gaussian_sxy: Positive = 3.0
    """Gaussian kernel: position deviation in pixels of the full-size photograph."""
    gaussian_weight: NonNegative = 3.0
    """Gaussian kernel: weight."""
    long_side: Side | None = None
    """Long side, in pixels, of the photographs for which the position deviations are given: those of a larger or
    smaller photograph are so in proportion. null takes them as pixels of any photograph, as published."""
    train_scale: Positive = 12.0
    """Position deviations are divided by this on the training grid."""
    train_unary: Literal["log", "probability"] = "log"
    """Unary energy on the training grid: -log p, or -p as in the authors' released code, which weighs the network less
    and the photograph more."""
    tags: bool = True
    """Let only the image's own classes take part where the image-level labels are known."""

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `dsrg.crf.dense_crf` on photographs."""
        return self.on_grid(1.0) | ({} if self.long_side is None else {"long_side": self.long_side})

    def on_grid(self, scale: float, shape: Sequence[int] | None = None) -> dict[str, Any]:
        """The same on a grid, position deviations divided by `scale`.

        Args:
            scale: Pixels of the photograph for each of the grid.
            shape: (H, W) of the photograph, for `long_side`; None on the training grid, whose scale says all.
        """
        if shape is not None and self.long_side is not None:
            scale *= self.long_side / max(shape)
        return {
            "engine": self.engine,
            "iterations": self.iterations,
            "bilateral_sxy": self.bilateral_sxy / scale,
            "bilateral_srgb": self.bilateral_srgb,
            "bilateral_weight": self.bilateral_weight,
            "gaussian_sxy": self.gaussian_sxy / scale,
            "gaussian_weight": self.gaussian_weight,
        }


class Grow(Section):
    """Seeded region growing during DSRG training."""

    enabled: bool = True
    """Grow the seeds; false trains on the seeds as they are."""
    on: Literal["crf", "softmax"] = "crf"
    """Grow on the CRF's output, as published, or on the network's own softmax."""
    theta_fg: Fraction = 0.85
    """Probability above which a foreground pixel joins."""
    theta_bg: Fraction = 0.99
    """Probability above which a background pixel joins."""
    warmup: NonNegativeInt = 0
    """Iterations before growing starts; growing on an untrained network's CRF floods the image."""


class Losses(Section):
    """Parts of the DSRG loss, each switched by its name in `tables.LOSSES`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool] = Field(init=False)  # what other programs add to the table

    seed: bool = True
    """Balanced seed loss (Eq. 1)."""
    boundary: bool = True
    """Boundary loss: KL from the CRF's output to the network's."""

    @model_validator(mode="after")
    def _check(self) -> Losses:
        for name in self.__pydantic_extra__:
            if name not in tables.LOSSES:
                raise PydanticCustomError("extra_forbidden", "unknown", {"key": name})
        if not self.enabled:
            raise ValueError(f"{' and '.join(tables.LOSSES)} are off; switch one on, there is nothing to train on")
        return self

    @property
    def enabled(self) -> list[str]:
        """Names of the losses that are added up."""
        return [name for name in tables.LOSSES if getattr(self, name, False)]
