"""What a killed process leaves is removed by the next one, and what a living one writes is left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import OWNS, killed, program

from dsrg.data import prepare
from dsrg.data.prepare import Item, Plan, write_set
from dsrg.errors import InputError
from dsrg.files import disk, locks

pytestmark = pytest.mark.skipif(not locks.HAS_LOCKS, reason="needs flock")


WRITES = """
import sys, time; from pathlib import Path; from dsrg.files import locks
handle, name = locks.open_temporary(Path(sys.argv[1], "deep", "a.png"))
with locks.temporary_folder(Path(sys.argv[1], "seeds")) as folder:
    (folder / "b.png").write_bytes(b"half")
    print(name, flush=True); time.sleep(60)
"""


def test_leftovers_go_with_their_process_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    process = program(WRITES, tmp_path)
    there = {path for path in tmp_path.rglob("*") if locks.is_leftover(path.name)}
    assert len(there) == 2
    locks.remove_leftovers(tmp_path, deep=True)
    assert all(path.exists() for path in there)
    killed(process)
    locks.remove_leftovers(tmp_path)  # not deep: the file lies in a folder
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    locks.remove_leftovers(tmp_path, deep=True)
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize(
    "name", [".hidden", "a.tmp", ".a.tmp", ".a.png.TOOLARGE.tmp", "a.png.abcd1234.tmp", ".a.abcd1234"]
)
def test_other_peoples_files_are_no_leftovers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    locks.remove_leftovers(tmp_path, deep=True)
    assert (tmp_path / name).read_text() == "mine"


def test_every_writer_uses_the_names_that_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(path.name for path in tmp_path.iterdir()))
    disk.write_bytes(tmp_path / f"{'n' * 250}.png", b"1")
    assert len(seen) == 1
    assert locks.is_leftover(seen[0])
    assert locks.is_leftover(locks.temporary_name("x" * 255))


def test_the_second_process_in_a_folder_is_told_who_the_first_is(tmp_path: Path) -> None:
    process = program(OWNS, tmp_path)
    with pytest.raises(InputError, match=rf"{tmp_path.name}: is being written by process {process.pid} on "):
        locks.lock_folder(tmp_path)
    killed(process)
    held = locks.lock_folder(tmp_path)
    assert locks.lock_folder(tmp_path) is held  # within one process it is one
    held.release()


def test_a_forked_worker_does_not_hold_its_parents_lock(tmp_path: Path) -> None:
    # The child itself says who it is: when its parent is killed, it has let go of the lock.
    text = OWNS.replace('print("held"', "import os; os.fork() and time.sleep(60); print(os.getpid()")
    process = program(text, tmp_path)
    child = int(process.first)  # type: ignore[attr-defined]
    try:
        killed(process)
        locks.lock_folder(tmp_path).release()
    finally:
        os.kill(child, signal.SIGKILL)


POOL = """
import os, sys, time
from dsrg.{module} import process_pool
if __name__ == "__main__":
    pool = process_pool({arguments})
    print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize(("module", "arguments"), [("run.processes", "2"), ("mean_field.lattice", "")])
def test_workers_end_with_their_parent(tmp_path: Path, module: str, arguments: str) -> None:
    text = POOL.replace("{module}", module).replace("{arguments}", arguments)
    (tmp_path / "pool.py").write_text(text)
    process = subprocess.Popen([sys.executable, tmp_path / "pool.py"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(word) for word in process.stdout.readline().split()]
    assert workers
    killed(process)
    end = time.monotonic() + 30
    while time.monotonic() < end and any(map(alive, workers)):
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def plan_of(tmp_path: Path) -> Plan:
    from PIL import Image

    for name in "ab":
        Image.new("RGB", (8, 6), (200, 10, 10)).save(tmp_path / f"{name}.png")
    items = [Item(name, tmp_path / f"{name}.png", ("cat",)) for name in "ab"]
    return Plan(("background", "cat"), items, {"train": ["a"], "val": ["b"]}, {"photos": str(tmp_path)})


@pytest.mark.parametrize("step", ["before its name", "after its name"])
@pytest.mark.parametrize("link", [None, "hard", "symbolic"])
def test_a_data_set_killed_at_its_last_step_is_whole_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, link: prepare.Link | None
) -> None:
    plan, root = plan_of(tmp_path), tmp_path / "set"
    original = Path.replace

    def dying(self: Path, target: Path) -> Path:
        if Path(target) == root:
            if step == "after its name":
                original(self, target)
            raise KeyboardInterrupt
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            write_set(root, plan, link=link)
    if step == "after its name":
        with pytest.raises(InputError, match="is not empty"):
            write_set(root, plan, link=link)
    else:
        (tmp_path / ".set.partial/JPEGImages/.a.png.abcd1234.tmp").write_bytes(b"half")
        (tmp_path / ".set.partial/.classes.txt.abcd1234.tmp").write_bytes(b"half")
        write_set(root, plan, link=link)
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}
    splits = {f"ImageSets/Segmentation/{split}.txt" for split in ("train", "val")}
    assert files == splits | {"classes.txt", "image_labels.csv", "JPEGImages/a.png", "JPEGImages/b.png"}
    assert not (tmp_path / ".set.partial").exists()


def test_a_data_set_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    process = program(OWNS, tmp_path / ".set.partial")
    with pytest.raises(InputError, match="is being written by process"):
        write_set(tmp_path / "set", plan_of(tmp_path))
    killed(process)
    write_set(tmp_path / "set", plan_of(tmp_path))
