"""Segmentation by saliency and colour: from what changes a class's score most to the object that has these colours.

Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014, Sect. 3.2: saliency marks an
object's most telling part; colour carries on from there to the rest. Two colour models are learnt, of what is salient
and of what is not, and a graph cut labels every pixel by them and by its neighbours.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from dsrg import explain
from dsrg.models.layers import IMAGENET_MEAN, IMAGENET_STD

SALIENT, PLAIN = 0.95, 0.3
"""Quantiles of the saliency: pixels above the first teach the foreground's colours, those up to the second the
background's; of the others nothing is assumed."""


def saliency_graph_cut(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """`graph_cut` of each class's back-propagation saliency: a map of `dsrg.tables.MAPS`.

    Args:
        model, images, classes: As in `dsrg.explain.saliency`; the images have ImageNet's mean and deviation removed.

    Returns:
        (B, M, H, W) float32, 1 where the object is and 0 elsewhere.

    Raises:
        ValueError: as there.
    """
    maps = explain.saliency(model, images, classes).float()
    mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = ((images.detach() * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    cut = [[graph_cut(picture, one) for one in own] for picture, own in zip(pixels, maps.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.array(cut, np.float32).reshape(maps.shape)).to(maps.device)


def graph_cut(picture: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The largest 8-connected component of the foreground that one graph cut finds.

    OpenCV's grabCut does both parts: Gaussian mixtures of five components for either side's colours, learnt from the
    salient and the plain pixels alone and then kept, and one cut, in which no pixel's label is given beforehand.
    (Rother et al.'s GrabCut would go on with colours from the cut's own result.) The same input gives the same mask.

    Args:
        picture: (H, W, 3) uint8.
        saliency: (H, W), not negative.

    Returns:
        (H, W) bool; nothing is True where no pixel is more salient than the others, or where the cut finds no object.

    Raises:
        ValueError: the shapes do not fit, or the saliency has values that are not finite.
    """
    if picture.dtype != np.uint8 or picture.shape != (*saliency.shape, 3) or not np.isfinite(saliency).all():
        raise ValueError(
            f"picture {picture.dtype} {picture.shape} must be uint8 (H, W, 3), saliency {saliency.shape} finite (H, W)."
        )
    upper, lower = np.quantile(saliency, (SALIENT, PLAIN))
    salient: np.ndarray = saliency > upper
    plain = saliency <= lower
    if not salient.any():
        return salient
    teaching = salient | plain
    colours = np.ascontiguousarray(picture[teaching][None])
    sides = np.where(salient[teaching], cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)[None]
    background, foreground = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)  # the mixtures begin at k-means, which begins at random
    nowhere = (0, 0, 0, 0)  # a box, which a start by mask does not read
    cv2.grabCut(colours, sides, nowhere, background, foreground, 0, cv2.GC_INIT_WITH_MASK)
    labels = np.full(saliency.shape, cv2.GC_PR_BGD, np.uint8)
    cv2.grabCut(picture, labels, nowhere, background, foreground, 1, cv2.GC_EVAL_FREEZE_MODEL)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats((labels == cv2.GC_PR_FGD).view(np.uint8), connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    largest: np.ndarray = parts == 1 + areas.argmax() if len(areas) else np.zeros_like(salient)
    return largest
