"""A whole run: all sections, and what must hold between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from dsrg import grid, tables
from dsrg.schema.kinds import Section
from dsrg.schema.prediction import Localize, Masks, Test
from dsrg.schema.supervision import Boxes, Cam, Corrections, Crf, Grow, Losses, Saliency, Seeds
from dsrg.schema.training import Classifier, Dsrg, Model, Retrain, Supervised, Train


class Data(Section):
    """Where the photographs, image-level labels, splits and (for measuring) masks are."""

    root: Path = Path("data/demo")
    """Folder of the data set, in VOC's layout; the paths below are relative to it."""
    images: Path = Path("JPEGImages")
    """Folder of the photographs, <id>.jpg (or .jpeg, .png)."""
    masks: Path = Path("SegmentationClass")
    """Folder of ground-truth masks, <id>.png. Read only for measuring, for full supervision and, if it is named there,
    for corrections.masks; may be missing."""
    splits: Path = Path("ImageSets/Segmentation")
    """Folder of the split files, <split>.txt with one id a line."""
    classes: str = "classes.txt"
    """Class list, 'background' first: a file below root, or the preset 'voc' or 'coco'."""
    labels: Path = Path("image_labels.csv")
    """Image-level labels: a table with the columns image and labels (names divided by ;), or a folder of
    VOC XML annotations."""
    annotations: Path = Path("Annotations")
    """Folder of VOC XML annotations, <id>.xml. Their boxes measure localisation (masks do if there are none), and are
    learnt from if seeds.boxes says so."""
    train_split: str = "train"
    """Split to learn from."""
    val_split: str = "val"
    """Split to measure on."""


class Config(Section):
    """A whole run."""

    run_dir: Path = Path("runs/default")
    """Folder of everything the run writes."""
    shared: Path | None = None
    """Folder of another run whose classifier/, cams/, saliency/ and seeds/ this one uses instead of making its own.
    They keep that run's random seed; their other settings must be this run's."""
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
    run_dir, or in the folder that `shared` names."""
    trackers: Annotated[tuple[Literal["mlflow", "wandb"], ...], Field(max_length=2)] = ()
    """Experiment trackers that get each training's figures, besides TensorBoard: mlflow, wandb."""
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    """Processes that load and augment photographs, and refine masks."""
    data: Data = Data()
    model: Model = Model()
    classifier: Classifier = Classifier()
    cam: Cam = Cam()
    saliency: Saliency = Saliency()
    seeds: Seeds = Seeds()
    boxes: Boxes = Boxes()
    crf: Crf = Crf()
    grow: Grow = Grow()
    losses: Losses = Losses()
    dsrg: Dsrg = Dsrg()
    masks: Masks = Masks()
    corrections: Corrections = Corrections()
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

    @property
    def needs_classifier(self) -> bool:
        """Whether the classifier serves more than the maps."""
        return self.model.init == "classifier" or self.test.gate

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
        if (self.retrain.freeze_stages or 0) > self.model.freeze_stages:
            raise ValueError(
                f"retrain.freeze_stages ({self.retrain.freeze_stages}) must not be above model.freeze_stages "
                f"({self.model.freeze_stages})"
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
        if self.retrain.freeze_stages == 0:
            raise ValueError("model.cache_features needs retrain.freeze_stages above 0, or null")
        for name in ("classifier", "dsrg", "retrain"):
            section: Train = getattr(self, name)
            if section.resize != "warp" or section.colour:
                raise ValueError(
                    f"model.cache_features needs {name}.resize = warp and {name}.colour = 0, for it keeps the features "
                    f"of whole photographs; they are {section.resize} and {section.colour:g}"
                )
        return self

    @model_validator(mode="after")
    def _check_own_head(self) -> Config:
        if self.classifier.head != "own":
            return self
        name = self.model.backbone
        if not tables.backbone(name).own_head:
            known = " and ".join(key for key, line in tables.BACKBONES.items() if line.own_head)
            raise ValueError(
                f"classifier.head = own is for {known}, whose heads are fully connected; that of {name} is global "
                "pooling and one linear layer, which is classifier.head = gap"
            )
        for section, stride in (("classifier", self.classifier.output_stride), ("cam", self.cam.output_stride)):
            if stride not in (None, 32):
                raise ValueError(f"{section}.output_stride = {stride}: classifier.head = own has {name}'s own, 32")
        if self.test.gate:
            raise ValueError("test.gate needs classifier.head = gap or acol; own is a baseline of the boxes alone")
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
