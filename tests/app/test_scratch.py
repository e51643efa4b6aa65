"""The page's own folder: of one process, bounded, and gone when the process is, however it ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dsrg.app.scratch import PREFIX, Room, scratch
from dsrg.files import locks

HOLDER = """
import sys, time
from pathlib import Path
from dsrg.app.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "inner").mkdir()
    (folder / "inner/photo.jpg").write_text("a visitor's")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_goes_with_its_block(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "photo.jpg").touch()
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        dead, alive = (Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout is not None)
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        assert (dead / "inner/photo.jpg").is_file()
        with scratch(tmp_path) as folder:
            assert not dead.exists()
            assert (alive / "inner/photo.jpg").is_file()
            assert folder.is_dir()
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def test_where_the_file_system_has_no_locks_there_is_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "lock", lambda handle: None)
    with scratch(tmp_path) as folder, scratch(tmp_path) as other:
        assert set(tmp_path.iterdir()) == {folder, other}
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_ones_own_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "precious")
    (tmp_path / f"{PREFIX}file").touch()
    with scratch(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{PREFIX}file", f"{PREFIX}link", "precious"]
    assert (tmp_path / "precious/thesis.txt").is_file()


@pytest.mark.parametrize(("size", "bounds", "left"), [(10, {"most_files": 20}, 20), (1000, {"most_bytes": 5500}, 5)])
def test_of_1000_files_the_newest_stay(tmp_path: Path, size: int, bounds: dict[str, int], left: int) -> None:
    room = Room(tmp_path)
    vars(room).update(bounds)
    start = time.time_ns()
    for number in range(1000):
        with room.reserved(size) as there:
            assert there
            path = tmp_path / f"{number % 7}" / f"{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(size))
            os.utime(path, ns=(start + number,) * 2)
        assert len(list(tmp_path.rglob("*.jpg"))) <= left
    assert sorted(int(path.stem) for path in tmp_path.rglob("*.jpg")) == list(range(1000 - left, 1000))


def test_what_others_have_reserved_is_no_room(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.most_bytes = 100
    with room.reserved(60) as first:
        with room.reserved(60) as second:
            assert (first, second) == (True, False)
        with room.reserved(40) as third:
            assert third
    with room.reserved(100) as later:
        assert later
