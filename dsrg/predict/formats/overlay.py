"""Masks as JPEGs to look at: the classes' colours over the photograph, with a legend."""

from __future__ import annotations

from dsrg.draw.masks import paint_with_legend
from dsrg.files.pictures import jpeg
from dsrg.predict.formats import Drawn


def content(drawn: Drawn) -> bytes:
    """The file of one picture.

    Raises:
        InputError: it is too large for a JPEG.
    """
    return jpeg(paint_with_legend(drawn.picture, drawn.mask, drawn.classes))
