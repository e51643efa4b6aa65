"""A run's folder: its configuration, its data set, its device, and which stages are finished."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsrg import __version__, config, disk, distributed
from dsrg.data.voc import Photo, VocFolder
from dsrg.errors import InputError
from dsrg.schema import Config

HARMLESS = ("run_dir", "shared", "device", "compile", "workers", "log_every", "checkpoint_every", "supervised")
"""Keys that do not change what a stage computes, so that a run may be continued with other values of them."""

STAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "classifier": (("classifier",), ()),
    "cams": (("cam",), ("classifier",)),
    "seeds": (("seeds",), ("cams",)),
    "dsrg": (("crf", "grow", "losses", "dsrg"), ("seeds",)),
    "masks": (("crf", "masks"), ("dsrg",)),
    "retrain": (("retrain",), ("masks",)),
    "supervised": (("retrain",), ()),
    "localize": (("localize",), ("classifier",)),
}
"""Each stage's folder: the configuration sections that decide on its output, and the stages that it builds on."""
SINGLE_KEYS = {"cams": ("seeds.source",), "localize": ("cam.output_stride", "data.annotations")}
"""Keys of other sections that decide on a stage's output too."""
CLASSIFIER_STAGES = ("classifier", "cams", "seeds")
ENDINGS = {"cams": ".npz", "seeds": ".png", "masks": ".png"}
"""The stages that write a file for each training photograph, and how its name ends."""
CLASS_LIST = "classes.txt"
"""The run's copy of the data set's class list."""
SEGMENTER_KEYS = tuple(
    f"model.{key}" for key in ("init", "output_stride", "pool_features", "aspp_rates", "aspp_channels", "dropout")
)
"""Keys of the section model that the classifier's stages do not depend on."""


class Run:
    """One run of the pipeline.

    Args:
        cfg: The resolved configuration.

    Raises:
        InputError: the data folder is missing or broken.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.directory = cfg.run_dir
        self.device = distributed.pick_device(cfg.device)
        self.folder = VocFolder(
            cfg.data.root,
            images=cfg.data.images,
            masks=cfg.data.masks,
            splits=cfg.data.splits,
            classes=cfg.data.classes,
            labels=cfg.data.labels,
            annotations=cfg.data.annotations,
        )
        self.classes = self.folder.classes

    @cached_property
    def train(self) -> list[Photo]:
        """The photographs to learn from."""
        return self.folder.photos(self.cfg.data.train_split)

    @cached_property
    def val(self) -> list[Photo]:
        """The photographs to measure on."""
        return self.folder.photos(self.cfg.data.val_split)

    def start(self) -> None:
        """Join the other processes and read every file once, before anything is written.

        Raises:
            InputError: a photograph, label or mask is missing or broken.
        """
        distributed.start(self.device)
        if distributed.is_main():
            for photos in (self.train, self.val):
                self.folder.check(photos, masks=self.folder.mask_dir if self.folder.has_masks(photos) else None)
        distributed.barrier()

    def stage(self, name: str) -> Stage:
        """The stage whose folder is `name`, one of STAGES."""
        files = [photo.id + ENDINGS[name] for photo in self.train] if name in ENDINGS else []
        begin = self._refuse_to_make if self._is_shared(name) else self._record
        return Stage(self.directory_of(name), self._settings(name), begin, files)

    def directory_of(self, name: str) -> Path:
        """The folder of a stage, which lies in another run's where `shared` names one."""
        if self.cfg.shared is not None and name in CLASSIFIER_STAGES:
            return self.cfg.shared / name
        return self.directory / name

    def predictions(self, network: str) -> Stage:
        """The predictions of a trained network for the validation split: predictions/ for the final network."""
        own = Path() if network == "retrain" else Path(network)
        settings = self._settings(network) | self._section("crf", "test")
        directory = self.directory / own / "predictions" / self.cfg.data.val_split
        return Stage(directory, settings, self._record, [f"{photo.id}.png" for photo in self.val])

    def localization(self, split: str, method: str) -> Stage:
        """The boxes that the classifier's maps of one method give in a split."""
        settings = self._settings("localize")
        if method != "saliency":
            del settings["localize.saliency_blur"]
        return Stage(self.directory / "localize" / split / method, settings, self._record, ["boxes.json"])

    def require(self, name: str, tool: str) -> Path:
        """The folder of a stage that must be finished, or have been put there by the user.

        Raises:
            InputError: it is not; `tool` makes it. Or the user's own masks do not fit the photographs.
        """
        stage = self.stage(name)
        if not (stage.foreign or stage.finished):
            if self._is_shared(name):
                self._refuse_to_make()
            raise InputError(f"{stage.directory}: this stage is not finished; run {tool} first.")
        if stage.foreign and name in ("seeds", "masks") and distributed.is_main():
            self.folder.check(self.train, masks=stage.directory)
        return stage.directory

    def seed(self) -> None:
        """Set the random numbers; every stage begins so, and so does not depend on which ran before it."""
        torch.manual_seed(self.cfg.seed + distributed.rank())

    def _settings(self, name: str) -> dict[str, Any]:
        sections, after = STAGES[name]
        if name == "seeds" and self.cfg.seeds.crf:
            sections += ("crf",)
        if name == "supervised" and self.cfg.model.init == "classifier":
            after = ("classifier",)
        settings = self._section("seed", "amp", "data", "model", *sections)
        if name == "supervised":
            settings["supervised.iterations"] = self.cfg.supervised.iterations
        del settings["data.annotations"]  # true boxes, which localisation alone reads
        if name in (*CLASSIFIER_STAGES, "localize"):
            settings = {key: value for key, value in settings.items() if key not in SEGMENTER_KEYS}
        for key in SINGLE_KEYS.get(name, ()):
            settings[key] = self._section(key.partition(".")[0])[key]
        if self._is_shared(name):
            settings["seed"] = self._shared_seed()
        for earlier in after:
            before = self._settings(earlier)
            if self._is_shared(earlier) and not self._is_shared(name):
                before["shared.seed"] = before.pop("seed")  # the stage's own random seed is this run's
            settings |= before
        return settings

    def _is_shared(self, name: str) -> bool:
        return self.cfg.shared is not None and name in CLASSIFIER_STAGES

    def _shared_seed(self) -> int | None:
        """The random seed that the shared stages were made with; None where none of them has a record."""
        for name in reversed(CLASSIFIER_STAGES):
            path = self.directory_of(name) / "stage.json"
            if path.is_file():
                return int(disk.read_json(path)["settings"]["seed"])
        return None

    def _refuse_to_make(self) -> None:
        raise InputError(
            f"{self.cfg.shared}: its classifier, CAMs or seeds are not finished, and this run only takes them from "
            "there (shared); run tools/make_seeds.py for that folder first."
        )

    def _section(self, *names: str) -> dict[str, Any]:
        return dict(_flatten(self.cfg.model_dump(mode="json", include=set(names))))

    def _record(self) -> None:
        disk.write_text(self.directory / "config.yaml", config.dump(self.cfg))
        # The networks outlive the data folder, whose class list says what their channels mean.
        disk.write_text(self.directory / CLASS_LIST, "\n".join(self.classes.names) + "\n")
        disk.write_json(self.directory / "environment.json", _environment(self.device))


class Stage:
    """The folder of one stage's output, with stage.json: its settings, its figures, and whether it is finished.

    Args:
        directory: The folder.
        settings: Dotted configuration keys that decide on the output, and their values.
        on_begin: Called before the folder is first written to.
        files: Names that the folder must hold before the stage counts as finished.
    """

    def __init__(
        self, directory: Path, settings: dict[str, Any], on_begin: Callable[[], None], files: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.files = files
        self._on_begin = on_begin
        self._record = directory / "stage.json"
        self._begun = 0.0

    @property
    def recorded(self) -> bool:
        """Whether this program wrote the folder, finished or not."""
        return self._record.is_file()

    @property
    def foreign(self) -> bool:
        """Whether the user put the folder there: somebody else's seeds, say."""
        return self.directory.is_dir() and not self.recorded

    @property
    def finished(self) -> bool:
        """Whether the stage has ended, with these settings, and its files are all there still.

        Raises:
            InputError: the folder holds what other settings made.
        """
        if not self.recorded:
            return False
        record = disk.read_json(self._record)
        defaults = dict(_flatten(Config().model_dump(mode="json")))
        for key in sorted(self.settings.keys() | record["settings"].keys()):
            # A key that a newer version added had its default's effect before.
            before, now = record["settings"].get(key, defaults.get(key)), self.settings.get(key)
            if before != now:
                raise InputError(
                    f"{self.directory}: was made with {key} = {before}, which is now {now}; choose another run_dir, "
                    "or delete this folder and those of the stages after it."
                )
        return bool(record["finished"]) and all((self.directory / name).is_file() for name in self.files)

    @property
    def figures(self) -> dict[str, Any]:
        """What the finished stage measured."""
        return dict(disk.read_json(self._record)["figures"])

    def begin(self) -> None:
        """Mark the folder as made with these settings; call when it is not finished."""
        self._begun = time.monotonic()
        if distributed.is_main():
            self._on_begin()
            if not self.recorded:
                self._write(finished=False, figures={}, seconds=0.0)
        distributed.barrier()

    def finish(self, figures: dict[str, Any]) -> None:
        """Mark the stage as finished and keep its figures."""
        distributed.barrier()
        if distributed.is_main():
            self._write(finished=True, figures=figures, seconds=round(time.monotonic() - self._begun, 1))
        distributed.barrier()

    def _write(self, *, finished: bool, figures: dict[str, Any], seconds: float) -> None:
        if self.recorded:  # a resumed stage adds to the time that it has had
            seconds += disk.read_json(self._record)["seconds"]
        record = {"finished": finished, "seconds": seconds, "figures": figures, "settings": self.settings}
        disk.write_json(self._record, record)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds that the stage took (a stage that was interrupted: of its last part)."""
        return float(disk.read_json(self._record)["seconds"])


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key in HARMLESS:
            continue
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _environment(device: torch.device) -> dict[str, Any]:
    root = Path(__file__).parents[1]
    commit = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "command": sys.argv,
        "dsrg": __version__,
        "commit": commit.stdout.strip() or None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
    }
