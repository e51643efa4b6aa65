"""Masks as CVAT's "Segmentation mask 1.1": the layout of PASCAL VOC with a table of the classes and their colours.

    labelmap.txt                            name:red,green,blue:: of each class, background first
    ImageSets/Segmentation/default.txt      the photographs' names, without ending
    SegmentationClass/<name>.png            the classes, in these colours
    SegmentationObject/<name>.png           the objects, in VOC's colours of 1, 2, ...; background is 0

The network tells classes apart and not objects, so there is one object for each class of a photograph, as in COCO's
file. Datumaro (datumaro/plugins/data_formats/voc), by which CVAT reads it, refuses colours that the table lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dsrg.errors import InputError
from dsrg.files.pictures import encoded
from dsrg.labels import BACKGROUND, IGNORE, palette
from dsrg.predict.formats import Album, Drawn

VOID = "ignored"
"""What VOC, and so Datumaro, call pixels that are not counted."""


def class_mask(drawn: Drawn) -> bytes:
    """The classes of one picture."""
    return _painted(drawn.mask)


def object_mask(drawn: Drawn) -> bytes:
    """The objects of one picture."""
    present = np.unique(drawn.mask)
    numbers = np.full(IGNORE + 1, IGNORE, np.uint8)
    objects = present[(present != BACKGROUND) & (present != IGNORE)]
    numbers[objects] = np.arange(1, len(objects) + 1)
    numbers[BACKGROUND] = BACKGROUND
    return _painted(numbers[drawn.mask])


def _painted(mask: np.ndarray) -> bytes:
    # In colour and not by a palette, as CVAT paints them: some readers see a palette's indices for grey.
    return encoded(Image.fromarray(np.asarray(palette(), np.uint8)[mask]), "PNG")


def labelmap(album: Album) -> bytes:
    """The table of colours; it names pixels that are not counted where there are any.

    Raises:
        InputError: it cannot hold the name of a class.
    """
    return labelmap_of(album.classes, void=any((mask == IGNORE).any() for *_, mask in album.pictures))


def labelmap_of(classes: Sequence[str], *, void: bool) -> bytes:
    """The table of colours of these classes, background first; with `void`, of pixels that are not counted too.

    Raises:
        InputError: it cannot hold the name of a class.
    """
    wrong = next((name for name in classes if ":" in name or name.startswith("#") or name == VOID), None)
    if wrong is not None:
        raise InputError(
            f"class '{wrong}': CVAT's labelmap.txt can hold no name with a colon, no '#' before one and no class "
            f"'{VOID}'; rename the class, or choose another format."
        )
    names = dict(enumerate(classes)) | ({IGNORE: VOID} if void else {})
    lines = [f"{name}:{','.join(map(str, palette()[index].tolist()))}::" for index, name in names.items()]
    return ("\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n").encode()


def image_list(album: Album) -> bytes:
    """The list of the photographs."""
    return "".join(f"{name}\n" for name, *_ in album.pictures).encode()
