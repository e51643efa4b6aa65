"""Masks of any photographs and videos, in the formats that other tools read.

    out/masks/<name>.png         palette PNG of class indices: always, the other formats are made from it
    out/overlays/<name>.jpg      the photograph with its classes in colour; of a video one <name>.mp4
    out/labelme/<name>.json      polygons
    out/annotations.json         COCO, all of them; annotations-polygons.json, the same as polygons
    out/datumaro/                COCO in Datumaro's layout, with the photographs
    out/cvat/                    VOC's layout with labelmap.txt
    out/label-studio/            tasks with predictions, and the project's configuration
    out/probs/<name>.npz         class probabilities, float16
    out/frames/<name>/<n>.jpg    a video's frames, where COCO or LabelMe must name them
    out/classes.txt, predict.json   the class names; the settings
    out/manifest.jsonl           what each of these was made from, see `dsrg.files.manifest`

A call that was interrupted, or that finds new photographs in its folders, continues with those that lack a file. What
was made from another photograph than the one that is there now, or from another mask, is made anew. What somebody has
changed since stays, and is named; a mask so corrected is what the other formats are made from.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dsrg import tables
from dsrg.data.sources import Source
from dsrg.errors import InputError
from dsrg.files import disk, locks, manifest, pictures
from dsrg.files.manifest import Manifest
from dsrg.predict.formats import Album, Named, video
from dsrg.predict.outputs import Due, Finish, Job, Options, Target, due, fault
from dsrg.predict.segmenter import Segmenter, to_pixels
from dsrg.run import large, processes

__all__ = ["Options", "predict"]

FOLDERS = {"masks", "probs", "frames", "overlays"}
RECORD = "predict.json"
UNSAID = {"merge": "probabilities"}
"""What had its effect before the record named it."""
CLASSES_FILE = "classes.txt"
MOST_NAMED = 10
"""Files that are named in one sentence."""
Pictured = tuple[Target, Due, np.ndarray]
"""A picture's outputs, what is to be done, and its pixels (H, W, 3)."""
Waiting = tuple[Target, Due, np.ndarray, np.ndarray | None]
"""The same, and of a large picture the copy (h, w, 3) that is segmented."""


class OutputFolder:
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
        """What could not be done, one sentence for each photograph or video."""
        self.done: list[Target] = []
        """The pictures that have all their files."""
        self.changed: list[Path] = []
        """Files that are not as they were written, and stay."""
        self.large = 0
        """Photographs of which a smaller copy was segmented."""
        self._manifest = Manifest(out)
        crf = segmenter.crf_arguments(options.crf)
        self._workers = processes.crf_workers(crf, segmenter.device, options.workers)
        self._finish = Finish(out, options, segmenter.classes.names, crf, segmenter.settings.crf_tags)

    def photographs(self, sources: Sequence[Source], bar: tqdm) -> None:
        """Segment photographs; those that cannot be done are kept in `faults`, and the others are made."""
        later: list[Source] = []

        def pictures(some: Sequence[Source], *, put_off: bool) -> Iterator[Pictured]:
            for source in some:
                found = self._open(source)
                if found is None:
                    bar.update()
                elif put_off and self._copy(found[2]) is not None:
                    later.append(source)
                else:
                    yield found

        # A large one is worked on alone, and in this process: each further one that waits would take as much memory.
        for some, workers in ((sources, self._workers), (later, 0)):
            for target, _ in self._all(pictures(some, put_off=some is sources), workers):
                self.done.append(target)
                bar.update()

    def _open(self, source: Source) -> Pictured | None:
        """A photograph for which something is to be done; None where nothing is, or it cannot be read."""
        try:
            target = Target(source.name, source.path, source.file_name, source.name, manifest.identity(source.path))
            todo = due(self._manifest, target, self.options)
            self.changed += todo.changed
            if todo.kinds:
                return target, todo, to_pixels(target.photo)
        except InputError as error:
            self.faults.append(str(error))
            return None
        self.done.append(target)
        return None

    def video(self, source: Source, bar: tqdm) -> None:
        """Segment a video's frames, and draw its overlay. Where it breaks off, the fault is kept, and the rest made."""
        path = self.out / "overlays" / f"{source.name}.mp4"
        failed = len(self.faults)

        def pictures() -> Iterator[Pictured]:
            try:
                for number, picture in video.frames(source.path, self.options.every):
                    name = f"{source.name}/{number:06}"
                    frame = self.out / "frames" / f"{name}.jpg"
                    target = Target(name, frame, f"frames/{name}.jpg", source.name, identity, is_frame=True)
                    todo = due(self._manifest, target, self.options)
                    self.changed += todo.changed
                    yield target, todo, picture
            except InputError as error:
                self.faults.append(str(error))

        try:
            rate = video.describe(source.path)[1] / self.options.every
            identity = manifest.identity(source.path)
            state = self._manifest.state(path, identity)
            wanted = "overlay" in self.options.formats and state in ("missing", "stale")
            if state == "changed":
                self.changed.append(path)

            def note(file: Path) -> None:
                self.options.recorder(self.out).note(path, identity, file, manifest.digest(file))

            with video.write_video(path, rate, note) if wanted else nullcontext() as write:
                for target, overlay in self._all(pictures(), self._workers, ordered=True, draw=wanted):
                    if write is not None and overlay is not None:
                        write(overlay)
                    self.done.append(target)
                    bar.update()
        except InputError as error:
            if error.kind == "disk full":
                raise
            self.faults.append(str(error))
        frames = len(self.faults) - failed
        if frames > 1:
            self.faults[failed:] = [f"{self.faults[failed]} ({frames} frames of {source.path} in all.)"]

    def write_whole(self, line: tables.Format) -> None:
        """Write a file of all the pictures that are done, from their PNGs."""
        masks = (
            Named(target.name, target.file_name, pictures.read_mask(self.out / "masks" / f"{target.name}.png"))
            for target in tqdm(self.done, line.path, leave=False)
        )
        self.write(self.out / line.path, _whole(line, self.segmenter, self.options, masks))

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that is made of all pictures together, but where somebody has changed it."""
        if self._manifest.state(path, None) != "changed":
            self.options.recorder(self.out).write(path, content, None)
        elif disk.read_bytes(path, limit=None) != content:  # another shard may have written it meanwhile
            self.changed.append(path)

    def _all(
        self, pictures: Iterator[Pictured], workers: int, *, ordered: bool = False, draw: bool = False
    ) -> Iterator[tuple[Target, np.ndarray | None]]:
        """Bring every picture through the network and to its files; the faults of those that fail are kept.

        Args:
            pictures: Targets, what is to be done for them, and their pixels.
            workers: Processes for the CRF.
            ordered: Keep the pictures' order; else those that fit together are batched.
            draw: Return overlays.

        Returns:
            Each target that is done with its overlay (H, W, 3), or None.
        """

        def jobs() -> Iterator[tuple[Job]]:
            waiting: dict[Any, list[Waiting]] = {}
            for target, todo, picture in pictures:
                if not todo.network:
                    if ordered:
                        yield from self._run(waiting, draw, workers, everything=True)
                    yield (Job(target, todo, draw, picture),)
                    continue
                copy = self._copy(picture)
                self.large += copy is not None
                seen = picture if copy is None else copy
                key = self.segmenter.network_sizes(seen.shape[:2], self.options.scales, self.options.size)
                waiting.setdefault(key, []).append((target, todo, picture, copy))
                yield from self._run(waiting, draw, workers, everything=copy is not None)
            yield from self._run(waiting, draw, workers, everything=True)

        for target, overlay, said in processes.map_in_order(self._finish, jobs(), workers):
            if said:
                self.faults.append(said)
            else:
                yield target, overlay

    def _copy(self, picture: np.ndarray) -> np.ndarray | None:
        """Of a large picture the copy that is segmented; None for all others."""
        seen = self.segmenter.copy_of(picture, self.options.size)
        return None if seen is picture else seen

    def _run(
        self, waiting: dict[Any, list[Waiting]], draw: bool, workers: int, *, everything: bool = False
    ) -> Iterator[tuple[Job]]:
        """Take the batches that are full, or all, or the largest where many wait, off `waiting` and run them."""
        while waiting:
            key = max(waiting, key=lambda size: len(waiting[size]))
            batch = self.segmenter.fitting(waiting[key][0][2].shape, self.options.batch)
            many = sum(map(len, waiting.values())) > 4 * batch  # bounds the memory
            if not (everything or many or len(waiting[key]) >= batch):
                return
            group = waiting.pop(key)
            for (target, todo, picture, copy), own in zip(group, self._probabilities(group), strict=True):
                if own is None:
                    continue
                tags = None if self.options.tags is None else self.options.tags[target.source]
                allowed = self.segmenter.restriction(tags, self.options.classes, "tags")
                portable = None if allowed is None else processes.portable(allowed, workers)
                yield (Job(target, todo, draw, picture, copy, processes.portable(own, workers), portable),)

    def _probabilities(self, group: Sequence[Waiting]) -> list[Tensor | None]:
        """The class probabilities of pictures that go together; None, and a fault, where the memory is too small."""
        seen = [picture if copy is None else copy for _, _, picture, copy in group]
        try:
            return list(self.segmenter.probabilities(seen, self.options.scales, self.options.size))
        except (MemoryError, torch.OutOfMemoryError) as error:
            if len(group) == 1:
                self.faults.append(fault(group[0][0], error))
                return [None]
        return [own for one in group for own in self._probabilities([one])]


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
    whole = [line for line in tables.files_of(options.formats).values() if line.whole]
    for line in whole:
        _whole(line, segmenter, options, ())  # one that cannot hold the classes' names says so before hours are spent
    _begin(out, _settings(segmenter, options) | named, options.overwrite)
    output = OutputFolder(segmenter, out, options)
    output.faults += unread
    output.write(out / CLASSES_FILE, ("\n".join(segmenter.classes.names) + "\n").encode())
    if options.shard is not None:
        sources = sources[options.shard.number - 1 :: options.shard.total]
    photos, videos = ([one for one in sources if one.is_video == kind] for kind in (False, True))
    frames = sum(-(-_length(one) // options.every) for one in videos)
    with tqdm(total=len(photos) + frames, desc=out.name) as bar:
        output.photographs(photos, bar)
        for one in videos:
            output.video(one, bar)
    for line in whole if options.shard is None else ():
        output.write_whole(line)
    _tell(output)
    if output.faults:
        more = f" ({len(output.faults)} of {len(sources) + len(unread)} inputs are faulty; the others are done)"
        raise InputError(" ".join(output.faults) + more)
    return len(output.done)


def _whole(line: tables.Format, segmenter: Segmenter, options: Options, pictures: Iterable[Named]) -> bytes:
    album = Album(segmenter.classes.names, pictures, options.tolerance, options.image_url)
    content: bytes = tables.part(line.place)(album)
    return content


def _tell(output: OutputFolder) -> None:
    """Say what somebody who looks at the folder should know."""
    shard = output.options.shard
    if shard is not None:
        print(
            f"{output.out}: shard {shard} is done. When all are, in this folder or copied into one, the same command "
            "without --shard makes what is missing, and the files that are of all photographs together."
        )
    if output.large:
        print(large.sentence(output.large))
    changed = [path.relative_to(output.out).as_posix() for path in output.changed]
    if changed:
        more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
        print(
            f"{output.out}: not written by dsrg, or changed since, and left alone: {', '.join(changed[:MOST_NAMED])}"
            f"{more}; --overwrite makes everything anew."
        )


def _settings(segmenter: Segmenter, options: Options) -> dict[str, Any]:
    """What decides on a mask, and on the files made from it."""
    digest = hashlib.sha256()
    gate = segmenter.gate
    for network in (segmenter.model,) if gate is None else (segmenter.model, gate):
        for value in network.state_dict().values():
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
        "gate": None if gate is None else gate.facts,
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
        if out.is_dir() and not all(locks.is_leftover(path.name) for path in out.iterdir()):
            raise InputError(f"{out}: holds files that dsrg predict did not write; choose another --out.")
    elif overwrite:
        made = [line.path.partition("/") for line in tables.files_of().values()]
        for name in FOLDERS | {first for first, slash, _ in made if slash}:
            shutil.rmtree(out / name, ignore_errors=True)
        for name in (*(first for first, slash, _ in made if not slash), CLASSES_FILE):
            (out / name).unlink(missing_ok=True)
        for noted in out.glob(manifest.FILES):
            noted.unlink()
    else:
        before = disk.read_object(record, "record of dsrg predict")
        for key, now in _flat(json.loads(json.dumps(settings))).items():
            then = _flat(before).get(key, UNSAID.get(key))
            if key == "model":  # wherever it lies now: its weights are compared
                continue
            if then != now and not (key.startswith("tags.") and then is None):  # a photograph may have come
                raise InputError(
                    f"{out}: was made with {key} = {then}, which is now {now}; choose another --out, or --overwrite."
                )
    locks.remove_leftovers(out, deep=True)
    disk.write_json(record, settings)


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each photograph's labels as one of their own."""
    tags = settings.get("tags")
    own = {f"tags.{name}": labels for name, labels in tags.items()} if isinstance(tags, dict) else {}
    return {**settings, "tags": settings.get("tags") is not None} | own


def _length(source: Source) -> int:
    try:
        return video.describe(source.path)[0]
    except InputError:
        return 0  # it is named when its turn comes
