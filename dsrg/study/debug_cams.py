"""Where a classifier's maps lie when it is right and when it is wrong: context bias as a table, and the worst tags."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dsrg import distributed
from dsrg.data.voc import Photo
from dsrg.draw import heatmap, tiles
from dsrg.draw.masks import paint_mask
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.labels import Classes
from dsrg.run import inference
from dsrg.run.folder import Run
from dsrg.study import mass
from dsrg.study.mass import MapMass
from dsrg.study.show_cams import VERDICTS, look
from dsrg.tables import HIGH_REGION

TAGS = {"right": "right", "missed": "missed", "wrong": "false"}
"""Tags by the verdict of `show_cams.View`: given and true, true and not given, given and not true."""
GROUPS = ("its own object", "another class's object", "background")
"""What a map can lie on. Labels that are no class of the classifier, grass say, count as background."""
NOWHERE = "nowhere"
"""The group of a map without a positive value."""
TILE = 220
"""Long side of a picture, in pixels."""


@dataclass(frozen=True)
class Tag:
    """A class that a photograph has, or is said to have, and what the class's map lies on there."""

    photo: Photo
    label: int
    """0..K-1."""
    verdict: str
    """One of TAGS."""
    score: float
    """The class's probability."""
    mass: np.ndarray
    """(L,) the share of the map's mass on each label of the masks; nan for a map without a positive value."""
    region: np.ndarray
    """(L,) likewise of its high region."""
    area: np.ndarray
    """(L,) the share of the photograph: what a map that knows nothing would lie on."""

    @property
    def error(self) -> float:
        """How far the probability is from the truth, 0..1."""
        return self.score if self.verdict == "wrong" else 1 - self.score


def debug_cams(
    run: Run,
    masks: Path | None = None,
    labels: str | None = None,
    method: str | None = None,
    split: str | None = None,
    threshold: float = HIGH_REGION,
    count: int = 12,
) -> dict[str, Any]:
    """Write explain/debug-cams.json, .md and .png (with other masks debug-cams-<name of their folder>).

    A tag is right, missed or false, as in `show_cams`: given is the likeliest class and, with multi_label, each above a
    probability of 0.5. Each tag's map is divided over the labels of the photograph's mask, and these are put together
    to the class's own object, other classes' objects, and background. The pictures are those of the worst tags, missed
    and false, whose probability is the farthest from the truth.

    Args:
        run, masks, labels, method, split, threshold: As in `MapMass`.
        count: Tags to draw.

    Returns:
        The content of the JSON.

    Raises:
        InputError: as `MapMass`, or `count` is not positive.
    """
    if count < 1:
        raise InputError(f"--count {count}: draw at least one tag.")
    maps = MapMass(run, masks, labels, method, split, threshold)
    if not distributed.is_main():
        return {}
    tags = [tag for photo in tqdm(maps.masked, "maps") for tag in _tags(maps, photo)]
    worst = sorted((tag for tag in tags if tag.verdict != "right"), key=lambda tag: -tag.error)[:count]
    summary = {
        "method": maps.method,
        "split": maps.split,
        "threshold": threshold,
        "photographs": len(maps.photos),
        "with_masks": len(maps.masked),
        "groups": grouped(tags, run.classes, maps.source.classes),
        "classes": by_class(tags, run.classes, maps.source.classes),
        "worst": [_described(tag, run.classes, maps.source.classes) for tag in worst],
    }
    out = run.directory / "explain"
    stem = f"debug-cams-{maps.source.directory.resolve().name}" if masks else "debug-cams"
    disk.write_json(out / f"{stem}.json", summary)
    disk.write_text(out / f"{stem}.md", table(summary) + "\n")
    rows = [_row(maps, tag) for tag in tqdm(worst, "pictures")]
    titles = ["the worst first", "photograph", "the tag's map", "mask"]
    names = tiles.write_pages(out, stem, tiles.pages(titles, rows, TILE))
    print(table(summary))
    print("\n" + ", ".join(str(out / name) for name in (f"{stem}.json", f"{stem}.md", *names)))
    return summary


def in_groups(values: np.ndarray, name: str, classes: Classes, labels: Classes) -> np.ndarray:
    """Shares of the labels (..., L) put together to those of GROUPS, (..., 3), for a map of the class `name`.

    Args:
        values: The shares, which may be nan.
        name: The class.
        classes: The classifier's classes.
        labels: The masks' L labels; those of a class's name are its objects.
    """
    group = np.array([0 if label == name else 1 if label in classes.foreground else 2 for label in labels.names])
    return np.stack([values[..., group == number].sum(axis=-1) for number in range(len(GROUPS))], axis=-1)


def group_of(tag: Tag, classes: Classes, labels: Classes) -> str:
    """Where most of the tag's map lies, one of GROUPS, the first of equal ones; or NOWHERE."""
    divided = in_groups(tag.mass, classes.foreground[tag.label], classes, labels)
    return NOWHERE if np.isnan(divided).any() else GROUPS[int(divided.argmax())]


def grouped(tags: Sequence[Tag], classes: Classes, labels: Classes) -> dict[str, dict[str, int]]:
    """Numbers of right, missed and false tags by what most of their map lies on."""
    found = [(TAGS[tag.verdict], group_of(tag, classes, labels)) for tag in tags]
    return {kind: {group: found.count((kind, group)) for group in (*GROUPS, NOWHERE)} for kind in TAGS.values()}


def by_class(tags: Sequence[Tag], classes: Classes, labels: Classes) -> dict[str, dict[str, Any]]:
    """For each class and kind of tag: how many there are, and the mean shares of their maps over GROUPS and labels.

    Maps without a positive value have no shares and are in no mean.
    """
    found: dict[str, dict[str, Any]] = {}
    for label, name in enumerate(classes.foreground):
        found[name] = {}
        for verdict, kind in TAGS.items():
            own = [tag for tag in tags if (tag.label, tag.verdict) == (label, verdict)]
            seen = [tag for tag in own if not np.isnan(tag.mass).any()]
            found[name][kind] = {"tags": len(own), "nowhere": len(own) - len(seen)}
            if not seen:
                continue
            for key in ("mass", "region", "area"):
                mean = np.mean([getattr(tag, key) for tag in seen], axis=0)
                shares = in_groups(mean, name, classes, labels)
                found[name][kind][key] = dict(zip(GROUPS, shares.tolist(), strict=True))
                if key == "mass":
                    found[name][kind]["labels"] = dict(zip(labels.names, mean.tolist(), strict=True))
    return found


def table(summary: dict[str, Any]) -> str:
    """Both tables as Markdown."""
    lines = ["| tags | " + " | ".join(f"mostly on {group}" for group in GROUPS) + f" | {NOWHERE} |"]
    lines += ["|---" + "|---:" * (len(GROUPS) + 1) + "|"]
    for kind, counts in summary["groups"].items():
        lines.append(f"| {kind} | {' | '.join(str(number) for number in counts.values())} |")
    lines += ["", "Share of the map's mass (in brackets: of the photograph's area), the mean over the tags:", ""]
    lines += [f"| class | tags | {' | '.join(GROUPS)} | of its high region on its own object | most on another label |"]
    lines += ["|---|---|" + "---:|" * (len(GROUPS) + 1) + "---|"]
    return "\n".join([*lines, *_lines(summary["classes"])])


def _lines(classes: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name, kinds in classes.items():
        for kind, part in kinds.items():
            if not part["tags"]:
                continue
            head = f"| {name} | {part['tags']} {kind} | "
            if "mass" not in part:
                yield head + " | ".join(["-"] * (len(GROUPS) + 2)) + " |"
                continue
            cells = [f"{_percent(part['mass'][group])} ({_percent(part['area'][group])})" for group in GROUPS]
            rest = {label: share for label, share in [*part["labels"].items()][1:] if label != name}
            most = max(rest, key=lambda label: rest[label], default="")
            told = f"{most}, {_percent(rest[most])}" if most and rest[most] >= 0.005 else "-"
            cells += [_percent(part["region"][GROUPS[0]]), told]
            yield head + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def _tags(maps: MapMass, photo: Photo) -> Iterator[Tag]:
    """Every tag of a photograph that is given or true."""
    view = look(maps.run, maps.model, photo)
    labels = [label for label in range(len(view.scores)) if view.verdict(label)]
    sums = maps.sums(photo, labels)
    shares = zip(labels, mass.shares(sums.mass), mass.shares(sums.region), strict=True)
    for label, own_mass, region in shares:
        score = float(view.scores[label])
        yield Tag(photo, label, view.verdict(label), score, own_mass, region, mass.shares(sums.area))


def _described(tag: Tag, classes: Classes, labels: Classes) -> dict[str, Any]:
    return {
        "id": tag.photo.id,
        "class": classes.foreground[tag.label],
        "tag": TAGS[tag.verdict],
        "score": tag.score,
        "labels": [classes.names[index] for index in tag.photo.own],
        "mostly_on": group_of(tag, classes, labels),
        "mass": dict(zip(labels.names, tag.mass.tolist(), strict=True)),
    }


def _row(maps: MapMass, tag: Tag) -> list[np.ndarray]:
    """What is wrong and what the map lies on in words, the photograph, the map, and the mask."""
    classes, labels = maps.run.classes, maps.source.classes
    name, colour = classes.foreground[tag.label], VERDICTS[tag.verdict]
    shown = sorted(np.flatnonzero(np.nan_to_num(tag.mass) >= 0.005), key=lambda label: -tag.mass[label])
    lines = [f"{TAGS[tag.verdict]}: {name} {tag.score:.2f}", f"mostly on {group_of(tag, classes, labels)}"]
    lines += [f"{_percent(float(tag.mass[label]))} on {labels.names[label]}" for label in shown]
    picture = inference.read_pixels(tag.photo).permute(1, 2, 0).numpy()
    large = maps.large(tag.photo, tag.label)
    heat = heatmap.paint(picture, large / (large.max() or 1))
    truth = "is " + ", ".join(classes.names[index] for index in tag.photo.own)
    return [
        tiles.words(lines, TILE),
        tiles.captioned(tiles.fit(picture, TILE), [truth, tag.photo.id], None, TILE),
        tiles.captioned(tiles.fit(heat, TILE), [f"{name} {tag.score:.2f}"], colour, TILE),
        tiles.captioned(tiles.fit(paint_mask(picture, maps.mask(tag.photo)), TILE), [], None, TILE),
    ]
