"""Image-level labels as the maths uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def own_classes(tags: Tensor) -> tuple[Tensor, Tensor]:
    """The classes that each image has, so that growing and CRF need not look at the others.

    On CUDA the host waits here once, for the number of classes, on which the shapes that follow depend.

    Args:
        tags: (B, C) bool.

    Returns:
        Class indices (B, P) int64, ascending, and whether each is the image's own, (B, P) bool. P is the largest
        number of classes that an image has, at least 1; images with fewer are filled up with classes they have not.
    """
    most = max(1, int(tags.sum(dim=1).max()))
    classes = tags.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return classes, tags.gather(1, classes)
