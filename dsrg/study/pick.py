"""Which training photographs a person should correct first, ranked without any true mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.labels import BACKGROUND, Classes
from dsrg.run.folder import Run
from dsrg.study.doubt import Doubt, doubts

NEAR = 0.9
"""Correlation of two photographs' features above which the second is taken for the first once more."""
SMALLEST = 0.005
"""Share of the photograph below which a class that its labels name counts as missing in its mask."""


@dataclass(frozen=True)
class Picked:
    """A photograph to correct."""

    photo: Photo
    score: float
    """The part of the class whose turn it was; see `rank`."""
    why: str
    """In words."""


def rank_photos(run: Run, count: int) -> list[Picked]:
    """The training photographs whose correction should help most, the first first, without those that have a true mask
    to learn from already.

    Args:
        run: With masks and a trained segmentation network.
        count: How many.

    Raises:
        InputError: there are fewer, or as `doubts`.
    """
    left = [photo for photo in run.train if photo.id not in run.true_masks]
    if not 0 < count <= len(left):
        raise InputError(
            f"--count {count}: choose a number from 1 to {len(left)}, the training photographs without a true mask."
        )
    found = doubts(run, left)
    return [Picked(found[at].photo, score, reason(found[at], run.classes)) for at, score in rank(found, count)]


def parts(found: Sequence[Doubt]) -> np.ndarray:
    """What each photograph's mask may add to the error of each foreground class, (N, K).

    It is the share of the photograph's pixels in doubt as to the class, of network against mask and of photograph
    against mirror image, over the class's share of all masks: pixels of a rare class weigh more, as they do in mIoU.
    A class that the labels name and the mask lacks is in doubt on as much as its masks cover on average.
    """
    area, own = np.stack([one.area for one in found]), np.stack([one.photo.tags for one in found])
    doubt = np.stack([one.wrong + one.mirror for one in found])
    usual = (area * own).sum(axis=0) / np.maximum(own.sum(axis=0), 1)
    doubt = np.where(area < SMALLEST, np.maximum(doubt, usual), doubt) * own
    return np.asarray((doubt / np.maximum(area.mean(axis=0), 1e-6))[:, BACKGROUND + 1 :])


def rank(found: Sequence[Doubt], count: int) -> list[tuple[int, float]]:
    """Indices of photographs and their scores, the first first.

    The classes take turns, the rarest in the masks first; the class whose turn it is takes the photograph that has the
    largest part in its error and is no near duplicate of one that is taken, while there are such.

    Args:
        found: All photographs.
        count: How many to take.
    """
    score = parts(found)
    features = np.stack([one.features for one in found])
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
    own = np.stack([one.photo.tags for one in found])[:, BACKGROUND + 1 :]
    order = np.argsort(own.sum(axis=0), kind="stable")
    free, fresh = np.ones(len(found), bool), np.ones(len(found), bool)
    taken: list[tuple[int, float]] = []
    while len(taken) < count:
        for index in order.tolist():
            there = own[:, index] & free
            there = there & fresh if (there & fresh).any() else there
            if not there.any() or len(taken) == count:
                continue
            best = int(np.where(there, score[:, index], -1).argmax())
            taken.append((best, float(score[best, index])))
            free[best] = False
            fresh &= features @ features[best] < NEAR
    return taken


def reason(one: Doubt, classes: Classes) -> str:
    """Why a photograph's mask is in doubt, in words."""
    said = []
    for index in one.photo.own.tolist():
        name = classes.names[index]
        if one.area[index] < SMALLEST:
            said.append(f"{name} is missing in the mask")
        if one.classifier[index] < 0.5:
            said.append(f"the classifier doubts {name} ({one.classifier[index]:.2f})")
    foreign, share = int(one.foreign.argmax()), one.foreign.max()
    if share > SMALLEST:
        said.append(f"the network sees {classes.names[foreign]} on {share:.0%}, which the labels do not name")
    pairs = (("network and mask", one.wrong), ("photograph and mirror image", one.mirror))
    said += [f"{names} differ on {shares.sum() / 2:.0%}" for names, shares in pairs]
    return "; ".join(said)
