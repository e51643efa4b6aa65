"""What a run remembers of the files that it has decoded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from helpers import make_voc

from dsrg.data import checked
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.run.folder import Run
from dsrg.schema import Config


class World:
    """A data set whose files have lain for a while, its run, and which photographs a start decodes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = make_voc(folder)
        self.cfg = Config.model_validate({"run_dir": folder / "run", "device": "cpu", "data": {"root": self.data}})
        self.record = folder / "run/checked.bin"
        self.photo = Run(self.cfg).train[0].path
        self.mask = self.data / f"SegmentationClass/{self.photo.stem}.png"
        self.all = sorted(photo.id for photos in (Run(self.cfg).train, Run(self.cfg).val) for photo in photos)
        self._read: list[str] = []
        read = pictures.read_image

        def counted(path: Path) -> object:
            self._read.append(path.stem)
            return read(path)

        monkeypatch.setattr(pictures, "read_image", counted)
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 60)  # a file's ctime cannot be set

    def start(self) -> list[str]:
        """Ids of the photographs that a stage's start decodes, which then begins."""
        self._read.clear()
        run = Run(self.cfg)
        run.start()
        run.stage("classifier").begin()
        return self.decoded

    @property
    def decoded(self) -> list[str]:
        """Ids of the photographs that the latest start has decoded."""
        return sorted(self._read)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_the_second_start_decodes_nothing(world: World) -> None:
    assert world.start() == world.all
    assert world.start() == []
    state = world.photo.stat()
    os.utime(world.photo, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert world.start() == [world.photo.stem]
    assert world.start() == []


def test_a_start_alone_writes_nothing(world: World) -> None:
    Run(world.cfg).start()
    assert not world.record.exists()


@pytest.mark.parametrize("keep_size", [True, False], ids=["same size", "shorter"])
@pytest.mark.parametrize("which", ["photo", "mask"])
def test_a_file_damaged_after_the_check_is_told_as_before(world: World, which: str, keep_size: bool) -> None:
    path: Path = getattr(world, which)
    world.start()
    content, state = path.read_bytes(), path.stat()
    broken = content[: len(content) // 2]
    path.write_bytes(broken + bytes(len(content) - len(broken)) if keep_size else broken)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a copy that keeps times; its ctime gives it away
    with pytest.raises(InputError) as known:
        world.start()
    world.record.unlink()
    with pytest.raises(InputError) as fresh:
        world.start()
    assert str(known.value) == str(fresh.value)
    assert str(path) in str(known.value)


@pytest.mark.parametrize("damage", ["truncated", "edited", "version", "empty"])
def test_a_record_that_is_not_to_be_trusted_is_made_anew(
    world: World, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start()
    content = world.record.read_bytes()
    if damage == "version":
        monkeypatch.setattr(checked, "_HEAD", b"dsrg checked 2\n")
    else:
        spoilt = {"truncated": content[:-17], "edited": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}
        world.record.write_bytes(spoilt[damage])
    assert world.start() == world.all
    assert world.start() == []


def test_a_folder_in_the_record_s_place_is_as_good_as_none_and_is_named_before_a_stage_begins(world: World) -> None:
    world.start()
    world.record.unlink()
    world.record.mkdir()
    (world.cfg.run_dir / "classifier/stage.json").unlink()
    with pytest.raises(InputError, match=r"checked\.bin: "):
        world.start()
    assert world.decoded == world.all
    assert world.record.is_dir()
    assert not (world.cfg.run_dir / "classifier/stage.json").exists()
    world.record.rmdir()
    assert world.start() == world.all
    assert world.start() == []


def test_a_file_that_has_just_changed_is_not_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = world.photo.stat().st_ctime
    monkeypatch.setattr(time, "time", lambda: now + 1)
    world.start()
    assert world.photo.stem in world.start()


def test_masks_without_an_object_are_told_at_every_start(world: World) -> None:
    for photo in Run(world.cfg).val:
        path = world.data / f"SegmentationClass/{photo.id}.png"
        pictures.write_mask(path, pictures.read_mask(path) * 0)
    for _ in range(2):
        with pytest.raises(InputError, match="none of the masks of .* shows an object"):
            world.start()
