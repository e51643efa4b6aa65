"""The generated demo data set: animals whose faces alone tell the class, in the folder layout of PASCAL VOC.

It is made for weak supervision: a classifier needs only the small face, so its CAM stays there; the body is plain
and unlike the background, so region growing and the CRF can spread from the face over the whole animal.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import IGNORE

CLASSES = ("background", "cat", "pig", "sheep", "frog", "bird")
VERSION = 1
"""Raise it whenever the pictures change, so that older sets are drawn anew."""
MARK, UNFINISHED = "demo.json", "demo.unfinished.json"
_SCALE, _SHIFT = 2, 4  # drawn at twice the size, then averaged, for smooth edges; fractional bits of corners
_BODY_HUES, _BODY_SPREAD = (0, 24, 12, 38, 46, 31), 14  # degrees, by class; so wide a spread that classes overlap
# By class: middle hue, saturation and value of the face's main colour.
_FACE_COLOURS = ((0, 0, 0), (24, 0.9, 0.95), (340, 0.38, 0.98), (50, 0.05, 0.95), (112, 0.8, 0.8), (222, 0.8, 0.9))

Array = np.ndarray
Colour = tuple[float, float, float]
_CIRCLE = np.stack([np.cos(np.arange(40) * np.pi / 20), np.sin(np.arange(40) * np.pi / 20)], 1)
_BLACK, _WHITE = (25.0, 25.0, 28.0), (245.0, 244.0, 238.0)


@dataclass(frozen=True)
class _Shape:
    """One filled polygon of an animal; corners is (n, 2), x to the right and y down."""

    corners: Array
    colour: Colour
    face: bool = False


@dataclass(frozen=True)
class _Animal:
    """An animal placed in a picture, in supersampled pixels."""

    label: int
    shapes: list[_Shape]
    area: Array  # (H, W) bool, all of it
    face: Array  # (H, W) bool, the distinctive part


def generate(root: str | Path, *, train: int = 320, val: int = 80, size: int = 96, seed: int = 0) -> None:
    """Write the demo data set; the same arguments give the same bytes.

    Does nothing where `root` holds the whole set already; an unfinished or different demo set is drawn anew.

    Args:
        root: Folder to write to; created where it is missing.
        train: Number of training images.
        val: Number of validation images.
        size: Width and height in pixels.
        seed: Picture i of a split depends on the seed, the split and i alone, not on the number of pictures.

    Raises:
        InputError: an argument is out of range, or `root` holds anything else than a demo set.
    """
    root = Path(root)
    for name, value, least in (("train", train, 1), ("val", val, 1), ("size", size, 48), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"{name}={value}: the demo data set needs {name} to be at least {least}; raise it.")
    parameters = {"generator": "dsrg demo", "version": VERSION, "train": train, "val": val, "size": size, "seed": seed}
    splits = {split: [f"{split}_{i:05d}" for i in range(count)] for split, count in (("train", train), ("val", val))}
    names = [name for split in splits.values() for name in split]
    if _is_complete(root, parameters, names):
        return
    _prepare(root, parameters, set(names))
    rows = ["image,labels"]
    for position, (split_name, split) in enumerate(splits.items()):
        disk.write_text(root / "ImageSets" / "Segmentation" / f"{split_name}.txt", "\n".join(split) + "\n")
        for number, name in enumerate(split):
            label = 1 + number % (len(CLASSES) - 1)  # in turn, so that small sets hold every class too
            image, mask = draw(np.random.default_rng((seed, position, number)), size, label)
            content = pictures.encoded(Image.fromarray(image), "JPEG", quality=95)
            disk.write_bytes(root / "JPEGImages" / f"{name}.jpg", content)
            pictures.write_mask(root / "SegmentationClass" / f"{name}.png", mask)
            rows.append(f"{name},{' '.join(CLASSES[label] for label in np.unique(mask) if 0 < label < IGNORE)}")
    disk.write_text(root / "classes.txt", "\n".join(CLASSES) + "\n")
    disk.write_text(root / "image_labels.csv", "\n".join(rows) + "\n")
    disk.write_json(root / MARK, parameters)  # last: whoever sees it may rely on everything else
    (root / UNFINISHED).unlink(missing_ok=True)


def draw(rng: np.random.Generator, size: int, label: int) -> tuple[Array, Array]:
    """Draw one picture with an animal of class `label` and, in some pictures, a second animal of any class.

    Returns the image, (size, size, 3) uint8 RGB, and its mask, (size, size) uint8 with a one-pixel void border.
    """
    two = rng.random() < 0.45
    animals = [_place(rng, size, label, two)]
    if two:
        animals.append(_place(rng, size, int(rng.integers(1, len(CLASSES))), two, animals[0]))
    canvas = _background(rng, size * _SCALE)
    for animal in animals:
        _paint(rng, canvas, animal)
    image = cv2.resize(_light(rng, canvas), (size, size), interpolation=cv2.INTER_AREA)
    image = image + rng.normal(0, 2.5, (size, size, 3))  # grain of the sensor
    owner = np.zeros((size, size), np.uint8)  # 0, or 1 + which animal is seen here
    for position, animal in enumerate(animals):
        cover = cv2.resize(animal.area.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
        owner[cover >= 0.5] = position + 1
    mask = np.array([0, *(animal.label for animal in animals)], np.uint8)[owner]
    pair = np.ones((2, 2), np.uint8)  # a 3 x 3 window would make the border two pixels wide
    mask[cv2.dilate(owner, pair) != cv2.erode(owner, pair)] = IGNORE
    return np.clip(image, 0, 255).round().astype(np.uint8), mask


def _is_complete(root: Path, parameters: dict[str, Any], names: list[str]) -> bool:
    if not (root / MARK).is_file() or disk.read_json(root / MARK) != parameters:
        return False
    files = ["classes.txt", "image_labels.csv", "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt"]
    files += [f"JPEGImages/{name}.jpg" for name in names] + [f"SegmentationClass/{name}.png" for name in names]
    return all((root / file).is_file() for file in files)


def _prepare(root: Path, parameters: dict[str, Any], names: set[str]) -> None:
    """Refuse a folder of somebody else's; otherwise mark it unfinished and drop pictures of an earlier set."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file; name a new or empty folder for the demo data set.")
    if root.is_dir() and any(not path.name.startswith(f".{UNFINISHED}") for path in root.iterdir()):
        marks = [disk.read_json(root / mark) for mark in (MARK, UNFINISHED) if (root / mark).is_file()]
        if not any(isinstance(mark, dict) and mark.get("generator") == parameters["generator"] for mark in marks):
            raise InputError(f"{root}: the folder is not empty and holds no demo data set; name a new or empty folder.")
    disk.write_json(root / UNFINISHED, parameters)
    (root / MARK).unlink(missing_ok=True)
    for pattern in ("JPEGImages/train_*.jpg", "JPEGImages/val_*.jpg", "SegmentationClass/*_*.png"):
        for path in root.glob(pattern):
            if path.stem not in names:
                path.unlink()


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return 255 * red, 255 * green, 255 * blue


def _ellipse(x: float, y: float, across: float, down: float, turn: float = 0.0) -> Array:
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.asarray(_CIRCLE * (across, down) @ np.array([[cos, sin], [-sin, cos]]) + (x, y))


def _both_sides(corners: Array, colour: Colour) -> list[_Shape]:
    """A shape of the face and its mirror image."""
    return [_Shape(corners, colour, True), _Shape(corners * (-1, 1), colour, True)]


def _eyes(x: float, y: float, radius: float, colour: Colour = _WHITE) -> list[_Shape]:
    pupil = _ellipse(x, y + 0.05, radius * 0.55, radius * 0.6)
    return _both_sides(_ellipse(x, y, radius, radius), colour) + _both_sides(pupil, _BLACK)


def _face(name: str, main: Colour) -> list[_Shape]:
    """The distinctive part of a class, of unit radius about the origin."""
    head = _Shape(_ellipse(0, 0, 1, 0.95), main, True)
    if name == "cat":
        dark = _hsv(20, 0.9, 0.35)
        return [
            *_both_sides(np.array([(-0.97, -0.1), (-0.92, -1.4), (-0.1, -0.85)]), main),
            head,
            *_both_sides(np.array([(0.16, -0.98), (0.42, -0.92), (0.3, -0.42)]), dark),
            *_both_sides(np.array([(0.45, 0.2), (1.05, 0.08), (1.05, 0.24)]), _WHITE),
            *_eyes(0.42, -0.12, 0.24, _hsv(70, 0.8, 0.95)),
            _Shape(np.array([(-0.2, 0.3), (0.2, 0.3), (0, 0.55)]), dark, True),
        ]
    if name == "pig":
        dark = _hsv(338, 0.65, 0.72)
        return [
            *_both_sides(np.array([(-0.95, -0.15), (-1.1, -1.15), (-0.25, -0.85)]), dark),
            head,
            *_eyes(0.45, -0.35, 0.18),
            _Shape(_ellipse(0, 0.3, 0.52, 0.4), dark, True),
            *_both_sides(_ellipse(0.2, 0.3, 0.11, 0.2), _BLACK),
        ]
    if name == "sheep":
        return [
            *_both_sides(_ellipse(0.85, -0.1, 0.42, 0.2, 25), _BLACK),
            _Shape(_ellipse(0, 0.15, 0.72, 1), (52.0, 48.0, 50.0), True),
            *(_Shape(_ellipse(x, y, 0.42, 0.42), main, True) for x, y in ((-0.55, -0.7), (0, -0.95), (0.55, -0.7))),
            *_eyes(0.3, 0.12, 0.2),
            *_both_sides(_ellipse(0.15, 0.8, 0.08, 0.14), main),
        ]
    if name == "frog":
        mouth = np.array([(-0.8, 0.25), (0, 0.5), (0.8, 0.25), (0.55, 0.55), (0, 0.75), (-0.55, 0.55)])
        head = _Shape(_ellipse(0, 0.12, 1.12, 0.85), main, True)
        sockets = _both_sides(_ellipse(0.55, -0.65, 0.48, 0.48), main)
        return [*sockets, head, *_eyes(0.55, -0.65, 0.34), _Shape(mouth, _hsv(125, 0.8, 0.25), True)]
    crest = np.array([(-0.3, -0.8), (-0.45, -1.45), (0, -1.1), (0.45, -1.45), (0.3, -0.8)])
    beak = np.array([(-0.38, 0.0), (0.38, 0.0), (0, 0.95)])
    return [_Shape(crest, main, True), head, *_eyes(0.45, -0.22, 0.3), _Shape(beak, _hsv(50, 0.95, 0.98), True)]


def _shapes(rng: np.random.Generator, label: int) -> list[_Shape]:
    """An animal of random build about the origin; its body is about two units long."""
    hue = np.clip(rng.normal(_BODY_HUES[label], _BODY_SPREAD), 2, 56)  # warm, for every class
    fur = _hsv(float(hue), rng.uniform(0.3, 0.55), rng.uniform(0.5, 0.85))
    length, height = rng.uniform(0.85, 1.0), rng.uniform(0.6, 0.72)
    shapes = [_Shape(_ellipse(-length - 0.05, -0.25, 0.32, 0.1, rng.uniform(20, 70)), fur)]
    legs = (-0.55, 0.5) if CLASSES[label] == "bird" else (-0.65, -0.35, 0.35, 0.65)
    shapes += [_Shape(_ellipse(x * length, height + 0.08, 0.11, 0.38, rng.uniform(-12, 12)), fur) for x in legs]
    shapes.append(_Shape(_ellipse(0, 0, length, height), fur))
    hue, saturation, value = _FACE_COLOURS[label]
    colour = _hsv(hue + rng.uniform(-8, 8), saturation * rng.uniform(0.85, 1.1), value * rng.uniform(0.9, 1.05))
    radius, where = rng.uniform(0.32, 0.38), (0.82 * length, -0.62 * height)
    return shapes + [_Shape(part.corners * radius + where, part.colour, True) for part in _face(CLASSES[label], colour)]


def _fill(target: Array, corners: Array, value: Any) -> None:
    cv2.fillPoly(target, [np.round(corners * 2**_SHIFT).astype(np.int32)], value, shift=_SHIFT)


def _place(rng: np.random.Generator, size: int, label: int, two: bool, behind: _Animal | None = None) -> _Animal:
    """Draw poses until the face is in the picture and, of an animal behind, the face and most else stay in sight."""
    side = size * _SCALE
    while True:
        turn, share = np.radians(rng.uniform(-35, 35)), rng.uniform(0.13, 0.22 if two else 0.34)
        flip = rng.choice((-1.0, 1.0))
        scale = side * np.sqrt(share / 2.25)  # an animal of unit scale covers about 2.25
        matrix = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * ((flip,), (1.0,))
        centre = rng.uniform(0.2, 0.8, 2) * side
        shapes = [_Shape(s.corners @ matrix + centre, s.colour, s.face) for s in _shapes(rng, label)]
        faces = np.concatenate([shape.corners for shape in shapes if shape.face])
        if faces.min() < 1 or faces.max() > side - 2:
            continue
        area, face = np.zeros((2, side, side), np.uint8)
        for shape in shapes:
            _fill(area, shape.corners, 1)
            if shape.face:
                _fill(face, shape.corners, 1)
        if not 0.12 <= area.mean() <= 0.35:
            continue  # too much of it lies outside
        animal = _Animal(label, shapes, area > 0, face > 0)
        hidden = animal.area & behind.area if behind else np.zeros_like(animal.area)
        if not behind or (not hidden[behind.face].any() and hidden.sum() <= 0.25 * behind.area.sum()):
            return animal


def _noise(rng: np.random.Generator, side: int, cells: int, channels: int) -> Array:
    """Smooth noise (side, side, channels) of unit deviation, with about `cells` blobs along a side."""
    coarse = rng.normal(0, 1, (cells, cells, channels)).astype(np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, channels)


def _background(rng: np.random.Generator, side: int) -> Array:
    """Clutter (side, side, 3) float32: noise at several scales, strokes and shapes without a label.

    Cold, dull and of middling brightness, so that neither bodies (warm) nor faces (vivid, black, white) occur in it.
    """
    draws = rng.uniform((90, 0.05, 0.35), (290, 0.42, 0.75), (int(rng.integers(6, 14)), 3))
    one, other, *colours = [_hsv(*draw) for draw in draws]
    blend = np.clip(0.5 + 0.5 * _noise(rng, side, int(rng.integers(3, 7)), 1), 0, 1)
    canvas = np.asarray(one * blend + other * (1 - blend), np.float32)
    for colour in colours:
        middle, extent = rng.uniform(0, side, 2), side * rng.uniform(0.04, 0.16)
        if (kind := rng.integers(3)) == 0:  # a crooked stroke
            path = np.cumsum(rng.normal(0, extent, (5, 2)), 0) + middle
            cv2.polylines(canvas, [path.astype(np.int32)], False, colour, int(rng.integers(2, 8)), cv2.LINE_AA)
        elif kind == 1:
            shape = _ellipse(0, 0, extent, extent * rng.uniform(0.3, 0.9), rng.uniform(0, 180))
            _fill(canvas, shape + middle, colour)
        else:
            _fill(canvas, rng.normal(0, 1, (int(rng.integers(3, 6)), 2)) * extent + middle, colour)
    for cells, strength in ((side // 24, 9), (side // 8, 11), (side // 3, 13)):
        grey, tinted = _noise(rng, side, cells, 1), _noise(rng, side, cells, 3)
        canvas += rng.uniform(0.5, 1.2) * strength * (0.8 * grey + 0.5 * tinted)
    return canvas


def _paint(rng: np.random.Generator, canvas: Array, animal: _Animal) -> None:
    """Draw an animal over the canvas, with faint shading and fine grain: plain enough for growing to cross."""
    side = len(canvas)
    layer = canvas.copy()
    for shape in animal.shapes:
        _fill(layer, shape.corners, shape.colour)
    layer *= 1 + 0.04 * _noise(rng, side, 4, 1)
    layer += 4 * _noise(rng, side, side // 2, 1)
    canvas[animal.area] = layer[animal.area]


def _light(rng: np.random.Generator, canvas: Array) -> Array:
    """Brightness, a slight tint, and light that falls off towards one side."""
    ramp = np.linspace(-1, 1, len(canvas), dtype=np.float32)
    across, down = rng.uniform(-0.14, 0.14, 2)
    light = rng.uniform(0.72, 1.12) * (1 + across * ramp[None, :, None] + down * ramp[:, None, None])
    return np.asarray(canvas * light * rng.uniform(0.95, 1.05, 3), np.float32)
