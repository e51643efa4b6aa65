"""One photograph of any origin into a data folder: found, checked, copied or linked, turned upright."""

from __future__ import annotations

import io
import os
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image, ImageOps

from dsrg import disk, pictures
from dsrg.errors import InputError

Link = Literal["hard", "symbolic"]

CONVERTED = (".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Endings of photographs that are written anew as PNG, since the stages read pictures.IMAGE_EXTENSIONS alone."""
UNREADABLE = (
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
"""Endings of photographs that cannot be read here: refused, never left out."""
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
"""What Windows puts into folders; other systems' files begin with a point."""


class Found(NamedTuple):
    """The files below a folder, hidden ones and those of the system aside."""

    photographs: list[Path]
    others: list[Path]
    """Files whose ending is no photograph's."""


def find_photographs(folder: Path) -> Found:
    """Find the photographs below a folder, at any depth; links to folders are followed, once each.

    Returns:
        The files in the order of their paths.

    Raises:
        InputError: the folder does not exist, or a photograph is of a format that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: the folder of photographs does not exist; check the path.")
    found, seen = Found([], []), set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:  # a link back up: for ever else
            continue
        seen.add(real)
        for name in files:
            if name.startswith(".") or name.lower() in SYSTEM_FILES:
                continue
            path = Path(place, name)
            ending = path.suffix.lower()
            if ending in UNREADABLE:
                raise InputError(f"{path}: photographs of this format cannot be read; save it as JPEG or PNG.")
            known = ending in (*pictures.IMAGE_EXTENSIONS, *CONVERTED)
            (found.photographs if known else found.others).append(path)
    return Found(sorted(found.photographs), sorted(found.others))


def describe_left_out(folder: Path, others: Sequence[Path]) -> list[str]:
    """The sentence that says which files of a folder are no photographs; nothing where there are none."""
    if not others:
        return []
    names = ", ".join(path.relative_to(folder).as_posix() for path in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return [f"{folder}: {len(others)} files are no photographs and were left out: {names}{more}."]


class PhotoIndex:
    """Finds photographs by what tables and annotations call them.

    Tried in this order: the path below the folder, the same without its ending, the file's name, its stem; then the
    same four once more in any case and any Unicode form, since Windows minds no case and macOS takes letters apart.
    """

    def __init__(self, folder: Path, photographs: Sequence[Path]) -> None:
        self._photographs = photographs
        self._keys: list[Callable[[Path], str]] = [
            lambda path: path.relative_to(folder).as_posix(),
            lambda path: path.relative_to(folder).with_suffix("").as_posix(),
            lambda path: path.name,
            lambda path: path.stem,
        ]
        self._tables: dict[tuple[bool, int], dict[str, list[Path]]] = {}

    def find(self, name: str) -> list[Path]:
        """The photographs that `name` may mean: none, one, or several of the same rank."""
        name = name.strip().replace("\\", "/").removeprefix("./")
        for folded in (False, True):
            wanted = fold(name) if folded else name
            for rank in range(len(self._keys)):
                hits = self._table(folded, rank).get(wanted)
                if hits:
                    return hits
        return []

    def _table(self, folded: bool, rank: int) -> dict[str, list[Path]]:
        if (folded, rank) not in self._tables:
            table: dict[str, list[Path]] = {}
            for path in self._photographs:
                key = self._keys[rank](path)
                table.setdefault(fold(key) if folded else key, []).append(path)
            self._tables[folded, rank] = table
        return self._tables[folded, rank]


def fold(text: str) -> str:
    """Text in one case and one Unicode form: equal for what some file systems hold to be the same name."""
    return unicodedata.normalize("NFC", text).casefold()


def ending_of(source: Path) -> str:
    """The ending that a photograph has in the data folder: its own in lower case, or .png where it is converted."""
    ending = source.suffix.lower()
    return ending if ending in pictures.IMAGE_EXTENSIONS else ".png"


def put_photograph(
    source: Path, target: Path, *, link: Link | None = None, size: tuple[int, int] | None = None
) -> bool:
    """Decode a photograph and put it to `target`, whole or not at all.

    The stages read the stored pixels and heed no EXIF orientation. So where that is set, the photograph is turned
    upright and written anew (JPEG of quality 95); one of another format than JPEG and PNG becomes a PNG; any other is
    copied or linked as it is.

    Args:
        source: The photograph.
        target: The new file; its ending is `ending_of(source)`.
        link: Link in place of copying.
        size: Width and height in pixels that masks or annotations of the photograph have. They decide then whether
            the photograph is turned: only where it fits upright and not as it is stored.

    Returns:
        Whether it was written anew.

    Raises:
        InputError: the photograph cannot be decoded, has more than 8 bits a channel, holds several pictures, is not
            of `size`, or cannot be linked.
    """
    image = pictures.read_image(source)
    _check_form(source)
    turned = image
    if pictures.orientation(image) != 1:
        upright = ImageOps.exif_transpose(image)
        if size is None or (image.size != size and upright.size == size):
            turned = upright
    if size is not None and turned.size != size:
        raise InputError(
            f"{source}: the photograph is {image.width} x {image.height} pixels, but its annotation is for "
            f"{size[0]} x {size[1]}; make them equal."
        )
    if turned is image and source.suffix.lower() in pictures.IMAGE_EXTENSIONS:
        put_file(source, target, link)
        return False
    buffer = io.BytesIO()
    if target.suffix == ".png":
        turned.save(buffer, "PNG")
    else:
        turned.save(buffer, "JPEG", quality=95, subsampling=0)
    disk.write_bytes(target, buffer.getvalue())
    return True


def put_file(source: Path, target: Path, link: Link | None = None) -> None:
    """Copy or link a file, whole or not at all.

    Raises:
        InputError: it cannot be linked.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        if link == "hard":
            os.link(source.resolve(), temporary)
        elif link == "symbolic":
            temporary.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError as error:
        if link is None:
            raise
        raise InputError(
            f"{source}: cannot be linked to {target} ({error.strerror}); use --link symbolic for a folder on another "
            "disk, or leave --link out."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _check_form(source: Path) -> None:
    with Image.open(source) as image:  # the header alone
        if image.mode[0] in "IF":
            raise InputError(f"{source}: has more than 8 bits a channel ({image.mode}); save it with 8.")
        # Several pictures in a .jpg are an MPO of a telephone, whose first is the photograph.
        count = getattr(image, "n_frames", 1)
        if source.suffix.lower() in CONVERTED and count > 1:
            raise InputError(f"{source}: holds {count} pictures; save each as a file of its own.")
