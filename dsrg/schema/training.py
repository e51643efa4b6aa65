"""The networks and their trainings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dsrg import grid, tables
from dsrg.schema.kinds import (
    Channels,
    ChannelsOrNone,
    Fraction,
    Grid,
    NonNegative,
    NonNegativeInt,
    OneOf,
    Positive,
    PositiveInt,
    Rates,
    Scale,
    Section,
)


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
    (batch norm without parameters): useful if the backbone is frozen, since its features may have any scale."""
    freeze_batch_norm: bool = True
    """Keep the batch-norm statistics and parameters of `weights`; needs weights."""
    freeze_stages: Annotated[int, Field(ge=0, le=5)] = 0
    """Leading backbone stages that do not train: one for each halving of the resolution; of a ViT the embedding, and
    the quarters of its blocks."""
    cache_features: bool = False
    """Compute what the frozen stages give once for each photograph and its mirror image, keep it in features_dir, and
    train on that, in half precision. Needs freeze_stages, resize = warp and colour = 0."""
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
    head: Literal["gap", "acol", "own"] = "gap"
    """'gap': global pooling and a linear layer (CAM); 'acol': two classifiers, of which the second does not see what
    the first has found (ACoL); 'own': the fully connected layers that AlexNet and VGG16 were published with, which have
    no CAM: the baseline of the CAM paper's tables."""
    pooling: Literal["avg", "max"] = "avg"
    """'gap': global pooling before the linear layer."""
    conv: ChannelsOrNone = 0
    """'gap': filters of a 3 x 3 convolution before the pooling; 0 for none. The CAM paper adds one of 1024 to AlexNet,
    VGG16 and GoogLeNet, which are then cut off before their last halving (conv5, conv5-3, inception4e), as there."""
    convs: Annotated[int, Field(ge=1, le=8)] = 1
    """'gap': how many such convolutions, one after the other; the CAM paper's AlexNet* has two."""
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
        if self.head == "own" and (self.conv or self.pooling != "avg"):
            raise ValueError("head = own has fully connected layers; leave conv at 0 and pooling at avg")
        if self.convs > 1 and not self.conv:
            raise ValueError(f"convs = {self.convs} needs conv, the filters of each, which is 0; set it to 512, say")
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
    freeze_stages: Annotated[int, Field(ge=0, le=5)] | None = None
    """Leading backbone stages that do not train here and under full supervision, model.freeze_stages or fewer of them;
    null for as many. With fewer, the last ones learn from the masks what they could not learn from seeds."""
    distill: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the DSRG network's own probabilities, among a photograph's classes and weighed by saliency as its masks
    are, in what retraining learns beside the masks: soft labels where that network is unsure. Full supervision has
    none."""
    rounds: PositiveInt = 1
    """Trainings one after another: each from the second on learns from the masks of the network before, made as the
    section masks says. retrain.iterations is the length of one."""
    settled: Fraction = 0.99
    """No further round where this share of the training photographs' pixels keeps its label."""
    start: Literal["fresh", "dsrg"] = "fresh"
    """Where retraining starts: as DSRG training did, or at the network that it made. Full supervision starts fresh."""


class Supervised(Section):
    """The same network and schedule as retraining, on ground-truth masks: the upper bound."""

    enabled: bool = True
    """Train it; needs masks of the training split."""
    iterations: PositiveInt | None = None
    """Optimiser steps; null for retraining's. Where retraining starts at the DSRG network (retrain.start), the sum of
    dsrg.iterations and retrain.iterations gives both sides the same length."""
