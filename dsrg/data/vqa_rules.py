"""Questions made by rule from a data set's image-level labels and masks, for those who have no VQA files.

| question | answer | needs |
|---|---|---|
| is there a dog? | yes, no | labels |
| what is this? | the only label | labels |
| what animal is this? | the only label of the group | labels, groups |
| how many objects / animals are there? | the connected objects, of the group | masks, groups |
| what is on the left / right? | the only class whose centre lies there | masks |

They are balanced, so that nobody does well who does not look: to each question all of its answers are equally
frequent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from dsrg.data.voc import Photo, VocFolder
from dsrg.data.vqa import Made
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import BACKGROUND, IGNORE, Classes, fault_of_name

SMALLEST = 0.005
"""Share of a photograph from which on a connected part of a mask is an object."""
ASIDE = 0.1
"""Share of the width that a class's centre is from the middle at least, to be on the left or right."""
LARGEST_GROUPS = disk.MIB
"""Bytes of a file of groups."""

Groups = Mapping[str, frozenset[str]]
"""From a group's name to its classes."""


class Scene(NamedTuple):
    """What the rules know of a photograph."""

    image: str
    """The photograph's file, below the folder of photographs."""
    labels: frozenset[str]
    objects: Mapping[str, int] | None
    """Connected objects of each class; None where there is no mask."""
    centres: Mapping[str, float] | None
    """The centre of each class's pixels, 0 at the left edge and 1 at the right; None where there is no mask."""


def read_groups(path: Path, classes: Classes) -> Groups:
    """Read groups of classes, one a line: `animal: cat, dog, horse`. Blank lines and those that begin with # are none.

    Raises:
        InputError: the file is missing or broken, a line is none of a group, or a class is unknown.
    """
    groups: dict[str, frozenset[str]] = {}
    for number, line in enumerate(disk.read_text(path, "file of groups", limit=LARGEST_GROUPS).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"{path} (line {number})"
        name, colon, members = line.partition(":")
        name = name.strip()
        if not colon or fault_of_name(name):
            raise InputError(f"{where}: is not 'group: class, class', as in 'animal: cat, dog'; correct it.")
        if name in groups:
            raise InputError(f"{where}: the group '{name}' is there twice; write it on one line.")
        found = frozenset(member.strip() for member in members.split(",") if member.strip())
        for member in sorted(found):
            if classes.index(member, where) == BACKGROUND:
                raise InputError(f"{where}: background is no class of a group; take it out.")
        if len(found) < 2:
            raise InputError(f"{where}: the group '{name}' has {len(found)} classes, and needs two at least; add some.")
        groups[name] = found
    if not groups:
        raise InputError(f"{path}: names no group; write one a line, 'animal: cat, dog'.")
    return groups


def scenes(folder: VocFolder, photos: Sequence[Photo], *, masks: bool, title: str) -> list[Scene]:
    """What the rules know of each photograph.

    Raises:
        InputError: a mask is missing or broken.
    """
    found = []
    for photo in tqdm(photos, title, disable=not masks):
        labels = frozenset(folder.classes.names[index] for index in photo.own)
        counts = centres = None
        if masks:
            mask = pictures.read_mask(folder.mask_path(photo), len(folder.classes))
            counts = objects_of(mask, folder.classes)
            centres = centres_of(mask, folder.classes)
        found.append(Scene(photo.path.relative_to(folder.image_dir).as_posix(), labels, counts, centres))
    return found


def objects_of(mask: np.ndarray, classes: Classes) -> dict[str, int]:
    """How many 8-connected parts of at least SMALLEST of the photograph each class has in a mask (H, W).

    Objects of one class that touch count as one unless void lies between them, as in VOC's masks.
    """
    least, counts = SMALLEST * mask.size, dict[str, int]()
    for index in np.unique(mask):
        if index not in (BACKGROUND, IGNORE):
            _, _, statistics, _ = cv2.connectedComponentsWithStats((mask == index).astype(np.uint8), connectivity=8)
            number = int((statistics[1:, cv2.CC_STAT_AREA] >= least).sum())
            if number:
                counts[classes.names[index]] = number
    return counts


def centres_of(mask: np.ndarray, classes: Classes) -> dict[str, float]:
    """Where the centre of each class's pixels in a mask (H, W) is, from 0, the left edge, to 1."""
    found = {}
    for index in np.unique(mask):
        if index not in (BACKGROUND, IGNORE) and (mask == index).sum() >= SMALLEST * mask.size:
            columns = np.flatnonzero(mask == index) % mask.shape[1]
            found[classes.names[index]] = float((columns.mean() + 0.5) / mask.shape[1])
    return found


def questions_of(scene: Scene, classes: Classes, groups: Groups) -> Iterator[Made]:
    """Every question that the rules have for a photograph, not balanced yet."""

    def ask(text: str, kind: str, answer_kind: str, answer: str) -> Made:
        return Made(scene.image, text, kind, answer_kind, answer)

    for name in classes.foreground:
        yield ask(f"is there {article(name)} {name}?", "is there", "yes/no", "yes" if name in scene.labels else "no")
    if len(scene.labels) == 1:
        yield ask("what is this?", "what is this", "other", next(iter(scene.labels)))
    for group, members in groups.items():
        if len(own := scene.labels & members) == 1:
            yield ask(f"what {group} is this?", f"what {group} is this", "other", next(iter(own)))
    if scene.objects is None or scene.centres is None:
        return
    everything: Groups = {"object": frozenset(classes.foreground)}
    for group, members in {**everything, **groups}.items():
        number = sum(count for name, count in scene.objects.items() if name in members)
        if number or not scene.labels & members:  # else a mask hides what the label says
            yield ask(f"how many {plural(group)} are there?", "how many", "number", str(number))
    for side in ("left", "right"):
        found = [name for name, x in scene.centres.items() if (x < 0.5) == (side == "left")]
        if len(found) == 1 and abs(scene.centres[found[0]] - 0.5) >= ASIDE:
            yield ask(f"what is on the {side}?", "what is on the", "other", found[0])


def balanced(made: Iterable[Made], seed: int, answers: Mapping[str, Sequence[str]] | None = None) -> list[Made]:
    """Questions of which each text has all of its answers equally often, the others left out at random.

    Of a text's answers, the most frequent first, so many are kept that the number of questions times the logarithm of
    the number of answers is the largest: the bits that one who does not look has to guess.

    Args:
        made: The questions.
        seed: Of the choice.
        answers: The answers to keep of each text, those of another split; None to choose them here. Of these, answers
            that do not occur are left out, and so is a text with fewer than two.
    """
    by_text: dict[str, dict[str, list[Made]]] = {}
    for one in made:
        by_text.setdefault(one.text, {}).setdefault(one.answer, []).append(one)
    random = np.random.default_rng(seed)
    kept = []
    for text, by_answer in by_text.items():
        counts = Counter({answer: len(own) for answer, own in by_answer.items()})
        if answers is None:
            chosen = [answer for answer, _ in counts.most_common(_most_telling([n for _, n in counts.most_common()]))]
        else:
            chosen = [answer for answer in answers.get(text, ()) if counts[answer]]
        if len(chosen) < 2:
            continue
        least = min(counts[answer] for answer in chosen)
        for answer in chosen:
            numbers = random.permutation(counts[answer])[:least]
            kept += [by_answer[answer][number] for number in sorted(numbers)]
    return kept


def answers_of(made: Iterable[Made]) -> dict[str, list[str]]:
    """The answers that occur to each text."""
    found: dict[str, dict[str, None]] = {}
    for one in made:
        found.setdefault(one.text, {})[one.answer] = None
    return {text: list(answers) for text, answers in found.items()}


def article(name: str) -> str:
    """'a' or 'an', by the first letter."""
    return "an" if name[:1].lower() in "aeiou" else "a"


def plural(name: str) -> str:
    """The regular plural of an English noun."""
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"


def _most_telling(counts: Sequence[int]) -> int:
    """How many of the answers, whose counts fall, to keep; see `balanced`."""
    bits = [number * count * math.log(number) for number, count in enumerate(counts, 1)]
    return int(np.argmax(bits)) + 1
