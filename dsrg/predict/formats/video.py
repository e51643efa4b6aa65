"""Videos by OpenCV: their frames, and pictures to a video. Sound is neither read nor written."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dsrg.errors import InputError
from dsrg.files import disk, locks

CODEC = "mp4v"
"""MPEG-4 part 2, which every build of OpenCV's wheel can write; H.264 needs an encoder that the wheels lack."""

CONTAINERS = re.compile(
    rb".{4}(?:ftyp|moov|mdat|free|skip|wide|pnot)|RIFF.{4}AVI "
    rb"|\x1a\x45\xdf\xa3|\x00\x00\x01[\xb3\xba]|\x30\x26\xb2\x75|G",
    re.DOTALL,
)
"""First bytes of MP4 and QuickTime, AVI, Matroska and WebM, MPEG, WMV, MPEG-TS. OpenCV opens far more: playlists that
name other files and addresses, say."""


def describe(path: Path) -> tuple[int, float]:
    """The number of frames that the file announces (0 where it does not), and frames a second.

    Raises:
        InputError: it cannot be opened as a video.
    """
    with _opened(path) as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
        return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), rate if 0 < rate < 1000 else 25.0


def frames(path: Path, every: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """Every `every`-th frame, from the first: its number, from 0, and its RGB pixels (H, W, 3) uint8, upright.

    Raises:
        InputError: the file cannot be opened; or, after the last frame that could be decoded, it breaks off early.
    """
    announced, _ = describe(path)
    number = 0
    with _opened(path) as capture:
        while capture.grab():
            if number % every == 0:
                decoded, picture = capture.retrieve()
                if not decoded:
                    break
                yield number, np.ascontiguousarray(picture[:, :, ::-1])
            number += 1
    # Some containers announce a frame or two too many, or reckon their number from the length.
    if number == 0 or number < announced - max(2, announced // 100):
        raise InputError(f"{path}: breaks off after {number} of {announced} frames; replace the file, or cut it there.")


@contextlib.contextmanager
def write_video(
    path: Path, rate: float, before: Callable[[Path], None] = lambda _: None
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write pictures to an mp4 under a temporary name, and give it its own when the `with` block ends well.

    Args:
        path: The file.
        rate: Pictures a second.
        before: Called with the finished file under its temporary name.

    Yields:
        Appends a picture (H, W, 3) uint8; all are of one size. An odd row or column, which the codec cannot hold, is
        left out.

    Raises:
        InputError: the video cannot be written here.
    """
    opened: list[Any] = []  # by the first picture, which tells the size
    with contextlib.ExitStack() as stack:
        with disk.told_of(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            locks.remove_leftovers(path.parent)
            temporary = stack.enter_context(locks.temporary_folder(path)) / f"video{path.suffix}"

        def write(picture: np.ndarray) -> None:
            height, width = (side - side % 2 if side > 1 else side for side in picture.shape[:2])
            if not opened:
                opened.append(cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*CODEC), rate, (width, height)))
                if not opened[0].isOpened():
                    raise InputError(f"{path}: OpenCV cannot write a video of {width} x {height} pixels here.")
            opened[0].write(np.ascontiguousarray(picture[:height, :width, ::-1]))

        try:
            yield write
        finally:
            for writer in opened:
                writer.release()
        with disk.told_of(path):
            if temporary.is_file():
                before(temporary)
                temporary.replace(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with disk.open_regular(path, "video") as file:
        known = CONTAINERS.match(file.read(16))
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        shown = os.fspath(path).encode("utf-8", "backslashreplace").decode()
        raise InputError(f"{shown}: OpenCV opens no video whose name is not in UTF-8; rename it.") from None
    fault = InputError(f"{path}: the video cannot be decoded; replace the file, or bring it to mp4.")
    if not known:
        raise fault
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise fault
        yield capture
    finally:
        capture.release()
