"""Videos: frames by number, files whole or not at all."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from dsrg.errors import InputError
from dsrg.predict.formats import video


def make_video(path: Path, count: int = 9, size: tuple[int, int] = (64, 48)) -> Path:
    """Frames of one grey each, brighter and brighter, at 5 a second; their upper half is red."""
    with video.write_video(path, 5.0) as write:
        for number in range(count):
            picture = np.full((size[1], size[0], 3), 20 * number + 20, np.uint8)
            picture[: size[1] // 2] = (200, 20, 20)
            write(picture)
    return path


def test_frames_come_back_by_number_and_in_rgb(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    assert video.describe(path) == (9, 5.0)
    for every in (1, 4):
        found = dict(video.frames(path, every))
        assert list(found) == list(range(0, 9, every))
        for number, picture in found.items():
            assert picture.shape == (48, 64, 3)
            assert abs(float(picture[40, 30].mean()) - (20 * number + 20)) < 6
            assert picture[5, 30, 0] > 150 > 80 > picture[5, 30, 2]


def test_odd_sizes_lose_a_row_or_a_column(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 2, (63, 47))
    assert [picture.shape for _, picture in video.frames(path)] == [(46, 62, 3)] * 2


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")

    def fail() -> None:
        with video.write_video(path, 5.0) as write:
            write(np.zeros((48, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"a\.mp4: the video cannot be decoded"):
        list(video.frames(path))


@pytest.mark.parametrize(
    "content", [b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n", b"<MPD></MPD>", b"ffconcat version 1.0\n"]
)
def test_playlists_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: pytest.fail("OpenCV opens it"))
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4: the video cannot be decoded"):
        video.describe(tmp_path / "a.mp4")


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"a\.mp4: is no regular file; the video must be a file"):
        video.describe(tmp_path / "a.mp4")


@pytest.mark.parametrize(("ending", "code"), [("mp4", "mp4v"), ("mov", "mp4v"), ("avi", "MJPG"), ("mkv", "mp4v")])
def test_every_container_that_is_named_is_read(tmp_path: Path, ending: str, code: str) -> None:
    path = tmp_path / f"a.{ending}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 5.0, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 99, np.uint8))
    writer.release()
    assert len(list(video.frames(path))) == 3
