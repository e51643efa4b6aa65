"""Masks of any photographs and videos, in the formats that other tools read.

    out/masks/<name>.png         palette PNG of class indices: always, the other formats are made from it
    out/overlays/<name>.jpg      the photograph with its classes in colour; of a video one <name>.mp4
    out/labelme/<name>.json      polygons
    out/annotations.json         COCO, all of them
    out/probs/<name>.npz         class probabilities, float16
    out/frames/<name>/<n>.jpg    a video's frames, where COCO or LabelMe must name them
    out/classes.txt, predict.json   the class names; the settings

A call that was interrupted, or that finds new photographs in its folders, continues with those that lack a file. What
is older than its photograph is made anew.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from dsrg import disk, inference, pictures
from dsrg.data.sources import Source
from dsrg.errors import InputError
from dsrg.formats import coco, labelme, video
from dsrg.formats.overlay import labelled_overlay
from dsrg.segmenter import Segmenter, to_pixels

FORMATS = ("png", "overlay", "coco", "labelme")
FOLDERS = ("masks", "overlays", "labelme", "probs", "frames")
RECORD = "predict.json"
UNSAID = {"merge": "probabilities"}
"""What had its effect before the record named it."""
COCO_FILE = "annotations.json"


@dataclass(frozen=True)
class Options:
    """What `predict` makes, and how."""

    formats: tuple[str, ...] = ("png",)
    """Some of FORMATS; png is always written."""
    probs: bool = False
    """Keep the network's class probabilities."""
    crf: bool | None = None
    """Refine with the dense CRF; None for the network's own setting, as for the following two."""
    scales: tuple[float, ...] | None = None
    """Sizes to average over."""
    size: int | None = None
    """Long side of the photographs at scale 1, in pixels."""
    classes: tuple[str, ...] | None = None
    """The only classes besides background that a mask may hold; None for all."""
    tags: Mapping[str, Sequence[str]] | None = None
    """Each source's own labels by its name, which restrict its mask alone."""
    every: int = 1
    """Of a video take every so many frames."""
    tolerance: float = 1.0
    """Of LabelMe's polygons, in pixels; see `dsrg.formats.labelme`."""
    batch: int = 8
    """Photographs of one network size that go through the network together."""
    workers: int = 2
    """Processes for the CRF."""
    overwrite: bool = False
    """Make everything anew."""


@dataclass(frozen=True)
class Target:
    """One picture's outputs."""

    name: str
    """Path below the output's folders, without ending."""
    photo: Path
    """The photograph; of a video's frame, the file that COCO and LabelMe name."""
    file_name: str
    """What COCO calls it."""
    source: str
    """Name of the photograph or video, which has the labels."""
    made: float
    """When the photograph or video was last changed, in seconds."""
    is_frame: bool = False
    """Whether it is a frame of a video."""


class Predictor:
    """Segments sources into a folder.

    Args:
        segmenter: The network.
        out: The folder.
        options: What is made.
    """

    def __init__(self, segmenter: Segmenter, out: Path, options: Options) -> None:
        self.segmenter = segmenter
        self.out = out
        self.options = options
        self.faults: list[str] = []
        """What could not be read, one sentence each."""
        self.done: list[Target] = []
        """The pictures that have all their files."""
        crf = segmenter.crf_arguments(options.crf)
        self._workers = inference.crf_workers(crf, segmenter.device, options.workers)
        self._finish = functools.partial(
            _finish, out, options, segmenter.classes.names, crf, segmenter.settings.crf_tags
        )

    def photographs(self, sources: Sequence[Source], bar: tqdm) -> None:
        """Segment photographs; those that cannot be read are kept in `faults`, and the others are made."""

        def pictures() -> Iterator[tuple[Target, np.ndarray]]:
            for source in sources:
                name, made = source.name, source.path.stat().st_mtime
                target = Target(name, source.path, source.file_name, name, made)
                picture = None if self._complete(target) else self._read(target)
                if picture is None:
                    bar.update()
                else:
                    yield target, picture

        for target, _ in self._all(pictures()):
            self.done.append(target)
            bar.update()

    def _read(self, target: Target) -> np.ndarray | None:
        """The photograph's pixels; None, and a fault, where it cannot be read."""
        try:
            return to_pixels(target.photo)
        except InputError as error:
            self.faults.append(str(error))
            return None

    def video(self, source: Source, bar: tqdm) -> None:
        """Segment a video's frames, and draw its overlay. Where it breaks off, the fault is kept, and the rest made."""
        path = self.out / "overlays" / f"{source.name}.mp4"
        made = source.path.stat().st_mtime
        wanted = "overlay" in self.options.formats and not _fresh(path, made)

        def pictures() -> Iterator[tuple[Target, np.ndarray]]:
            try:
                for number, picture in video.frames(source.path, self.options.every):
                    name = f"{source.name}/{number:06}"
                    frame = self.out / "frames" / f"{name}.jpg"
                    yield Target(name, frame, f"frames/{name}.jpg", source.name, made, is_frame=True), picture
            except InputError as error:
                self.faults.append(str(error))

        try:
            rate = video.describe(source.path)[1] / self.options.every
        except InputError as error:
            self.faults.append(str(error))
            return
        with video.VideoWriter(path, rate) if wanted else nullcontext() as writer:
            for target, overlay in self._all(pictures(), ordered=True, draw=wanted):
                if writer is not None and overlay is not None:
                    writer.write(overlay)
                self.done.append(target)
                bar.update()

    def write_coco(self) -> None:
        """Write annotations.json of all the pictures that are done, from their PNGs."""
        content = coco.empty(self.segmenter.classes.names, "made by dsrg, tools/predict.py")
        for target in tqdm(self.done, COCO_FILE, leave=False):
            coco.add(content, target.file_name, pictures.read_mask(self.out / "masks" / f"{target.name}.png"))
        disk.write_text(self.out / COCO_FILE, json.dumps(content) + "\n")

    def _all(
        self,
        pictures: Iterator[tuple[Target, np.ndarray]],
        *,
        ordered: bool = False,
        draw: bool = False,
    ) -> Iterator[tuple[Target, np.ndarray | None]]:
        """Bring every picture through the network and to its files.

        Args:
            pictures: Targets and their pixels (H, W, 3).
            ordered: Keep the pictures' order; else those that fit together are batched.
            draw: Return overlays.

        Returns:
            Each target with its overlay (H, W, 3), or None.
        """

        def jobs() -> Iterator[tuple[Any, ...]]:
            waiting: dict[Any, list[tuple[Target, np.ndarray]]] = {}
            for target, picture in pictures:
                if self._segmented(target):
                    if ordered:
                        yield from self._run(waiting, draw, everything=True)
                    yield target, draw, picture, None, None
                    continue
                key = self.segmenter.network_sizes(picture.shape[:2], self.options.scales, self.options.size)
                waiting.setdefault(key, []).append((target, picture))
                yield from self._run(waiting, draw)
            yield from self._run(waiting, draw, everything=True)

        return inference.each(self._finish, jobs(), self._workers)

    def _run(
        self,
        waiting: dict[Any, list[tuple[Target, np.ndarray]]],
        draw: bool,
        everything: bool = False,
    ) -> Iterator[tuple[Any, ...]]:
        """Take the batches that are full, or all, or the largest where many wait, off `waiting` and run them."""
        while waiting:
            key = max(waiting, key=lambda size: len(waiting[size]))
            batch = self.segmenter.fitting(waiting[key][0][1].shape, self.options.batch)
            many = sum(map(len, waiting.values())) > 4 * batch  # bounds the memory
            if not (everything or many or len(waiting[key]) >= batch):
                return
            group = waiting.pop(key)
            probs = self.segmenter.probabilities([one for _, one in group], self.options.scales, self.options.size)
            for (target, picture), own in zip(group, probs, strict=True):
                tags = None if self.options.tags is None else self.options.tags[target.source]
                allowed = self.segmenter.restriction(tags, self.options.classes, "tags")
                portable = None if allowed is None else inference.portable(allowed, self._workers)
                yield target, draw, picture, inference.portable(own, self._workers), portable

    def _segmented(self, target: Target) -> bool:
        """Whether the network is no more needed for a picture."""
        mask, probs = (self.out / name for name in (f"masks/{target.name}.png", f"probs/{target.name}.npz"))
        return _fresh(mask, target.made) and (not self.options.probs or _fresh(probs, target.made))

    def _complete(self, target: Target) -> bool:
        """Whether a photograph has all its files; it is then done."""
        paths = _paths(self.out, target, self.options).values()
        complete = self._segmented(target) and all(_fresh(path, target.made) for path in paths)
        if complete:
            self.done.append(target)
        return complete


def predict(
    segmenter: Segmenter,
    sources: Sequence[Source],
    out: Path,
    options: Options,
    *,
    unread: Sequence[str] = (),
    **named: Any,
) -> int:
    """Segment photographs and videos into a folder.

    Args:
        segmenter: The network.
        sources: What to segment.
        out: The folder; new, empty, or of an earlier call with the same settings.
        options: What is made.
        unread: Sentences on inputs that could not even be opened, to be told with those that cannot be read.
        named: Further settings that must be an earlier call's own: where the network and the sources come from.

    Returns:
        Number of pictures that have all their files.

    Raises:
        InputError: the folder is another's; or, after all the others are done, some source could not be read.
    """
    _begin(out, _settings(segmenter, options) | named, options.overwrite)
    disk.write_text(out / "classes.txt", "\n".join(segmenter.classes.names) + "\n")
    predictor = Predictor(segmenter, out, options)
    predictor.faults += unread
    photos, videos = ([one for one in sources if one.is_video == kind] for kind in (False, True))
    frames = sum(-(-_length(one) // options.every) for one in videos)
    with tqdm(total=len(photos) + frames, desc=out.name) as bar:
        predictor.photographs(photos, bar)
        for one in videos:
            predictor.video(one, bar)
    if "coco" in options.formats:
        predictor.write_coco()
    if predictor.faults:
        more = f" ({len(predictor.faults)} of {len(sources) + len(unread)} inputs are faulty; the others are done)"
        raise InputError(" ".join(predictor.faults) + more)
    return len(predictor.done)


def _settings(segmenter: Segmenter, options: Options) -> dict[str, Any]:
    """What decides on a mask, and on the files made from it."""
    digest = hashlib.sha256()
    for value in segmenter.model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    own = segmenter.settings
    return {
        "weights": digest.hexdigest(),
        "names": list(segmenter.classes.names),
        "crf": segmenter.crf_arguments(options.crf),
        "scales": list(options.scales or own.scales),
        "size": options.size or own.size,
        "mirror": own.mirror,
        "merge": own.merge,
        "amp": own.amp,
        "crf_tags": own.crf_tags,
        "classes": None if options.classes is None else list(options.classes),
        "tags": None if options.tags is None else {name: list(own) for name, own in options.tags.items()},
        "every": options.every,
        "tolerance": options.tolerance,
    }


def _begin(out: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Make the folder, or see that it is an earlier call's with the same settings; with `overwrite` empty it."""
    record = out / RECORD
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; choose another --out.")
    if not record.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise InputError(f"{out}: holds files that tools/predict.py did not write; choose another --out.")
    elif overwrite:
        for name in FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
        (out / COCO_FILE).unlink(missing_ok=True)
    else:
        before = disk.read_json(record)
        if not isinstance(before, dict):
            raise InputError(f"{record}: is not what tools/predict.py wrote; choose another --out, or --overwrite.")
        for key, now in _flat(json.loads(json.dumps(settings))).items():
            then = _flat(before).get(key, UNSAID.get(key))
            if then != now and not (key.startswith("tags.") and then is None):  # a photograph may have come
                raise InputError(
                    f"{out}: was made with {key} = {then}, which is now {now}; choose another --out, or --overwrite."
                )
    disk.write_json(record, settings)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each photograph's labels as one of their own."""
    tags = settings.get("tags") or {}
    own = {f"tags.{name}": labels for name, labels in tags.items()}
    return {**settings, "tags": settings.get("tags") is not None} | own


def _length(source: Source) -> int:
    try:
        return video.describe(source.path)[0]
    except InputError:
        return 0  # it is named when its turn comes


def _fresh(path: Path, made: float) -> bool:
    """Whether a file exists and is not older than what it was made from."""
    return path.is_file() and path.stat().st_mtime >= made


def _paths(out: Path, target: Target, options: Options) -> dict[str, Path]:
    """The files of one picture that are made from its mask, by format."""
    paths = {}
    if "overlay" in options.formats and not target.is_frame:
        paths["overlay"] = out / "overlays" / f"{target.name}.jpg"
    if "labelme" in options.formats:
        paths["labelme"] = out / "labelme" / f"{target.name}.json"
    if target.is_frame and {"coco", "labelme"} & set(options.formats):
        paths["frame"] = target.photo
    return paths


def _finish(
    out: Path,
    options: Options,
    classes: tuple[str, ...],
    crf: dict[str, Any] | None,
    crf_tags: bool,
    target: Target,
    draw: bool,
    picture: np.ndarray,
    probs: Tensor | np.ndarray | None,
    allowed: Tensor | np.ndarray | None,
) -> tuple[Target, np.ndarray | None]:
    """From probabilities (C, H, W), or without them from the mask that is there, to the files that are missing."""
    path = out / "masks" / f"{target.name}.png"
    if probs is None:
        mask = pictures.read_mask(path, len(classes))
        if mask.shape != picture.shape[:2]:
            raise InputError(f"{path}: is not of its photograph's size, which was replaced; delete it, or --overwrite.")
    else:
        found = torch.as_tensor(probs)
        pixels = torch.as_tensor(picture, device=found.device).permute(2, 0, 1).contiguous()
        own = None if allowed is None else torch.as_tensor(allowed, device=found.device)
        mask = inference.to_mask(found, pixels, own, crf=crf, crf_tags=crf_tags).cpu().numpy()
        if options.probs:
            _write_probs(out / "probs" / f"{target.name}.npz", found, classes)
        pictures.write_mask(path, mask)
    for kind, file in _paths(out, target, options).items():
        if _fresh(file, target.made):  # it may have been corrected by hand since
            continue
        if kind == "overlay":
            _write_jpeg(file, labelled_overlay(picture, mask, classes))
        elif kind == "frame":
            _write_jpeg(file, picture)
        else:
            image = Path(os.path.relpath(target.photo, file.parent)).as_posix()
            disk.write_json(file, labelme.document(mask, classes, image, options.tolerance))
    return target, labelled_overlay(picture, mask, classes) if draw else None


def _write_probs(path: Path, probs: Tensor, classes: Sequence[str]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probs=probs.cpu().numpy().astype(np.float16), classes=np.array(classes))
    disk.write_bytes(path, buffer.getvalue())


def _write_jpeg(path: Path, picture: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    disk.write_bytes(path, buffer.getvalue())
