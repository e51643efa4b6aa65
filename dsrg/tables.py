"""What a setting may name: one table for each kind of part, one line for each part.

A part is a module, or something in one, that is imported when it is chosen and not before. So the settings and the
command line know all names without loading PyTorch, and an addition is one file and one line here. What an option may
name stands here for the same reason. Other programs add lines at run time, before they read a configuration:

    tables.CRF_ENGINES["mine"] = "my_package.my_engine"

Processes that help (the CRF's, the data loader's) import the main program anew, so the line must stand where an import
runs it: in a module, not below `if __name__ == "__main__"`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Backbone:
    """What the settings must know of a backbone before it is built."""

    place: str
    """Its `dsrg.models.architectures.Architecture`."""
    batch_norm: bool = True
    """Whether it has batch norm, whose statistics must come from trained weights to be frozen."""
    without_batch_norm: tuple[str, ...] = ()
    """Of a family: how the names of those that have none begin."""
    cut: bool = False
    """Whether the CAM paper cuts it off before its last halving, under convolutions of the classifier's own."""
    cut_weights: bool = False
    """Whether what is cut off has weights, which a network that is not cut then lacks."""
    fc: bool = False
    """Whether fc6 and fc7 of DeepLab's branches can start from its fully connected layers."""
    own_head: bool = False
    """Whether its own classification head has fully connected layers (classifier.head = own); where it has none, the
    head is global average pooling and one linear layer (gap)."""


NAMED_WEIGHTS = ("torchvision", "timm")
"""What model.weights may be besides a path: the weights that the backbone's own library downloads."""
BACKBONES = {
    "mobilenet_v2": Backbone("dsrg.models.architectures:MOBILENET_V2"),
    "resnet18": Backbone("dsrg.models.architectures:RESNET18"),
    "resnet50": Backbone("dsrg.models.architectures:RESNET50"),
    "resnet101": Backbone("dsrg.models.architectures:RESNET101"),
    "vgg16": Backbone("dsrg.models.architectures:VGG16", batch_norm=False, cut=True, fc=True, own_head=True),
    "alexnet": Backbone("dsrg.models.architectures:ALEXNET", batch_norm=False, cut=True, own_head=True),
    "googlenet": Backbone("dsrg.models.architectures:GOOGLENET", cut=True, cut_weights=True),
    "nin": Backbone("dsrg.models.nin:NIN", batch_norm=False),
}
"""Networks without their classification head, by torchvision's names; NIN, which torchvision lacks, has no weights to
download."""
BACKBONE_FAMILIES = {
    "timm/": Backbone(
        "dsrg.models.timm_network:architecture",
        without_batch_norm=tuple(
            f"timm/{name}" for name in ("aimv2", "beit3", "convnext", "deit", "eva", "flexivit", "test_vit", "vit_")
        ),
    )
}
"""Networks that another library names after this beginning; the place is a function from the whole name."""


@dataclass(frozen=True)
class Maps:
    """A way to show where a classifier looked."""

    place: str
    """A function of (model, images, classes), as those of `dsrg.explain`."""
    title: str
    """What the papers call them."""
    head: str | None = None
    """The classifier.head that has such maps; None where every one has."""
    seeds: bool = True
    """Whether seeds can be cut from them (seeds.source)."""
    dense: bool = False
    """Whether the classifier's `activation_maps` gives those of all classes in one pass."""
    per_cell: bool = False
    """Whether a map of twice the side is a quarter as high, so that scales are weighed by the cells of their grids."""
    erases: bool = False
    """Whether a class's map depends on the photograph's other labels, which the classifier erases. The lowest value of
    such a map says nothing: it is subtracted, or no pixel would be below a background threshold."""


MAPS = {
    "cam": Maps("dsrg.explain:cam", "CAM", head="gap", dense=True),
    "grad_cam": Maps("dsrg.explain:grad_cam", "Grad-CAM", per_cell=True),
    "grad_cam_pp": Maps("dsrg.explain:grad_cam_pp", "Grad-CAM++"),
    "saliency": Maps("dsrg.explain:saliency", "saliency", seeds=False),
    "saliency_cut": Maps("dsrg.run.graph_cut:saliency_graph_cut", "saliency and GraphCut", seeds=False),
    "acol": Maps("dsrg.explain:acol", "ACoL", head="acol", dense=True, erases=True),
}
"""Maps of a trained classifier."""
SEED_MAPS = [name for name, maps in MAPS.items() if maps.seeds]
"""What dsrg compare-seeds may compare."""


SALIENCY_CUES = ("saliency", "cam_saliency")
"""What seeds.background is where saliency maps are read."""


BOXES = {
    "rectangle": "dsrg.box_seeds:rectangle",
    "inner": "dsrg.box_seeds:inner",
    "grabcut": "dsrg.box_seeds:grabcut",
}
"""Ways to tell the object in a box from what is around it (seeds.boxes): functions of (pixels, box, core=, cuts=), as
those of `dsrg.box_seeds`."""


SUPERPIXELS = ("slic",)
"""What masks.segments is where superpixels vote; any other text names a folder."""


@dataclass(frozen=True)
class SaliencyInput:
    """What a network of saliency was trained to see."""

    size: int
    """Side of the square, in pixels; a file of the user's is told by it."""
    mean: tuple[float, float, float]
    """Of the colours in 0..1, subtracted."""
    deviation: tuple[float, float, float]
    """Of the colours, divided by."""
    by_maximum: bool
    """Whether the colours come to 0..1 by the photograph's largest value, and not by 255."""


U2NET = SaliencyInput(320, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), by_maximum=True)
ISNET = SaliencyInput(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), by_maximum=False)


@dataclass(frozen=True)
class Saliency:
    """A network of class-agnostic saliency, to be downloaded as an ONNX file."""

    url: str
    md5: str
    sees: SaliencyInput


_REMBG = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"
SALIENCY = {
    "u2net": Saliency(f"{_REMBG}/u2net.onnx", "60024c5c889badc19c04ad937298a77b", U2NET),
    "u2netp": Saliency(f"{_REMBG}/u2netp.onnx", "8e83ca70e441ab06c318d82300c84806", U2NET),
    "isnet": Saliency(f"{_REMBG}/isnet-general-use.onnx", "fc16ebd8b0c10d971d3513d564d01e29", ISNET),
}
"""Networks that saliency.weights may name: U2-Net and its small sibling (Qin et al., "U2-Net: Going Deeper with Nested
U-Structure for Salient Object Detection", Pattern Recognition 2020), IS-Net (Qin et al., "Highly Accurate Dichotomous
Image Segmentation", ECCV 2022), as the project rembg exported them."""


@dataclass(frozen=True)
class Loss:
    """A part of the DSRG loss, logged as <name>_loss."""

    place: str
    """A function of (probs, target), as those of `dsrg.losses`."""
    target: Literal["grown", "refined"]
    """What it holds the probabilities against: the grown seeds (B, h, w), or the CRF's output (B, C, h, w)."""


LOSSES = {
    "seed": Loss("dsrg.losses:seed_loss", "grown"),
    "boundary": Loss("dsrg.losses:boundary_loss", "refined"),
}
"""Parts of the DSRG loss; the settings switch each on or off (losses.<name>)."""
CRF_ENGINES = {
    "exact": "dsrg.mean_field.exact",
    "permutohedral": "dsrg.mean_field.permutohedral",
    "pydensecrf": "dsrg.mean_field.pydensecrf",
    "tiled": "dsrg.mean_field.tiled",
}
"""Engines of the dense CRF. Each module has `mean_field`, `rank` and `refuse`, as `dsrg.mean_field.exact` has them."""


@dataclass(frozen=True)
class Format:
    """A format, besides the palette PNGs, in which `dsrg predict` writes masks."""

    place: str
    """A function from a `dsrg.predict.formats.Drawn` to the file's bytes; of a file of all masks together, from a
    `dsrg.predict.formats.Album`."""
    path: str
    """Of the file below the output folder; {name} is the picture's, and {file_name} that with its ending. Without them
    there is one file for all masks."""
    frames: bool = True
    """Whether the frames of a video have such files."""
    names_pictures: bool = False
    """Whether its files name the pictures, so that the frames of a video must be files too."""
    beside: tuple[Format, ...] = ()
    """Further files that belong to it."""

    @property
    def whole(self) -> bool:
        """Whether there is one file for all masks."""
        return "{" not in self.path


_COCO = "dsrg.predict.formats.coco"
_CVAT = "dsrg.predict.formats.cvat"
FORMATS = {
    "overlay": Format("dsrg.predict.formats.overlay:content", "overlays/{name}.jpg", frames=False),
    "coco": Format(f"{_COCO}:content", "annotations.json", names_pictures=True),
    "coco-polygons": Format(f"{_COCO}:polygon_content", "annotations-polygons.json", names_pictures=True),
    "datumaro": Format(
        f"{_COCO}:content",
        "datumaro/annotations/instances_default.json",
        beside=(Format("dsrg.predict.formats:photograph", "datumaro/images/default/{file_name}"),),
    ),
    "cvat": Format(
        f"{_CVAT}:class_mask",
        "cvat/SegmentationClass/{name}.png",
        beside=(
            Format(f"{_CVAT}:object_mask", "cvat/SegmentationObject/{name}.png"),
            Format(f"{_CVAT}:labelmap", "cvat/labelmap.txt"),
            Format(f"{_CVAT}:image_list", "cvat/ImageSets/Segmentation/default.txt"),
        ),
    ),
    "label-studio": Format(
        "dsrg.predict.formats.label_studio:content",
        "label-studio/tasks.json",
        names_pictures=True,
        beside=(Format("dsrg.predict.formats.label_studio:config", "label-studio/config.xml"),),
    ),
    "labelme": Format("dsrg.predict.formats.labelme:content", "labelme/{name}.json", names_pictures=True),
}
"""What --formats may name besides png."""


def files_of(formats: Iterable[str] | None = None) -> dict[str, Format]:
    """The files of formats, or of all, of each its own and those beside it; by a name for each."""
    found: dict[str, Format] = {}
    for name, line in FORMATS.items():
        if formats is None or name in formats:
            found |= {name: line} | {f"{name}+{number}": more for number, more in enumerate(line.beside)}
    return found


@dataclass(frozen=True)
class Pack:
    """A way in which `dsrg pick` packs photographs with their masks."""

    place: str
    """A function that writes into a folder, with images/, the masks of class names and pairs of file name and mask."""
    what: str


PACKS = {
    "labelme": Pack("dsrg.predict.formats.packs:labelme", "JSON with polygons beside each photograph"),
    "coco": Pack("dsrg.predict.formats.packs:coco", "annotations.json, for CVAT and others"),
    "masks": Pack("dsrg.predict.formats.packs:indices", "index PNG with labelmap.txt, CVAT's Segmentation mask"),
}
"""What dsrg pick --format may name."""
EXPORTS = ("onnx", "safetensors")
"""What dsrg export writes."""
ENGINES = ("auto", "torch", "onnx")
"""What may compute predictions: PyTorch or ONNX Runtime."""
HIGH_REGION = 0.5
"""Share of a map's maximum above which its high region lies, unless the user says otherwise."""
PROBED = ("imagenet", "classifier")
"""What dsrg probe and dsrg vqa may look at: the features of model.weights, or of the run's trained classifier."""
ABLATION = (
    *("seed_loss", "boundary_loss", "grow_softmax", "grow_crf"),
    *("retraining", "gate", "tags_alone", "supervised"),
)
"""What dsrg ablate may train, in the order of its table."""


def backbone(name: str) -> Backbone:
    """The line of a backbone; raises KeyError where there is none."""
    for beginning, line in BACKBONE_FAMILIES.items():
        if name.startswith(beginning) and name not in BACKBONES:
            return replace(line, batch_norm=line.batch_norm and not name.startswith(line.without_batch_norm))
    return BACKBONES[name]


def maps_of(head: str) -> list[str]:
    """Names of the maps that a classifier with this classifier.head has; the first is the one that it alone has."""
    names = [name for name, maps in MAPS.items() if maps.head in (None, head)]
    return sorted(names, key=lambda name: MAPS[name].head != head)


def part(place: str) -> Any:
    """The module 'package.module', or what 'package.module:name' names in it."""
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found
