"""Files read within bounds and written whole or not at all: the ground that every reader and writer stands on.

A path from outside may name anything: a FIFO that never ends, a device, a file of a terabyte, a link to itself. Every
reader of the project takes its bytes from here, so that each of these becomes one sentence before any work is done.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from dsrg.errors import InputError
from dsrg.files import locks

MIB = 2**20
_PART = 2**18
"""Bytes to read at a time where the length is not known."""
LARGEST_TEXT = 64 * MIB
"""Bytes that a text may have (configuration, table, list, XML), unless a reader says otherwise."""
_BEGINS = {
    b"PK\x03\x04": "a workbook of Excel or packed (zip)",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel",
    b"\x1f\x8b": "packed (gzip)",
    b"PAR1": "Parquet",
    b"\xff\xfe": "in UTF-16",
    b"\xfe\xff": "in UTF-16",
}
"""What a file is that begins so and is given for a text."""


def open_regular(path: str | Path, what: str = "file", *, limit: int | None = None) -> BinaryIO:
    """Open a file for reading, if it is one.

    Args:
        path: The file; links are followed.
        what: What it is, for the error: 'configuration', 'photograph'.
        limit: Bytes that it may have; None for any number.

    Raises:
        InputError: it does not exist, is a folder, FIFO, socket or device, is too large, or cannot be opened.
    """
    try:
        # Opening a FIFO for reading waits for a writer, and the kind is asked of what was opened, not of the name.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise unreadable(path, what, error) from None
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "no regular file"
            raise InputError(f"{path}: is {kind}; the {what} must be a file.", f"{what} unreadable")
        if limit is not None and state.st_size > limit:
            raise InputError(
                f"{path}: has {_size(state.st_size)}, and a {what} may have {_size(limit)}; check that it "
                "is the right file.",
                f"{what} too large",
            )
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def unreadable(path: str | Path, what: str, error: OSError | ValueError) -> InputError:
    """The sentence for a path that cannot be opened: missing, forbidden, a link to itself, no name for a file."""
    code = getattr(error, "errno", None)
    if code == errno.ENOENT and Path(path).is_symlink():
        end = Path(path).readlink()
        return InputError(f"{path}: is a link to {end}, which does not exist; mend or remove it.", f"{what} missing")
    if code in (errno.ENOENT, errno.ENOTDIR):
        return InputError(f"{path}: the {what} does not exist; check the path.", f"{what} missing")
    if code == errno.ELOOP:
        return InputError(f"{path}: is a link that leads back to itself; remove it.", f"{what} unreadable")
    shown = str(path).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        f"{shown}: the {what} cannot be opened ({reason}); check the path and its permissions.", f"{what} unreadable"
    )


def read_bytes(path: str | Path, what: str = "file", *, limit: int | None = LARGEST_TEXT) -> bytes:
    """The bytes of a regular file.

    Args:
        path, what, limit: As in `open_regular`.

    Raises:
        InputError: as `open_regular`, or the disk fails.
    """
    with open_regular(path, what, limit=limit) as file:
        try:
            content = file.read() if limit is None else read_at_most(file, limit + 1)
        except OSError as error:
            raise unreadable(path, what, error) from None
    if limit is not None and len(content) > limit:  # it grows, or its size says nothing (/proc)
        raise InputError(f"{path}: has more than {_size(limit)}; check that it is the right file.")
    return content


def digest(path: Path, algorithm: str) -> str:
    """The hash of a file's content, in hexadecimal. (hashlib.file_digest is not in Python 3.10.)

    Args:
        path: The file.
        algorithm: As in `hashlib.new`; none that has to be secure.
    """
    found = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(MIB):
            found.update(part)
    return found.hexdigest()


def read_at_most(stream: IO[bytes], count: int) -> bytes:
    """Up to `count` bytes of a stream; room is made for what it has, and not for what it may have."""
    content = io.BytesIO()
    while content.tell() < count and (part := stream.read(min(_PART, count - content.tell()))):
        content.write(part)
    return content.getvalue()


def read_text(path: str | Path, what: str = "file", *, limit: int | None = LARGEST_TEXT) -> str:
    """The text of a regular file in UTF-8, with or without a byte order mark; line ends become \\n.

    Args:
        path, what, limit: As in `open_regular`.

    Raises:
        InputError: as `read_bytes`, or it is no UTF-8 or holds a NUL.
    """
    content = read_bytes(path, what, limit=limit)
    known = next((form for begin, form in _BEGINS.items() if content.startswith(begin)), None)
    if known is not None:
        sentence = f"the {what} is not in UTF-8 but {known}; save it as a text in UTF-8, a table as CSV"
        raise InputError(f"{path}: {sentence}.", f"{what} unreadable")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: the {what} is not in UTF-8; save it anew in that encoding.", f"{what} unreadable"
        ) from None
    if "\0" in text:
        raise InputError(f"{path}: holds a NUL byte, as no text does; replace the {what}.", f"{what} unreadable")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | Path, what: str = "file", *, limit: int | None = LARGEST_TEXT, mend: str = "") -> Any:
    """The value of a JSON file.

    Args:
        path, what, limit: As in `open_regular`.
        mend: What to do about one that is broken; replacing it where this is empty.

    Raises:
        InputError: as `read_text`, or it is no JSON, is nested too deeply, or holds a number that is none.
    """
    return parse_json(read_text(path, what, limit=limit), str(path), mend or f"replace the {what}")


def read_object(path: str | Path, what: str = "file", *, mend: str = "") -> dict[str, Any]:
    """The value of a JSON file that holds an object, as our records do.

    Args:
        path, what: As in `open_regular`.
        mend: As in `read_json`.

    Raises:
        InputError: as `read_json`, or it holds a list, a number or a text.
    """
    value = read_json(path, what, mend=mend)
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object, as the {what} is one; {mend or f'replace the {what}'}.")
    return value


def parse_json(text: str, where: str, mend: str) -> Any:
    """The value of a JSON text.

    Args:
        text: The text.
        where: What holds it, for the error.
        mend: What to do about it, for the error.

    Raises:
        InputError: it is no JSON, is nested too deeply, or holds a number that is none.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply for JSON of this kind; {mend}.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON ({error}); {mend}.") from None
    except ValueError as error:
        why = "a number of thousands of digits" if "digits" in str(error) else str(error)
        raise InputError(f"{where}: not valid JSON ({why}); {mend}.") from None


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically: a temporary name in the same folder, fsync, rename.

    A crash at any moment leaves the old file or the new one, never a part of either; and, if it comes between the
    two, a temporary file, which `locks.remove_leftovers` knows.

    Raises:
        InputError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    handle, temporary = -1, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = locks.open_temporary(path)
        with os.fdopen(handle, "wb", closefd=not locks.HAS_LOCKS) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes files that only the owner reads
        Path(temporary).replace(path)  # still locked: nobody takes it for a leftover
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError | ValueError):  # ValueError: a NUL in the name
            raise unwritable(path, error) from None
        raise
    finally:
        if handle >= 0 and locks.HAS_LOCKS:
            os.close(handle)


@contextlib.contextmanager
def told_of(path: str | Path) -> Iterator[None]:
    """Within it an OSError becomes the sentence of `unwritable`."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: str | Path, error: OSError | ValueError) -> InputError:
    """The sentence for a file that cannot be written; OSError names none where the disk is full."""
    reason = getattr(error, "strerror", None) or str(error)
    mend = {errno.ENOSPC: "free some space", errno.EDQUOT: "free some space", errno.ENAMETOOLONG: "shorten the name"}
    code = getattr(error, "errno", None) or 0
    todo = mend.get(code, "check the folder and its permissions")
    kind = "disk full" if code in (errno.ENOSPC, errno.EDQUOT) else ""
    return InputError(f"{path}: cannot be written ({reason}); {todo}, then run the same command again.", kind)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; bytes of a file's name that are none stand in it as \\udcXX."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; nan and infinities, which JSON does not know, become null."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """A value as indented JSON in ASCII; nan and infinities, which JSON does not know, become null."""
    return json.dumps(_finite(value), indent=2) + "\n"


def _size(count: int) -> str:
    """A number of bytes in words."""
    return f"{count / MIB:,.0f} MiB" if count >= 10 * MIB else f"{count / 1024:,.0f} KiB"


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
