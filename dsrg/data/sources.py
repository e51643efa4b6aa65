"""What is to be segmented: photographs and videos, named one by one or by their folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dsrg import disk
from dsrg.data.labelled import read_rows
from dsrg.data.photograph import Found, walk
from dsrg.errors import InputError
from dsrg.labels import Classes

VIDEO_EXTENSIONS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
"""File name endings of videos, in lower case."""


@dataclass(frozen=True)
class Source:
    """A photograph or video."""

    file_name: str
    """Its path from the folder that was named; its file name alone where it was named itself. With '/'."""
    path: Path
    """The file."""

    @property
    def name(self) -> str:
        """`file_name` without its ending: what its outputs are called."""
        return str(Path(self.file_name).with_suffix("").as_posix())

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its name."""
        return self.path.suffix.lower() in VIDEO_EXTENSIONS


def find_sources(
    inputs: Sequence[Path], *, recursive: bool = False, without: Path | None = None
) -> tuple[list[Source], Found]:
    """The photographs and videos of files and folders, each folder's in alphabetical order.

    Args:
        inputs: Files, which may have any ending, and folders.
        recursive: Search the folders' own folders too.
        without: A folder that is not searched: the one for the output, which may lie in an input.

    Returns:
        The sources; and what else lies in the folders: files that are no photographs or videos, what is hidden or the
        system's, and what cannot be read.

    Raises:
        InputError: an input does not exist or is no file, a folder holds nothing, or two sources would have outputs of
            one name.
    """
    found: dict[str, Source] = {}
    left = Found([], [], [], {})
    for given in inputs:
        if given.is_dir():
            sources, lying = _search(given, recursive, without)
            left.others.extend(lying.others)
            left.skipped.extend(lying.skipped)
            left.faults.update(lying.faults)
        elif not os.path.lexists(given):
            raise InputError(f"{given}: does not exist; give photographs, videos, or folders of them.")
        else:
            disk.open_regular(given, "photograph").close()
            sources = [Source(given.name, given)]
        for source in sources:
            other = found.setdefault(source.name, source)
            if other.path.resolve() != source.path.resolve():
                raise InputError(
                    f"{source.path}: its outputs would have the name '{source.name}', as those of {other.path}; rename "
                    "one of them, or give them in two calls with an --out each."
                )
    videos = {source.name: source for source in found.values() if source.is_video}
    for source in found.values():
        folders = map(str, PurePosixPath(source.name).parents)
        above = next((videos[folder] for folder in folders if folder in videos), None)
        if above is not None:
            raise InputError(
                f"{source.path}: its outputs would lie among those of the frames of {above.path}; rename the video."
            )
    return list(found.values()), left


def read_tags(path: Path, sources: Sequence[Source], classes: Classes) -> dict[str, list[str]]:
    """Each source's own labels, from a CSV with the columns image and labels.

    Args:
        path: The CSV. `image` is a source's path from its folder, or its file name, either with its ending or without.
            Labels are divided by ';' if any line of the file has one, else by blanks; a class's name with a blank in it
            may stand alone.
        sources: The photographs and videos.
        classes: The classes that the labels name.

    Returns:
        From a source's `name` to its labels.

    Raises:
        InputError: the CSV is missing or broken, a source has no row or no label, or a label is not a class.
    """
    if not path.is_file():
        raise InputError(f"{path}: the table of labels does not exist; write a CSV 'image,labels'.")
    rows = read_rows(path)
    divider = ";" if any(";" in text for _, text in rows) else None
    labels: dict[str, list[str]] = {}
    for image, text in rows:
        alone = text.strip() in classes.names
        names = [text.strip()] if alone else [name.strip() for name in text.split(divider) if name.strip()]
        for name in names:
            classes.index(name, f"{path} ({image})")
        if image in labels:
            raise InputError(f"{path}: '{image}' is listed twice; write its labels on one line.")
        labels[image] = names
    alike = Counter(name for source in sources for name in {source.path.name, source.path.stem})
    return {source.name: _own_labels(source, labels, path, alike) for source in sources}


def _own_labels(source: Source, labels: Mapping[str, list[str]], table: Path, alike: Mapping[str, int]) -> list[str]:
    for key in (source.file_name, source.name, source.path.name, source.path.stem):
        if key in labels and key not in (source.file_name, source.name) and alike[key] > 1:
            raise InputError(f"{table}: '{key}' may be {alike[key]} photographs; write their folders before the name.")
        if labels.get(key):
            return labels[key]
        if key in labels:
            raise InputError(f"{table}: '{key}' has no label; give it at least one.")
    raise InputError(f"{source.path}: has no row in {table}; add one, or leave the photograph out.")


def _search(folder: Path, recursive: bool, without: Path | None) -> tuple[list[Source], Found]:
    """The sources of a folder, and what else lies there."""
    found = walk(folder, recursive=recursive, without=without)
    videos = [path for path in found.others if path.suffix.lower() in VIDEO_EXTENSIONS]
    paths = sorted([*found.photographs, *videos])
    if not paths:
        found.check()
        inner = not recursive and any(path.is_dir() for path in folder.iterdir())
        hint = "add --recursive to search the folders in it" if inner else "check the path"
        raise InputError(f"{folder}: holds no photograph or video; {hint}.")
    others = [path for path in found.others if path.suffix.lower() not in VIDEO_EXTENSIONS]
    return [Source(path.relative_to(folder).as_posix(), path) for path in paths], found._replace(others=others)
