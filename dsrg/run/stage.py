"""The folder of one stage's output, and its record: who made it, with what settings, from which data."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dsrg import distributed
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.run import contents
from dsrg.run.records import RECORD, StageRecord, read_record
from dsrg.schema import Config

HARMLESS = (
    *("run_dir", "shared", "features_dir", "device", "compile", "workers"),
    *("log_every", "checkpoint_every", "supervised"),
)
"""Keys that do not change what a stage computes, so that a run may be continued with other values of them."""
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
"""What Windows puts into folders; other systems' files begin with a point."""


class AwaitingShards(Exception):  # noqa: N818 (it is none)
    """A stage lacks files that other shards make; no fault."""


class Stage:
    """The folder of one stage's output, with stage.json: its settings, its figures, and whether it is finished.

    A folder that holds files but no stage.json is foreign: the user put it there. It is read and measured, and never
    written to.

    Args:
        directory: The folder.
        settings: Dotted configuration keys that decide on the output, and their values.
        on_begin: Called before the folder is first written to.
        files: Names that the folder must hold before the stage counts as finished.
        needs: Names that a foreign folder must hold, where these are more.
        contents: What the files outside the run are on which the output depends (`dsrg.run.contents`); asked for late,
            since it takes a look at each.
        measured_on: Likewise, of the files on which the figures alone depend.
        check: Reads one of `files`, or raises InputError; None reads none.
        trains: Whether making the stage anew costs a training.
        unread: Keys that do not decide on the output, though an older record may have them.
        again: The command that keeps this output and makes another.
    """

    def __init__(
        self,
        directory: Path,
        settings: dict[str, Any],
        on_begin: Callable[[], None],
        files: Sequence[str] = (),
        *,
        needs: Sequence[str] = (),
        contents: Callable[[], Mapping[str, str]] = dict,
        measured_on: Callable[[], Mapping[str, str]] = dict,
        check: Callable[[str], None] | None = None,
        trains: bool = False,
        unread: Sequence[str] = (),
        again: str = "",
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.files = files
        self._needs = needs
        self._on_begin = on_begin
        self._contents = contents
        self._measured_on = measured_on
        self._check = check
        self._trains = trains
        self._unread = unread
        self._again = f"{again} keeps what is here and makes another" if again else ""
        self._record = directory / RECORD
        self._begun = 0.0
        self._measured: dict[str, Any] = {}

    @property
    def recorded(self) -> bool:
        """Whether this program wrote the folder, finished or not."""
        return self._record.exists()

    @property
    def foreign(self) -> bool:
        """Whether the user put the folder there: somebody else's seeds, say."""
        return not self.recorded and any(_files_of(self.directory))

    @property
    def usable(self) -> bool:
        """Whether the output has been made with these settings from these data, and its files are all there and sound.

        Raises:
            InputError: the folder holds what other settings or data made, or a file is broken.
        """
        if not self.recorded:
            return False
        record = read_record(self._record)
        self._compare_settings(record)
        self._compare_contents(record)
        if not record.finished or self.missing():
            return False
        self.read_files()
        return True

    @property
    def differs(self) -> bool:
        """Whether other settings or data than the present ones made the folder."""
        try:
            record = read_record(self._record)
            self._compare_settings(record)
            self._compare_contents(record)
        except InputError:
            return True
        return False

    @property
    def finished(self) -> bool:
        """Whether the stage is `usable` and its figures are those of the present data.

        Raises:
            InputError: as `usable`.
        """
        if not self.usable:
            return False
        before = read_record(self._record).measured_on
        return contents.difference(before, self._measured_on() if before else {}) is None

    def missing(self) -> list[str]:
        """Names of `files` that are not there."""
        return [name for name in self.files if not (self.directory / name).is_file()]

    def require_foreign(self) -> None:
        """Check that a foreign folder holds everything.

        Raises:
            InputError: it does not.
        """
        wanted = [*self.files, *self._needs]
        missing = [name for name in wanted if not (self.directory / name).is_file()]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise InputError(
                f"{self.directory / missing[0]}: does not exist; the folder was put there by you (it has no {RECORD}), "
                f"so nothing is written into it. It lacks {len(missing)} of {len(wanted)} files "
                f"({', '.join(missing[:5])}{more}): add them, or move the folder away to have it made."
            )

    @property
    def figures(self) -> dict[str, Any]:
        """What the finished stage measured; of a foreign folder, what this process measured on it."""
        return dict(read_record(self._record).figures) if self.recorded else self._measured

    def begin(self) -> None:
        """Mark the folder as made with these settings; call when it is neither finished nor foreign.

        Raises:
            InputError: another process writes to the run.
        """
        self._begun = time.monotonic()
        if distributed.is_main():
            self._on_begin()
            if not self.recorded:
                self._write(finished=False, figures={}, seconds=0.0)
        distributed.barrier()

    def await_shards(self) -> None:
        """End the command where this process has made its shard of the files, and others' are not there yet.

        Raises:
            AwaitingShards: they are not.
        """
        shard = distributed.shard()
        if shard is None:
            return
        distributed.barrier()
        missing = self.missing()
        if missing:
            raise AwaitingShards(
                f"{self.directory}: shard {shard} is done, {len(self.files) - len(missing):,} of {len(self.files):,} "
                "files are there. When all are, the same command, of any shard or without --shard, goes on."
            )

    def finish(self, figures: dict[str, Any]) -> None:
        """Mark the stage as finished and keep its figures; those of a foreign folder are kept in memory alone."""
        distributed.barrier()
        if self.foreign:
            self._measured = figures
        elif distributed.is_main():
            self._write(finished=True, figures=figures, seconds=round(time.monotonic() - self._begun, 1))
        distributed.barrier()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds that the stage took, all its parts together; 0 for a foreign folder."""
        return read_record(self._record).seconds if self.recorded else 0.0

    def _write(self, *, finished: bool, figures: dict[str, Any], seconds: float) -> None:
        if self.recorded:  # a resumed stage adds to the time that it has had
            seconds += self.seconds
        record = {"finished": finished, "seconds": seconds, "figures": figures, "settings": self.settings}
        record |= {"contents": dict(self._contents()), "measured_on": dict(self._measured_on())}
        text = disk.json_text(record)
        StageRecord.model_validate_json(text)  # nothing is written that could not be read again
        disk.write_text(self._record, text)

    def _compare_settings(self, record: StageRecord) -> None:
        defaults = dict(flatten(Config().model_dump(mode="json")))
        # First those that both have: of the others, a choice among these may be the reason.
        one_sided = self.settings.keys() ^ record.settings.keys()
        keys = (self.settings.keys() | record.settings.keys()) - set(self._unread)
        for key in sorted(keys, key=lambda key: (key in one_sided, key)):
            # A key that a newer version added had its default's effect before.
            before, now = record.settings.get(key, defaults.get(key)), self.settings.get(key)
            if before != now and not self._says_where(key, before, now, known=bool(record.contents)):
                rest = f"; or {self._again}" if self._again and key.startswith("corrections.") else ""
                if not (rest or key.startswith("data.")):
                    rest = ", or delete this folder and those of the stages after it"
                raise InputError(
                    f"{self.directory}: was made with {key} = {before}, which is now {now} ({self._record} has all of "
                    f"its settings); choose another run_dir{rest}."
                )

    @staticmethod
    def _says_where(key: str, before: Any, now: Any, *, known: bool) -> bool:
        """Whether a key with these two values says where files are, which `contents` compares in its place."""
        if key in contents.NAMED:
            return all(value not in (None, *contents.NAMED[key]) for value in (before, now))
        return key in contents.PATHS or (known and key in ("data.train_split", "data.val_split"))

    def _compare_contents(self, record: StageRecord) -> None:
        if not record.contents:  # from before there were any
            return
        changed = contents.difference(record.contents, self._contents())
        if changed:
            mend = (
                "put the data back as they were, or choose another run_dir for the new ones: what is trained here stays"
                if self._trains
                else "put the data back as they were, or delete this folder alone: it is made anew, and no network is "
                "trained for it"
            )
            if self._again:
                mend += f"; or {self._again}"
            raise InputError(f"{self.directory}: the data have changed since it was made: {changed}; {mend}.")

    def read_files(self) -> None:
        """Read every file once, so that a broken one is found where the stage is relied on.

        Raises:
            InputError: one is broken.
        """
        check = self._check
        if check is None or not distributed.is_main():
            return
        there = [name for name in self._needs if (self.directory / name).exists()]
        with ThreadPoolExecutor(4) as pool:  # decoding leaves Python's lock
            for _ in pool.map(check, (*self.files, *there)):
                pass


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted keys, without the harmless ones."""
    for key, value in values.items():
        if key in HARMLESS:
            continue
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@functools.cache
def read_once(path: Path, size: int, changed: int, num_classes: int | None, own: tuple[int, ...]) -> None:
    """Read a file of a finished stage, once for each of its versions, since stages are asked often.

    Args:
        path: The file.
        size: Its bytes.
        changed: When it was written, in nanoseconds.
        num_classes: C, of masks; None for pictures of any grey.
        own: The foreground classes of its photograph, for CAMs.

    Raises:
        InputError: it is broken.
    """
    if path.suffix == ".npz":
        storage.read_cams(path, np.array(own))
    elif path.suffix == ".png":
        pictures.read_mask(path, num_classes)
    elif path.suffix == ".pt":
        storage.check_checksums(path)
    else:
        disk.read_json(path)


def _files_of(directory: Path) -> Iterator[Path]:
    """The files that a stage's folder holds; hidden ones, which temporary files are, and the predictions of the network
    that is trained there are not the stage's."""
    if not directory.is_dir():
        return iter(())
    own = (path for path in directory.iterdir() if not path.name.startswith("."))
    return itertools.filterfalse(lambda path: path.name == "predictions" or path.name.lower() in SYSTEM_FILES, own)
