"""Arithmetic of class activation maps: merge scales, normalise, turn into seeds and labels.

CAMs follow Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016; the power cue for
background follows Ahn and Kwak, "Learning Pixel-level Semantic Affinity", CVPR 2018.

Shapes: B images, C classes with background, K = C - 1 foreground classes (map k belongs to class k + 1),
h x w pixels. CAMs are in [0, 1] once normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dsrg.labels import BACKGROUND, IGNORE

BACKGROUND_CUES = ("cam", "power", "saliency")
"""The ways in which `to_seeds` finds background."""


def merge_scales(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Merge the raw maps of several scales (and mirrored back, of the mirror image) into one.

    Each is rectified, resized bilinearly (align_corners=True), and summed, as Ahn and Kwak's code does. The sum
    is not normalised: a scale that responds more strongly weighs more.

    Args:
        maps: Raw maps (B, K, h_i, w_i), any sign.
        size: (h, w) of the result.

    Returns:
        (B, K, h, w), not negative; the input of `normalise`.

    Raises:
        ValueError: there are no maps, or they differ in B or K.
    """
    if not maps:
        raise ValueError("maps is empty; give at least one scale.")
    for scale in maps:
        if scale.ndim != 4 or scale.shape[:2] != maps[0].shape[:2]:
            shapes = ", ".join(str(tuple(scale.shape)) for scale in maps)
            raise ValueError(f"maps must all be (B, K, h_i, w_i) with the same B and K, not {shapes}.")
    resized = [functional.interpolate(scale.relu(), size, mode="bilinear", align_corners=True) for scale in maps]
    return torch.stack(resized).sum(dim=0)


def normalise(cams: Tensor, tags: Tensor) -> Tensor:
    """Rectify the maps, divide each by its maximum over the image, and clear the absent classes.

    Args:
        cams: (B, K, h, w) maps of any range.
        tags: (B, C) bool.

    Returns:
        (B, K, h, w) in [0, 1]; a map without a positive value becomes all zero.

    Raises:
        ValueError: the shapes do not fit together.
    """
    cams = _own_maps(cams, tags).relu()
    peak = cams.amax(dim=(2, 3), keepdim=True)
    return cams / torch.where(peak > 0, peak, 1)


def background_score(cams: Tensor, alpha: float) -> Tensor:
    """The power cue (1 - max CAM)^alpha of normalised CAMs (B, K, h, w): (B, h, w) in [0, 1]."""
    return (1 - cams.amax(dim=1)) ** alpha


def to_seeds(
    cams: Tensor,
    tags: Tensor,
    *,
    foreground_threshold: float,
    background: str,
    background_threshold: float,
    alpha: float,
    saliency: Tensor | None = None,
    saliency_threshold: float = 0.06,
) -> Tensor:
    """Turn normalised CAMs into seeds.

    A pixel takes class c when c's CAM is the largest of the image's own classes there (the lowest index wins a
    tie) and is above `foreground_threshold`. It takes background by one of three cues, and otherwise stays 255:

    - "cam": the largest CAM is below `background_threshold`.
    - "power": (1 - max CAM)^alpha is a class of its own: background where it is larger than the largest CAM. A
      foreground pixel must beat it too; a pixel where the two are equal stays unlabelled.
    - "saliency": the saliency is below `saliency_threshold`. Where the CAM says foreground and the saliency
      says background, the CAM wins: it knows the image's classes, a saliency map does not.

    Args:
        cams: (B, K, h, w) in [0, 1], see `normalise`.
        tags: (B, C) bool; no pixel takes a class that is absent here, background included.
        foreground_threshold: In 0..1.
        background: One of `BACKGROUND_CUES`.
        background_threshold: In 0..1, at most `foreground_threshold`; read by "cam" alone.
        alpha: Exponent above 0, larger means less background; read by "power" alone.
        saliency: (B, h, w) in 0..1; required by "saliency".
        saliency_threshold: In 0..1; read by "saliency" alone.

    Returns:
        (B, h, w) uint8, class index or 255 = unlabelled.

    Raises:
        ValueError: shapes do not fit together, or a setting is out of range.
    """
    if not 0 <= foreground_threshold <= 1:
        raise ValueError(f"foreground_threshold is {foreground_threshold}; it must lie in 0..1.")
    best, winner = _own_maps(cams, tags).max(dim=1)
    is_foreground = best > foreground_threshold
    if background == "cam":
        if not 0 <= background_threshold <= foreground_threshold:
            raise ValueError(
                f"background_threshold is {background_threshold}; it must lie between 0 and "
                f"foreground_threshold ({foreground_threshold}), or a pixel could be both."
            )
        is_background = best < background_threshold
    elif background == "power":
        if alpha <= 0:
            raise ValueError(f"alpha is {alpha}; it must be above 0.")
        score = background_score(best[:, None], alpha)
        is_background = score > best
        is_foreground = is_foreground & (best > score)
    elif background == "saliency":
        is_background = (_check_saliency(saliency, best, cams) < saliency_threshold) & ~is_foreground
    else:
        raise ValueError(f"background is '{background}'; it must be one of {', '.join(BACKGROUND_CUES)}.")
    return _paint(is_foreground, is_background, winner, tags)


def to_joint_seeds(
    cams: Tensor,
    tags: Tensor,
    saliency: Tensor,
    *,
    cam_foreground: float,
    cam_background: float,
    saliency_foreground: float,
    saliency_background: float,
) -> Tensor:
    """Turn normalised CAMs and saliency into seeds: two witnesses, who must agree.

    A pixel takes class c when c's CAM is the largest of the image's own classes there (the lowest index wins a tie),
    is above `cam_foreground`, and the saliency is above `saliency_foreground`. It takes background when the largest CAM
    is below `cam_background` and the saliency below `saliency_background`. Otherwise it stays 255.

    Args:
        cams: (B, K, h, w) in [0, 1], see `normalise`.
        tags: (B, C) bool; no pixel takes a class that is absent here, background included.
        saliency: (B, h, w) in 0..1.
        cam_foreground, cam_background: In 0..1. The first may be the lower: the saliency tells the two apart.
        saliency_foreground, saliency_background: In 0..1, the second at most the first.

    Returns:
        (B, h, w) uint8, class index or 255 = unlabelled.

    Raises:
        ValueError: shapes do not fit together, or a setting is out of range.
    """
    if not 0 <= saliency_background <= saliency_foreground <= 1:
        raise ValueError(
            f"saliency_background is {saliency_background}; it must lie between 0 and saliency_foreground "
            f"({saliency_foreground}), and that at most at 1, or a pixel could be both."
        )
    best, winner = _own_maps(cams, tags).max(dim=1)
    saliency = _check_saliency(saliency, best, cams)
    is_foreground = (best > cam_foreground) & (saliency > saliency_foreground)
    is_background = (best < cam_background) & (saliency < saliency_background)
    return _paint(is_foreground, is_background, winner, tags)


def _paint(is_foreground: Tensor, is_background: Tensor, winner: Tensor, tags: Tensor) -> Tensor:
    """Seeds (B, h, w) uint8: the winner's class where there is foreground, else background where the tags have it."""
    background = torch.where(is_background & tags[:, BACKGROUND, None, None], BACKGROUND, IGNORE)
    return torch.where(is_foreground, winner + 1, background).to(torch.uint8)


def to_labels(cams: Tensor, tags: Tensor, background_threshold: float) -> Tensor:
    """Dense labels for measuring CAMs: the largest CAM's class, background where none is above the threshold.

    Args:
        cams: (B, K, h, w) in [0, 1], see `normalise`.
        tags: (B, C) bool.
        background_threshold: In 0..1.

    Returns:
        (B, h, w) uint8 class indices.

    Raises:
        ValueError: the shapes do not fit together.
    """
    best, winner = _own_maps(cams, tags).max(dim=1)
    return torch.where(best > background_threshold, winner + 1, BACKGROUND).to(torch.uint8)


def merge_labels(foreground: Tensor, background: Tensor) -> Tensor:
    """Seeds from two sets of dense labels, one cut at a high threshold and one at a low: the first's foreground, the
    second's background where the first has none, and nothing in between (Ahn et al., "Weakly Supervised Learning of
    Instance Segmentation with Inter-pixel Relations", CVPR 2019).

    Args:
        foreground, background: Class indices of one shape.

    Returns:
        uint8 of that shape, class index or 255 = unlabelled.
    """
    neither = torch.where(background == BACKGROUND, BACKGROUND, IGNORE)
    return torch.where(foreground != BACKGROUND, foreground, neither).to(torch.uint8)


def label_probs(labels: Tensor, tags: Tensor, confidence: float = 0.7) -> Tensor:
    """Probabilities that trust dense labels so far: the unary of a CRF that refines them.

    Args:
        labels: (B, h, w) class indices, of the image's own classes.
        tags: (B, C) bool.
        confidence: Probability of the label; the image's other classes share the rest.

    Returns:
        (B, C, h, w) float32; an image of one class has it with probability 1.
    """
    own = tags.sum(dim=1)[:, None, None, None]
    others = (1 - confidence) / (own - 1).clamp(min=1)
    probs = torch.where(tags[:, :, None, None], others, 0.0).repeat(1, 1, *labels.shape[1:])
    peak = torch.where(own > 1, confidence, 1.0).expand(-1, 1, *labels.shape[1:])
    return probs.scatter(1, labels[:, None].long(), peak)


def with_background(cams: Tensor, tags: Tensor, threshold: float) -> Tensor:
    """Scores of all classes, as AFA refines them (Ru et al., CVPR 2022, Sect. 3.3): the softmax over the own classes,
    background at the threshold everywhere. The largest score of a pixel gives `to_labels`.

    Args:
        cams: (B, K, h, w) in [0, 1], see `normalise`.
        tags: (B, C) bool.
        threshold: In 0..1.

    Returns:
        (B, C, h, w), 0 for absent classes.
    """
    scores = torch.cat([torch.full_like(cams[:, :1], threshold), _own_maps(cams, tags)], dim=1)
    return scores.masked_fill(~tags[:, :, None, None], -torch.inf).softmax(dim=1)


def otsu_thresholds(counts: np.ndarray) -> tuple[float, float]:
    """The two thresholds that split values in 0..1 into three groups with the most variance between them (Otsu, "A
    Threshold Selection Method from Gray-Level Histograms", 1979, extended to three groups).

    CAMs are skewed, most of their values small, which Otsu's even groups do not fit. Give the cube roots: they make
    skewed values near normal (Wilson and Hilferty 1931); the thresholds are then to be cubed.

    Args:
        counts: (bins,) how many values fall into each of equal bins of 0..1; at least 3 bins.

    Returns:
        The lower and the upper threshold, edges of bins.

    Raises:
        ValueError: there are fewer than 3 bins, or no values.
    """
    bins = len(counts)
    if bins < 3 or not counts.sum():
        raise ValueError(f"counts holds {bins} bins and {counts.sum():.0f} values; give values in at least 3 bins.")
    centres = (np.arange(bins) + 0.5) / bins
    share = np.concatenate([[0], np.cumsum(counts / counts.sum())])
    moment = np.concatenate([[0], np.cumsum(counts / counts.sum() * centres)])

    def between(start: np.ndarray | int, stop: np.ndarray | int) -> np.ndarray:
        """Share of the bins start..stop times the square of their mean: the part of the variance that varies."""
        weight = share[stop] - share[start]
        squared: np.ndarray = np.square(moment[stop] - moment[start]) / np.where(weight > 0, weight, 1)
        return squared

    low, high = np.triu_indices(bins - 1, 1)
    low, high = low + 1, high + 1
    best = int(np.argmax(between(0, low) + between(low, high) + between(high, bins)))
    return float(low[best] / bins), float(high[best] / bins)


def _check_saliency(saliency: Tensor | None, best: Tensor, cams: Tensor) -> Tensor:
    """The saliency itself, where it is as large as the maps."""
    if saliency is None or saliency.shape != best.shape:
        given = "None" if saliency is None else tuple(saliency.shape)
        raise ValueError(f"saliency must be {tuple(best.shape)} to fit cams {tuple(cams.shape)}, not {given}.")
    return saliency


def _own_maps(cams: Tensor, tags: Tensor) -> Tensor:
    """The maps (B, K, h, w) with those of the image's absent classes set to zero; checks the shapes."""
    if cams.ndim != 4 or not cams.is_floating_point():
        raise ValueError(f"cams must be floating point (B, K, h, w), not {cams.dtype} {tuple(cams.shape)}.")
    expected = (cams.shape[0], cams.shape[1] + 1)
    if tags.dtype != torch.bool or tags.shape != expected:
        raise ValueError(
            f"tags must be bool {expected} to fit cams {tuple(cams.shape)}, not {tags.dtype} {tuple(tags.shape)}; "
            "one column a class, background first, while cams have no map for background."
        )
    if expected[1] > IGNORE:
        raise ValueError(f"there are {expected[1]} classes; at most {IGNORE} fit into 8-bit seeds.")
    return cams.masked_fill(~tags[:, 1:, None, None], 0)
