"""Videos by OpenCV: their frames, and pictures to a video. Sound is neither read nor written."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from dsrg import disk
from dsrg.errors import InputError

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
    capture = _open(path)
    try:
        rate = capture.get(cv2.CAP_PROP_FPS)
        return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), rate if 0 < rate < 1000 else 25.0
    finally:
        capture.release()


def frames(path: Path, every: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """Every `every`-th frame, from the first: its number, from 0, and its RGB pixels (H, W, 3) uint8, upright.

    Raises:
        InputError: the file cannot be opened; or, after the last frame that could be decoded, it breaks off early.
    """
    announced, _ = describe(path)
    capture = _open(path)
    number = 0
    try:
        while capture.grab():
            if number % every == 0:
                decoded, picture = capture.retrieve()
                if not decoded:
                    break
                yield number, np.ascontiguousarray(picture[:, :, ::-1])
            number += 1
    finally:
        capture.release()
    # Some containers announce a frame or two too many, or reckon their number from the length.
    if number == 0 or number < announced - max(2, announced // 100):
        raise InputError(f"{path}: breaks off after {number} of {announced} frames; replace the file, or cut it there.")


class VideoWriter:
    """Writes pictures to an mp4 under a temporary name, and gives it its own when the `with` block ends well.

    Args:
        path: The file.
        rate: Pictures a second.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self._path = path
        self._rate = rate
        self._writer: Any = None
        self._temporary: Path | None = None

    def __enter__(self) -> VideoWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        self._temporary = Path(folder) / self._path.name
        return self

    def write(self, picture: np.ndarray) -> None:
        """Append a picture (H, W, 3) uint8; all are of one size. An odd row or column, which the codec cannot hold, is
        left out.

        Raises:
            InputError: the video cannot be written here.
        """
        height, width = (side - side % 2 if side > 1 else side for side in picture.shape[:2])
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*CODEC)
            self._writer = cv2.VideoWriter(str(self._temporary), code, self._rate, (width, height))
            if not self._writer.isOpened():
                raise InputError(f"{self._path}: OpenCV cannot write a video of {width} x {height} pixels here.")
        self._writer.write(np.ascontiguousarray(picture[:height, :width, ::-1]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._temporary is not None
        if self._writer is not None:
            self._writer.release()
        if kind is None and self._temporary.is_file():
            self._temporary.replace(self._path)
        self._temporary.unlink(missing_ok=True)
        self._temporary.parent.rmdir()


def _open(path: Path) -> Any:
    with disk.open_regular(path, "video") as file:
        known = CONTAINERS.match(file.read(16))
    capture = cv2.VideoCapture(str(path)) if known else None
    if capture is None or not capture.isOpened():
        raise InputError(f"{path}: the video cannot be decoded; replace the file, or bring it to mp4.")
    return capture
