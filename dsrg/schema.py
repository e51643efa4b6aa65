"""Every setting of a run, typed, with its meaning as a docstring below it.

The defaults are mostly the authors' settings for VGG16 on VOC 2012 (Huang et al., CVPR 2018); all of those that they
released are configs/voc12/vgg16_official.yaml.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from dsrg import grid, tables


@dataclass(frozen=True)
class OneOf:
    """Annotation of a text that must be a name in a table; what other programs add to the table counts too."""

    table: Mapping[str, Any]
    besides: tuple[str, ...] = ()
    """Names that the table has not."""
    fits: Callable[[Any], bool] = lambda line: True
    """Which lines of the table count."""
    beginnings: tuple[str, ...] = ()
    """Beginnings behind which any name fits."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that fit."""
        return (*self.besides, *(name for name, line in self.table.items() if self.fits(line)))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, name: str) -> str:
        if name not in self.names and not name.startswith(self.beginnings):
            *most, last = map(repr, (*self.names, *(f"{beginning}<name>" for beginning in self.beginnings)))
            expected = f"{', '.join(most)} or {last}" if most else last
            raise PydanticCustomError("one_of", "Input should be {expected}", {"expected": expected})
        return name


# Upper bounds are far above what anybody means: they stop a slip of the hand before it asks for all of the memory.
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
PositiveInt = Annotated[int, Field(gt=0, le=10**9)]
NonNegativeInt = Annotated[int, Field(ge=0, le=10**9)]
Channels = Annotated[int, Field(gt=0, le=8192)]
ChannelsOrNone = Annotated[int, Field(ge=0, le=8192)]
Side = Annotated[int, Field(gt=0, le=16_384)]
Scale = Annotated[float, Field(ge=0.01, le=10)]
Scales = Annotated[tuple[Scale, ...], Field(min_length=1, max_length=16)]
Merge = Literal["probabilities", "logits"]
Grid = Literal[4, 8, 16, 32] | None
Rates = Annotated[tuple[Annotated[int, Field(gt=0, le=256)], ...], Field(min_length=1, max_length=16)]


class Section(BaseModel):
    """Base of every section: unknown keys are refused, field docstrings become descriptions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), frozen=True)


class Data(Section):
    """Where the photographs, image-level labels, splits and (for measuring) masks are."""

    root: Path = Path("data/demo")
    """Folder of the data set, in VOC's layout; the paths below are relative to it."""
    images: Path = Path("JPEGImages")
    """Folder of the photographs, <id>.jpg (or .jpeg, .png)."""
    masks: Path = Path("SegmentationClass")
    """Folder of ground-truth masks, <id>.png. Read for measuring and for full supervision only; may be missing."""
    splits: Path = Path("ImageSets/Segmentation")
    """Folder of the split files, <split>.txt with one id a line."""
    classes: str = "classes.txt"
    """Class list, 'background' first: a file below root, or the preset 'voc' or 'coco'."""
    labels: Path = Path("image_labels.csv")
    """Image-level labels: a table with the columns image and labels (names divided by ;), or a folder of
    VOC XML annotations."""
    annotations: Path = Path("Annotations")
    """Folder of VOC XML annotations, <id>.xml, whose boxes measure localisation; may be missing: then masks do."""
    train_split: str = "train"
    """Split to learn from."""
    val_split: str = "val"
    """Split to measure on."""


class Model(Section):
    """The networks. Both stages share the backbone."""

    backbone: Annotated[str, OneOf(tables.BACKBONES, beginnings=tuple(tables.BACKBONE_FAMILIES))] = "vgg16"
    """Network without its classification head: one of torchvision's, or timm/<name>, a ViT or a convolutional network
    of timm's."""
    weights: str | None = "torchvision"
    """ImageNet weights: 'torchvision' downloads them (for a backbone of timm's, timm's own, as 'timm' does); a file in
    that library's layout; or null (random)."""
    init: Literal["weights", "classifier"] = "weights"
    """Where the segmentation networks' backbone starts: at `weights`, or at the trained stage-1 classifier."""
    output_stride: Literal[8, 16, 32] = 8
    """Photograph pixels for each cell of the segmentation network's output grid; 8 gives 321 -> 41. A ViT sees the
    photograph resized by its patch over this: patches of 16 at stride 8 are four times the work of stride 16."""
    aspp_rates: Rates = (6, 12, 18, 24)
    """Dilation of each ASPP branch."""
    aspp_channels: ChannelsOrNone = 1024
    """Width of fc6 and fc7 in each branch; 0 for one convolution straight to the classes."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Dropout after fc6 and fc7."""
    pool_features: bool = False
    """Average the backbone's features over 3 x 3 cells before the branches, as the authors' released network does."""
    standardise: bool = False
    """Bring each of the backbone's features to mean 0 and deviation 1 over the training photographs before the branches
    (batch norm without parameters): of use where the backbone is frozen, for its features have any scale."""
    freeze_batch_norm: bool = True
    """Keep the batch-norm statistics and parameters of `weights`; needs weights."""
    freeze_stages: Annotated[int, Field(ge=0, le=5)] = 0
    """Leading backbone stages that do not train: one for each halving of the resolution; of a ViT the embedding, and
    the quarters of its blocks."""
    cache_features: bool = False
    """Compute what the frozen stages give once for each photograph and its mirror image, keep it in features_dir, and
    train on that: many times faster, in half precision. Needs freeze_stages, resize = warp and colour = 0."""
    neck: bool = True
    """Keep the 1 x 1 convolution that widens the last features before the pooling (320 to 1,280 channels in MobileNetV2
    and EfficientNet) in the segmentation networks too; false leaves it to the classifier."""


class Train(Section):
    """One training: input size, augmentation, optimiser and schedule."""

    iterations: PositiveInt = 8000
    """Optimiser steps."""
    epochs: Positive | None = None
    """Passes over the training split. Where set, `iterations` follows from it and from the number of photographs."""
    batch: Annotated[int, Field(gt=0, le=4096)] = 20
    """Photographs in a step, over all processes together."""
    size: Annotated[int, Field(ge=grid.SMALLEST, le=4097)] = 321
    """Side of the square network input, in pixels: a multiple of the network's output stride, and one."""
    resize: Literal["warp", "crop"] = "warp"
    """'warp' squeezes the whole photograph into the square; 'crop' scales at random and cuts a square out."""
    scale: tuple[Scale, Scale] = (0.5, 1.5)
    """Range of the random scale that precedes a crop."""
    mirror: bool = True
    """Mirror half of the photographs."""
    colour: Fraction = 0.0
    """Strength of random brightness, contrast and saturation."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, as published; or AdamW, which learns faster from random weights."""
    lr: Positive = 5e-4
    """Base learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""
    weight_decay: NonNegative = 5e-4
    """Decay of weights; biases have none."""
    bias_multiplier: Positive = 2.0
    """Learning rate of biases, times the base rate."""
    backbone_multiplier: Positive = 1.0
    """Learning rate of the backbone, times the base rate: below 1 where it is trained and what stands on it is not."""
    last_multiplier: Positive = 10.0
    """Learning rate of the last layer, times the base rate (its biases: times bias_multiplier as well)."""
    schedule: Literal["step", "poly", "cosine", "constant"] = "step"
    """How the learning rate falls."""
    step_every: PositiveInt = 1000
    """Iterations between the falls of the step schedule."""
    step_gamma: Fraction = 0.33
    """Factor of each fall of the step schedule."""
    power: Positive = 0.9
    """Exponent of the poly schedule."""
    warmup: NonNegativeInt = 0
    """Iterations over which the learning rate rises linearly from zero."""
    log_every: PositiveInt = 20
    """Iterations between two lines of the log; each costs a wait for the device."""
    checkpoint_every: PositiveInt = 200
    """Iterations between two checkpoints."""

    @model_validator(mode="after")
    def _check(self) -> Train:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: the lower bound {self.scale[0]} is above the upper bound {self.scale[1]}")
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self


class Classifier(Train):
    """Stage 1: the classifier whose maps become seeds."""

    output_stride: Literal[8, 16, 32] = 16
    """Photograph pixels for each cell of the feature map while training."""
    head: Literal["gap", "acol"] = "gap"
    """'gap': global pooling and a linear layer (CAM); 'acol': two classifiers, the second of which does not see what
    the first has found (ACoL)."""
    pooling: Literal["avg", "max"] = "avg"
    """'gap': global pooling before the linear layer."""
    conv: ChannelsOrNone = 0
    """'gap': filters of a 3 x 3 convolution before the pooling; 0 for none. The CAM paper adds one of 1024 to AlexNet,
    VGG16 and GoogLeNet, which are then cut off before their last halving (conv5, conv5-3, inception4e), as there."""
    acol_channels: Channels = 1024
    """'acol': filters of each of the two 3 x 3 convolutions of a classifier. AlexNet, VGG16, GoogLeNet are cut too."""
    acol_threshold: Fraction = 0.6
    """'acol': the first classifier's map, brought to 0..1, above which the second does not see."""
    loss: Literal["multi_label", "single_label"] = "multi_label"
    """'multi_label': each class by itself (sigmoid); 'single_label': one class a photograph (softmax), the only one
    that its image-level labels name."""

    @model_validator(mode="after")
    def _check_head(self) -> Classifier:
        if self.head == "acol" and (self.conv or self.pooling != "avg"):
            raise ValueError("head = acol has its own convolutions and averages; leave conv at 0 and pooling at avg")
        return self


class Dsrg(Train):
    """DSRG training, on the seeds."""

    grid: Grid = None
    """Photograph pixels for each cell of the grid on which seeds grow and the CRF and the losses work; null for
    model.output_stride. The network's class scores are enlarged to a finer one."""


class Retrain(Train):
    """Ordinary supervised training: on the pseudo-labels, and on ground truth for the upper bound."""

    iterations: PositiveInt = 20_000
    """Optimiser steps."""
    batch: Annotated[int, Field(gt=0, le=4096)] = 10
    """Photographs in a step, over all processes together."""
    resize: Literal["warp", "crop"] = "crop"
    """'warp' squeezes the whole photograph into the square; 'crop' scales at random and cuts a square out."""
    lr: Positive = 1e-3
    """Base learning rate."""
    schedule: Literal["step", "poly", "cosine", "constant"] = "poly"
    """How the learning rate falls."""
    grid: Grid = None
    """Photograph pixels for each cell of the grid on which the loss works; null for every pixel."""
    distill: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the DSRG network's own probabilities, among a photograph's classes, in what retraining learns beside the
    masks: soft labels where that network is unsure. Full supervision has none."""
    start: Literal["fresh", "dsrg"] = "fresh"
    """Where retraining starts: as DSRG training did, or at the network that it made. Full supervision starts fresh."""


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
    thresholds: Literal["fixed", "otsu"] = "fixed"
    """'fixed' takes the two thresholds below; 'otsu' those that split the cube roots of the largest CAM over the whole
    training split best in three (Otsu 1979): without masks, without choosing."""
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
    alpha: Positive = 4.0
    """'power': the exponent; larger means less background."""
    saliency_dir: Path | None = None
    """'saliency', 'cam_saliency': folder of grey saliency maps, <id>.png; null for those by saliency.weights."""
    saliency_threshold: Fraction = 0.06
    """'saliency': background where the saliency is below this."""
    cam_foreground: Fraction = 0.15
    """'cam_saliency': a class's seed needs its CAM above this."""
    cam_background: Fraction = 0.3
    """'cam_saliency': background needs every class's CAM below this."""
    saliency_foreground: Fraction | None = None
    """'cam_saliency': a class's seed needs a saliency above this; null for the upper of the two thresholds
    that split the saliency over the whole training split best in three (Otsu 1979): without masks, without choosing."""
    saliency_background: Fraction | None = None
    """'cam_saliency': background needs a saliency below this; null for the lower of the two."""

    @model_validator(mode="after")
    def _check(self) -> Seeds:
        if self.background in ("cam", "auto") and self.background_threshold > self.foreground_threshold:
            raise ValueError(
                f"background_threshold ({self.background_threshold}) must not be above "
                f"foreground_threshold ({self.foreground_threshold})"
            )
        if self.background in ("power", "saliency") and (self.crf or self.thresholds != "fixed"):
            raise ValueError("crf = true and thresholds = otsu need background = cam, which has two thresholds")
        low, high = self.saliency_background, self.saliency_foreground
        if low is not None and high is not None and low > high:
            raise ValueError(f"saliency_background ({low}) must not be above saliency_foreground ({high})")
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


class Crf(Section):
    """The dense CRF (Krähenbühl & Koltun 2011)."""

    engine: Annotated[str, OneOf(tables.CRF_ENGINES, ("auto",))] = "auto"
    """'pydensecrf' approximates on a lattice; 'exact' stores all pairs (for small grids); 'tiled' is exact on CUDA at
    any size; 'auto' picks by size and device."""
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
    train_scale: Positive = 12.0
    """Position deviations are divided by this on the training grid."""
    train_unary: Literal["log", "probability"] = "log"
    """Unary energy on the training grid: -log p, or -p as in the authors' released code, which weighs the network less
    and the photograph more."""
    tags: bool = True
    """Let only the image's own classes take part where the image-level labels are known."""

    def arguments(self, scale: float = 1.0) -> dict[str, Any]:
        """Keyword arguments for `dsrg.crf.dense_crf`, position deviations divided by `scale`."""
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


class Test(Inference):
    """Predictions without image-level labels: of the validation split, of dsrg predict, of exported networks."""

    gate: bool = False
    """Multiply the probabilities of each foreground class by min(1, p / 0.5) before the CRF, with p the stage-1
    classifier's probability that the photograph shows it. All predictions then need the trained classifier."""


class Localize(Section):
    """Boxes from the classifier's maps."""

    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """The box is around the largest component of what is above this share of the map's maximum (Zhou et al. 2016)."""
    size: Side | None = None
    """Long side of the photographs, in pixels; null for their own size."""
    saliency_blur: NonNegative = 0.0
    """Deviation of the Gaussian, in pixels, that smooths saliency maps; 0 leaves them raw."""


class Masks(Inference):
    """Pseudo-labels of the training photographs."""

    confidence: Fraction = 0.0
    """Leave a pixel unlabelled where the network, before the CRF, gives its class a probability below this among the
    photograph's own classes; 0 labels all of them."""
    saliency: NonNegative = 0.0
    """Where the seeds are cut by saliency, let it speak here too, before the CRF: the odds of background are multiplied
    by ((1 - s) / s) to this power. 0 leaves it out, 1 counts it as much as the network."""


class Supervised(Section):
    """The same network and schedule as retraining, on ground-truth masks: the upper bound."""

    enabled: bool = True
    """Train it; needs masks of the training split."""
    iterations: PositiveInt | None = None
    """Optimiser steps; null for retraining's. Where retraining starts at the DSRG network (retrain.start), the sum of
    dsrg.iterations and retrain.iterations gives both sides the same length."""


class Config(Section):
    """A whole run."""

    run_dir: Path = Path("runs/default")
    """Folder of everything the run writes."""
    shared: Path | None = None
    """Folder of another run whose classifier/, cams/, saliency/ and seeds/ this one takes in place of making its own.
    That run's random seed stays theirs; their other settings must be this run's."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of every random number, below 2^31."""
    device: str = "auto"
    """'auto' (CUDA where present), 'cpu', 'cuda', 'cuda:1', 'mps'."""
    amp: bool = False
    """bfloat16 autocast in training and inference."""
    compile: bool = False
    """torch.compile for the networks in training: slow to start, so for long runs. Needs a C++ compiler."""
    features_dir: Path | None = None
    """Folder of the features that model.cache_features keeps, which several runs may share; null for features/ in
    run_dir."""
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    """Processes that load and augment photographs, and refine masks."""
    data: Data = Data()
    model: Model = Model()
    classifier: Classifier = Classifier()
    cam: Cam = Cam()
    saliency: Saliency = Saliency()
    seeds: Seeds = Seeds()
    crf: Crf = Crf()
    grow: Grow = Grow()
    losses: Losses = Losses()
    dsrg: Dsrg = Dsrg()
    masks: Masks = Masks()
    retrain: Retrain = Retrain()
    supervised: Supervised = Supervised()
    test: Test = Test()
    localize: Localize = Localize()

    @property
    def cue(self) -> str:
        """seeds.background, 'auto' decided: one of `dsrg.cam.BACKGROUND_CUES`, or 'cam_saliency'."""
        if self.seeds.background != "auto":
            return self.seeds.background
        return "cam" if self.seeds.saliency_dir is None and self.saliency.weights is None else "cam_saliency"

    @property
    def makes_saliency(self) -> bool:
        """Whether the seeds are cut by saliency maps that the run makes itself."""
        return self.cue in tables.SALIENCY_CUES and self.seeds.saliency_dir is None

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.shared is not None and self.shared.resolve() == self.run_dir.resolve():
            raise ValueError(f"shared ({self.shared}) is this run's own run_dir; name another run's, or null")
        normalised = tables.backbone(self.model.backbone).batch_norm
        if self.model.freeze_batch_norm and self.model.weights is None and normalised:
            raise ValueError("model.freeze_batch_norm needs model.weights; random batch norm must train")
        if self.grow.enabled and self.grow.warmup >= self.dsrg.iterations:
            raise ValueError(
                f"grow.warmup ({self.grow.warmup}) must be below dsrg.iterations ({self.dsrg.iterations}), "
                "or set grow.enabled=false"
            )
        if self.supervised.iterations is not None and self.retrain.warmup >= self.supervised.iterations:
            raise ValueError(
                f"retrain.warmup ({self.retrain.warmup}) must be below supervised.iterations "
                f"({self.supervised.iterations})"
            )
        if self.makes_saliency and self.saliency.weights is None:
            raise ValueError(
                f"seeds.background = {self.cue} needs saliency maps: name a folder of them in seeds.saliency_dir, or a "
                f"network that makes them in saliency.weights ({', '.join(tables.SALIENCY)})"
            )
        head, source = self.classifier.head, self.seeds.source
        own = [name for name in tables.maps_of(head) if tables.MAPS[name].seeds]
        if source not in own:
            raise ValueError(
                f"seeds.source = {source} needs classifier.head = {tables.MAPS[source].head}, which is {head}; set "
                f"seeds.source to {', '.join(own[:-1])} or {own[-1]}"
            )
        return self

    @model_validator(mode="after")
    def _check_sizes(self, info: ValidationInfo) -> Config:
        if (info.context or {}).get("trained"):  # before there was this check, at a size that is off the grid
            return self
        segmenter = ("model.output_stride", self.model.output_stride)
        sections = {
            "classifier": (self.classifier.size, "classifier.output_stride", self.classifier.output_stride),
            "dsrg": (self.dsrg.size, *segmenter),
            "retrain": (self.retrain.size, *segmenter),
        }
        for section, cells in (("dsrg", self.dsrg.grid), ("retrain", self.retrain.grid)):
            if cells is not None and cells > self.model.output_stride:
                raise ValueError(
                    f"{section}.grid = {cells} is coarser than model.output_stride = {self.model.output_stride}; "
                    "choose one as fine or finer"
                )
        for section, (size, key, stride) in sections.items():
            if not grid.fits(size, stride):
                below, above = grid.neighbours(size, stride)
                raise ValueError(
                    f"{section}.size = {size} is off the grid of {key} = {stride}, which has sizes of {stride} n + 1; "
                    f"choose {below} or {above}"
                )
        return self

    @model_validator(mode="after")
    def _check_cached(self) -> Config:
        if not self.model.cache_features:
            return self
        if not self.model.freeze_stages:
            raise ValueError("model.cache_features needs model.freeze_stages above 0: nothing else is frozen")
        for name in ("classifier", "dsrg", "retrain"):
            section: Train = getattr(self, name)
            if section.resize != "warp" or section.colour:
                raise ValueError(
                    f"model.cache_features needs {name}.resize = warp and {name}.colour = 0, for it keeps the features "
                    f"of whole photographs; they are {section.resize} and {section.colour:g}"
                )
        return self

    @model_validator(mode="after")
    def _check_cut(self) -> Config:
        name = self.model.backbone
        backbone = tables.backbone(name)
        if not backbone.cut or not (self.classifier.conv or self.classifier.head == "acol"):
            return self
        strides = {"classifier": self.classifier.output_stride, "cam": self.cam.output_stride}
        for section, stride in strides.items():
            if stride == 32:
                raise ValueError(
                    f"{section}.output_stride = 32: classifier.conv and head = acol cut {name} off at stride 16; "
                    "choose 8 or 16"
                )
        if backbone.cut_weights and self.model.init == "classifier":
            raise ValueError(
                f"model.init = classifier: classifier.conv and head = acol cut {name}'s last layers off, which the "
                "segmentation networks have; set model.init to weights"
            )
        return self
