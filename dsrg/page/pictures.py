"""Pictures inside the page, as data URIs: each photograph once, and over it its CAM and the colours of its masks."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib import colormaps
from PIL import Image

from dsrg.data.voc import Photo
from dsrg.draw import heatmap, tiles
from dsrg.files import pictures
from dsrg.labels import IGNORE, Classes, palette
from dsrg.run.folder import Run
from dsrg.run.table import predictions_of
from dsrg.study import failures
from dsrg.study.examples import Example
from dsrg.study.failures import Failure

SIDE = 384
"""Long side of a picture, in pixels, at most."""
QUALITY = 80
"""Of WebP, in 0..100."""
LAYERS = {
    "cam": "CAM",
    "seeds": "seeds",
    "grown": "grown seeds",
    "mask": "mask",
    "prediction": "prediction",
    "truth": "truth",
}
"""What can lie over a photograph, in the pipeline's order, and its name on the page."""
SHOWN_FIRST = ("mask", "grown", "seeds", "cam", "prediction", "truth")
"""The layer that a photograph starts with is the first of these that it has."""


@dataclass(frozen=True)
class Chip:
    """A class with its colour."""

    name: str
    colour: str
    """As CSS writes it."""
    iou: float | None = None


@dataclass(frozen=True)
class Card:
    """A photograph and its layers."""

    id: str
    width: int
    height: int
    photo: str
    """A data URI."""
    layers: Mapping[str, str]
    """Data URIs by the keys of LAYERS; those that there are not are left out."""
    first: str
    """The layer to start with; '' where there is none."""
    labels: Sequence[Chip]
    """The classes of its image-level labels."""


@dataclass(frozen=True)
class Ranked:
    """A validation photograph, its prediction and truth."""

    card: Card
    iou: float
    kind: str
    """The kind of most of its wrong pixels; '' where it has no majority."""
    confusion: str
    """The confusion of the most pixels in words; '' without errors."""
    void: float
    """Share of the photograph whose truth is void."""
    classes: Sequence[Chip]
    """IoU of the classes that occur."""


def card(example: Example, classes: Classes) -> Card:
    """An example of the training split with the layers of every stage that has run."""
    masks = {name: getattr(example, name) for name in LAYERS if name != "cam"}
    return _card(example.photo, example.picture, example.cam, masks, classes)


def _card(
    photo: Photo, picture: np.ndarray, cam: np.ndarray | None, masks: Mapping[str, np.ndarray | None], classes: Classes
) -> Card:
    small = tiles.fit(picture, min(SIDE, max(picture.shape[:2])))
    height, width = small.shape[:2]
    layers = {}
    if cam is not None:  # in the colours of all heat maps here
        colours = colormaps[heatmap.COLOUR_MAP](heatmap.resize(cam, (height, width)).clip(0, 1), bytes=True)
        layers["cam"] = photo_uri(colours[..., :3])
    layers |= {name: _mask(mask, (height, width)) for name, mask in masks.items() if mask is not None}
    first = next((name for name in SHOWN_FIRST if name in layers), "")
    labels = [Chip(classes.names[index], colour(index)) for index in photo.own]
    return Card(photo.id, width, height, photo_uri(small), layers, first, labels)


def ranked(run: Run, failure: Failure, network: str) -> Ranked:
    """A validation photograph with its prediction by `network` ('dsrg', 'retrain' or 'supervised') and its truth."""
    photo, counts = failure.photo, failure.matrices[network].counts
    masks = {
        "prediction": pictures.read_mask(run.stage(predictions_of(network)).directory / f"{photo.id}.png"),
        "truth": pictures.read_mask(run.folder.mask_path(photo)),
    }
    values = run.classes.by_name(failure.matrices[network].iou()).items()
    kind = failures.category(counts)
    return Ranked(
        card=_card(photo, np.array(pictures.read_image(photo.path)), None, masks, run.classes),
        iou=failure.miou(network),
        kind=kind if kind in failures.KINDS else "",
        confusion=failures.worst_confusion(counts, run.classes) or "",
        void=failure.void,
        classes=[Chip(name, colour(index), iou) for index, (name, iou) in enumerate(values) if iou is not None],
    )


def colour(index: int) -> str:
    """A class's colour in every picture, as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*palette()[index].tolist())


def photo_uri(picture: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a data URI."""
    return _uri(Image.fromarray(picture), "WEBP", quality=QUALITY, method=6)


def _mask(mask: np.ndarray, size: tuple[int, int]) -> str:
    """Class indices (H, W) in the palette's colours; what is unlabelled or void is white."""
    small = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
    colours = palette()
    colours[IGNORE] = 255
    image = Image.fromarray(small)
    image.putpalette(colours.tobytes())
    return _uri(image, "PNG", optimize=True)


def _uri(image: Image.Image, kind: str, **settings: object) -> str:
    content = base64.b64encode(pictures.encoded(image, kind, **settings)).decode()
    return f"data:image/{kind.lower()};base64,{content}"
