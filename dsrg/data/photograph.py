"""One photograph of any origin into a data folder: found, checked, copied or linked, turned upright."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from dsrg.errors import InputError
from dsrg.files import disk, locks, pictures

Link = Literal["hard", "symbolic"]

KEPT = (*pictures.JPEG_EXTENSIONS, ".png")
"""Endings of photographs that a data folder gets as they are. The others are written anew, those of telephones as JPEG
and the rest as PNG, which every other program reads too."""
UNREADABLE = (
    *(".jxl", ".jp2", ".psd"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
"""Endings of photographs that cannot be read here: refused, never left out."""
SYSTEM = {
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "@__thumb"),  # network storage
    *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),  # Windows
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("__macosx", "icon\r", "network trash folder", "temporary items"),  # macOS, and what it puts into archives
    *("lost+found", "__pycache__"),
}
"""Files and folders of systems, in lower case, beside those that begin with a point; theirs are no photographs but
thumbnails, and what was thrown away."""


class Found(NamedTuple):
    """What lies in a folder, each in the order of the paths; files of the system that hold no photograph aside."""

    photographs: list[Path]
    others: list[Path]
    """Files whose ending is no photograph's."""
    skipped: list[Path]
    """Folders and photographs that are hidden or the system's, and links to folders that are found already."""
    faults: dict[Path, InputError]
    """What cannot be read: photographs of formats that are not known here, links to nothing, folders without
    permission, what is no file."""

    def check(self) -> Found:
        """Itself.

        Raises:
            InputError: there is a fault.
        """
        if self.faults:
            error, more = next(iter(self.faults.values())), len(self.faults) - 1
            raise InputError(f"{error} ({more} more files or folders are faulty.)" if more else str(error), error.kind)
        return self


def is_system(name: str) -> bool:
    """Whether a file or folder of this name is hidden or some system's own."""
    return name.startswith(".") or name.lower() in SYSTEM


def is_photograph(path: Path) -> bool:
    """Whether a file is a photograph by its ending, one that can be read here or not."""
    return path.suffix.lower() in (*pictures.IMAGE_EXTENSIONS, *UNREADABLE)


def check_folder(folder: Path, what: str, flag: str = "the path") -> None:
    """Refuse what is no folder.

    Args:
        folder: The folder.
        what: What it holds, for the error.
        flag: What named it.

    Raises:
        InputError: it does not exist, or is a file.
    """
    if folder.is_dir():
        return
    if folder.exists():
        raise InputError(f"{folder}: is a file, and a folder of {what} is wanted; give the folder, check {flag}.")
    raise InputError(f"{folder}: the folder of {what} does not exist; check {flag}.")


def walk(folder: Path, *, recursive: bool = True, without: Path | None = None) -> Found:
    """Find the photographs of a folder: the one search of every door. No file is opened.

    Args:
        folder: Where to look.
        recursive: Search the folders in it too; links to folders are followed, each folder is searched once.
        without: A folder not to be searched.

    Raises:
        InputError: the folder does not exist.
    """
    check_folder(folder, "photographs")
    found = Found([], [], [], {})
    left = None if without is None else without.resolve()
    places, links, seen = [folder], list[Path](), set[str]()
    while places or links:
        place = places.pop() if places else links.pop(0)  # a folder is found under its own name before a link's
        real = os.path.realpath(place)
        if real in seen:  # a link back up: for ever else
            found.skipped.append(place)
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            found.faults[place] = disk.unreadable(place, "folder", error)
            continue
        for entry in entries:
            path = Path(entry.path)
            if _sort(entry, found) and recursive and (left is None or path.resolve() != left):
                (links if entry.is_symlink() else places).append(path)
    faults = {path: found.faults[path] for path in sorted(found.faults)}
    return Found(sorted(found.photographs), sorted(found.others), sorted(found.skipped), faults)


def _sort(entry: os.DirEntry[str], found: Found) -> bool:
    """Put a file where it belongs; whether it is a folder to be searched."""
    path = Path(entry.path)
    known = is_photograph(path)
    try:
        is_dir = entry.is_dir()
        is_file = not is_dir and entry.is_file()  # neither asks the disk, but for links
        if not is_dir and not is_file and entry.is_symlink():
            path.stat()  # tells why
    except OSError as error:
        if not is_system(entry.name):
            found.faults[path] = disk.unreadable(path, "photograph" if known else "file", error)
        return False
    if is_system(entry.name):
        if is_dir or known:
            found.skipped.append(path)
        return False
    if is_dir:
        return True
    if known and not is_file:
        found.faults[path] = InputError(f"{path}: is no regular file; remove it.", "photograph unreadable")
    elif pictures.PHONE_EXTENSIONS.get(path.suffix.lower()) in pictures.LACKING:
        mend = pictures.LACKING[pictures.PHONE_EXTENSIONS[path.suffix.lower()]]
        found.faults[path] = InputError(f"{path}: {mend}, or save it as JPEG or PNG.", "photograph unreadable")
    elif path.suffix.lower() in UNREADABLE:
        sentence = f"{path}: photographs of this format cannot be read; save it as JPEG or PNG."
        found.faults[path] = InputError(sentence, "photograph unreadable")
    else:
        (found.photographs if known else found.others).append(path)
    return False


LEFT_OUT = "files are no photographs and were left out"


def describe_left_out(
    folder: Path, others: Sequence[Path], skipped: Sequence[Path] = (), said: str = LEFT_OUT
) -> list[str]:
    """The sentences that say which files of a folder are no photographs, and what is hidden or the system's.

    Args:
        folder: The folder.
        others: The files, in it.
        skipped: What is hidden or the system's.
        said: What the sentence says of the files, after their number.
    """
    sentences = []
    for paths, what in (
        (others, said),
        (skipped, "files or folders are hidden, a system's, or found twice, and were left out"),
    ):
        names = ", ".join(path.relative_to(folder).as_posix() for path in paths[:3])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        if paths:
            sentences.append(f"{folder}: {len(paths)} {what}: {names}{more}.")
    return sentences


def fold(text: str) -> str:
    """Text in one case and one Unicode form: equal for what some file systems hold to be the same name."""
    return unicodedata.normalize("NFC", text).casefold()


def ending_of(source: Path) -> str:
    """The ending that a photograph has in the data folder: its own in lower case, .jpg for the rarer ones of JPEG, or
    that of what it is converted to."""
    ending = source.suffix.lower()
    if ending in (".jpeg", ".png"):
        return ending
    return ".jpg" if ending in (*pictures.JPEG_EXTENSIONS, *pictures.PHONE_EXTENSIONS) else ".png"


def put_photograph(
    source: Path, target: Path, *, link: Link | None = None, size: tuple[int, int] | None = None
) -> bool:
    """Decode a photograph and put it to `target`, whole or not at all.

    The stages read the stored pixels and heed no EXIF orientation. So where that is set, the photograph is turned
    upright and written anew (JPEG of quality 95); so is one in HEIC or AVIF; one of another format than JPEG and PNG
    becomes a PNG; any other is copied or linked as it is.

    Args:
        source: The photograph.
        target: The new file; its ending is `ending_of(source)`.
        link: Link in place of copying.
        size: Width and height in pixels that masks or annotations of the photograph have. A photograph that fits only
            as it is stored is not turned. One that fits either way, square or upside down, is: annotation tools show
            photographs upright.

    Returns:
        Whether it was written anew.

    Raises:
        InputError: the photograph cannot be decoded, has more than 8 bits a channel, holds several pictures, is not
            of `size`, or cannot be linked.
    """
    image = pictures.read_image(source)
    upright = pictures.turned(image)
    turned = image if size is not None and upright.size != size else upright
    if size is not None and turned.size != size:
        raise _other_size(source, image.size, size)
    if turned is image and source.suffix.lower() in KEPT:
        put_file(source, target, link)
        return False
    form, options = ("PNG", {}) if target.suffix == ".png" else ("JPEG", {"quality": 95, "subsampling": 0})
    disk.write_bytes(target, pictures.encoded(turned, form, **options))
    return True


def check_size(source: Path, size: tuple[int, int]) -> None:
    """Refuse a photograph whose header says another size than `size`, upright or turned, before work is done on it.

    Raises:
        InputError: it does, or it is no photograph.
    """
    stored = pictures.read_size(source)
    if size not in (stored, stored[::-1]):
        raise _other_size(source, stored, size)


def _other_size(source: Path, stored: tuple[int, int], size: tuple[int, int]) -> InputError:
    return InputError(
        f"{source}: the photograph is {stored[0]} x {stored[1]} pixels, but its annotation is for "
        f"{size[0]} x {size[1]}; make them equal."
    )


def put_file(source: Path, target: Path, link: Link | None = None) -> None:
    """Copy or link a file, whole or not at all.

    Raises:
        InputError: it cannot be linked.
    """
    temporary = target.with_name(locks.temporary_name(target.name))
    try:
        if link == "hard":
            os.link(source.resolve(), temporary)
        elif link == "symbolic":
            temporary.symlink_to(source.resolve())
        else:
            with disk.open_regular(source) as content, temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
        temporary.replace(target)
    except OSError as error:
        if link is None:
            raise disk.unwritable(target, error) from None
        raise InputError(
            f"{source}: cannot be linked to {target} ({error.strerror}); use --link symbolic for a folder on another "
            "disk, or leave --link out."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
