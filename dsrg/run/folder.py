"""A run's folder: its configuration, its data set, its device, and which stages are finished."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsrg import config, distributed, tables
from dsrg.data.boxed import annotated, check_boxes
from dsrg.data.checked import Checked, check_files
from dsrg.data.voc import Listing, Photo, VocFolder
from dsrg.errors import InputError
from dsrg.files import disk, locks
from dsrg.run import contents, corrections, trackers
from dsrg.run.environment import environment
from dsrg.run.records import RECORD, read_record
from dsrg.run.stage import Stage as Stage
from dsrg.run.stage import flatten, read_once
from dsrg.run.table import CAM_KEYS, CAM_SALIENCY_KEYS, CHECKPOINT, LOCALIZE, SEGMENTER_KEYS, STAGES, Facts
from dsrg.schema import Config, Seeds

if TYPE_CHECKING:
    import torch

    from dsrg.run.boxing import Boxed

Figures = dict[str, Any]
"""What a stage measured, by name."""
CLASS_LIST = "classes.txt"
"""The run's copy of the data set's class list."""


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
        self.cfg = config.with_lengths(cfg, lambda: len(self.train))
        self._lock: locks.FolderLock | None = None
        self._checked = Checked(cfg.run_dir / "checked.bin")  # written where a stage begins, and not by a start

    @cached_property
    def device(self) -> torch.device:
        """What to compute on. Asked for late: who only reads the run's files needs no PyTorch.

        Raises:
            InputError: it is not there.
        """
        return distributed.pick_device(self.cfg.device)

    @cached_property
    def train(self) -> list[Photo]:
        """The photographs to learn from."""
        return self.folder.photos(self.cfg.data.train_split, listing=self._listing)

    @cached_property
    def val(self) -> list[Photo]:
        """The photographs to measure on."""
        return self.folder.photos(self.cfg.data.val_split, listing=self._listing)

    @cached_property
    def _listing(self) -> Listing:
        return self.folder.listing()

    @property
    def stages(self) -> list[str]:
        """Names of the stages that this run may have, in order; without those that no seeds need."""
        needless = {"cams"} if not self.needs_maps else set()
        if not self.needs_maps and not self.cfg.needs_classifier:
            needless.add("classifier")
        if not self.cfg.makes_saliency:
            needless.add("saliency")
        return [name for name in STAGES if name not in needless]

    @cached_property
    def boxed(self) -> Boxed | None:
        """What makes seeds of the training photographs' boxes, where seeds.boxes says so."""
        way = self.cfg.seeds.boxes
        if way is None:
            return None
        from dsrg.run.boxing import Boxed  # which computes

        return Boxed(self.folder.annotation_dir, self.classes, way, self.cfg.boxes, self.cfg.crf)

    @cached_property
    def needs_maps(self) -> bool:
        """Whether the seeds of any training photograph are cut from maps."""
        return self.boxed is None or len(annotated(self.folder, self.train)) < len(self.train)

    @cached_property
    def seeds(self) -> Seeds:
        """The section seeds, its background cue decided, with the folder of the saliency maps that the cue reads."""
        changes: dict[str, Any] = {"background": self.cfg.cue}
        if self.cfg.makes_saliency:
            changes["saliency_dir"] = self.directory_of("saliency")
        if self.cfg.cue == "cam_saliency":  # these two are of the cue "cam"
            changes |= {"crf": False, "par": False, "thresholds": "fixed"}
        return self.cfg.seeds.model_copy(update=changes)

    @cached_property
    def true_masks(self) -> dict[str, Path]:
        """The files of the true masks that are learnt from, by the training photograph's id."""
        return corrections.find(self.folder, self.cfg.corrections, self.train)

    def start(self, *, computes: bool = True) -> None:
        """Join the other processes and read every file that no start has read as it is, before anything is written;
        remove what a process that was killed has left in the run's folder.

        Args:
            computes: Whether the device will be needed, and other processes may take part.

        Raises:
            InputError: a photograph, label or mask is missing or broken.
        """
        if computes:
            trackers.require(self.cfg.trackers)
            distributed.join(self.device)
        if distributed.is_main():
            if self.boxed is not None:
                check_boxes(self.folder, self.train)
            corrections.check(self.folder, self.cfg.corrections, self.train)
            for photos in (self.train, self.val):
                masks = self.folder.mask_dir if self.folder.has_masks(photos) else None
                check_files(self.folder, photos, masks=masks, checked=self._checked)
            locks.remove_leftovers(self.directory, deep=True)
        distributed.barrier()

    def lock(self) -> None:
        """Keep other processes from writing to the run's folder until this run is let go.

        Raises:
            InputError: another process writes there already.
        """
        self._lock = self._lock or locks.lock_folder(self.directory, shared=distributed.shard() is not None)

    def stage(self, name: str) -> Stage:
        """The stage of that name, one of `table.STAGES`."""
        facts, directory = STAGES[name], self.directory_of(name)
        photos = (self.val if facts.predicts else self.train) if facts.ending else []
        return Stage(
            directory,
            self._settings(name, facts),
            self._refuse_to_make if self._is_shared(facts) else self._record,
            [photo.id + facts.ending for photo in photos],
            needs=(CHECKPOINT,) if facts.trains else (),
            contents=(
                functools.partial(self._predicted_contents, self.cfg.data.val_split, name)
                if facts.predicts
                else functools.partial(self._contents, name)
            ),
            measured_on=self._val_contents if name == "classifier" else dict,
            check=functools.partial(self._check_file, directory, None if name == "saliency" else len(self.classes)),
            trains=facts.trains,
            unread=[key for one in (name, *facts.after) for key in STAGES[one].unread],
            again=facts.again,
        )

    def directory_of(self, name: str) -> Path:
        """The folder of a stage, which lies in another run's where `shared` names one."""
        facts = STAGES[name]
        base = self.cfg.shared if self.cfg.shared is not None and facts.shared else self.directory
        return base / facts.folder.format(val=self.cfg.data.val_split)

    def localization(self, split: str, method: str) -> Stage:
        """The boxes that the classifier's maps of one method give in a split."""
        settings = self._settings("localize", LOCALIZE)
        if method != "saliency":
            del settings["localize.saliency_blur"]
        directory = self.directory / LOCALIZE.folder / split / method
        return Stage(
            directory,
            settings,
            self._record,
            ["boxes.json"],
            contents=functools.partial(self._predicted_contents, split),
            check=functools.partial(self._check_file, directory, None),
        )

    def has_network(self, name: str) -> bool:
        """Whether the network of a stage that trains is there: trained by this run, or put there by the user.

        Raises:
            InputError: the folder was made with other settings or from other data, or its network is broken.
        """
        stage = self.stage(name)
        return stage.usable or (stage.foreign and (stage.directory / CHECKPOINT).is_file())

    def require(self, name: str) -> Path:
        """The folder of a stage that must be finished, or have been put there by the user.

        Raises:
            InputError: it is not. Or the user's own files lack some, or do not fit the photographs.
        """
        stage = self.stage(name)
        if stage.foreign:
            stage.require_foreign()
            if name not in ("seeds", "masks"):
                stage.read_files()
            elif distributed.is_main():
                check_files(self.folder, self.train, masks=stage.directory)
        elif not stage.usable:
            if self._is_shared(STAGES[name]):
                self._refuse_to_make()
            raise InputError(f"{stage.directory}: is not finished; run {STAGES[name].command} first.")
        return stage.directory

    def check_classes(self, *names: str) -> None:
        """Refuse more classes than the masks of one of these stages hold; raises InputError."""
        if any(STAGES[name].masks for name in names):
            self.classes.check_masks()

    def make(
        self,
        name: str,
        prepare: Callable[[Stage], Callable[[], Figures]],
        measure: Callable[[Stage], Figures] = lambda stage: {},
    ) -> Stage:
        """Make a stage, or find it finished, or measure what the user put in its place.

        Args:
            name: One of `table.STAGES`.
            prepare: Checks and reads all that the stage needs, and refuses what does not fit; nothing is written yet,
                so a wrong path leaves nothing behind. Its result does the work and returns what it found on the way.
            measure: Figures of a folder whose files are all there, the user's own included.

        Raises:
            InputError: as `prepare`, `Stage.finished` and `require`.
        """
        self.check_classes(name)
        stage = self.stage(name)
        if stage.finished:
            return stage
        figures: Figures = {}
        if stage.foreign:
            self.require(name)
        else:
            import torch

            # Every stage begins so, and so does not depend on which ran before it.
            torch.manual_seed(self.cfg.seed + distributed.rank())
            work = prepare(stage)
            stage.begin()
            figures = work()
            stage.await_shards()
        distributed.barrier()
        stage.finish(figures | measure(stage))
        return stage

    def _settings(self, name: str, facts: Facts) -> dict[str, Any]:
        sections, after = facts.sections, facts.after
        if name == "seeds" and self.cfg.makes_saliency:
            after += ("saliency",)
        if name == "seeds" and not self.needs_maps:
            after = tuple(earlier for earlier in after if earlier != "cams")
        if name == "seeds" and self.boxed is not None:
            sections += ("boxes",)
        if name == "seeds" and ((self.cfg.seeds.crf and self.cfg.cue == "cam") or (self.boxed and self.cfg.boxes.crf)):
            sections += ("crf",)
        if name == "supervised" and self.cfg.model.init == "classifier":
            after = ("classifier",)
        if facts.predicts and self.cfg.test.gate:
            after += ("classifier",)
        settings = self._section(*facts.common, *sections)
        if name == "supervised":
            settings["supervised.iterations"] = self.cfg.supervised.iterations
        if name == "seeds":
            settings["seeds.background"] = self.cfg.cue  # what auto means may change with other keys
            for key in CAM_KEYS if self.cfg.cue == "cam_saliency" else CAM_SALIENCY_KEYS:
                del settings[f"seeds.{key}"]
        del settings["data.annotations"]  # true boxes, which localisation alone reads
        if facts.of_classifier:
            settings = {key: value for key, value in settings.items() if key not in SEGMENTER_KEYS}
        for key in facts.unread:
            del settings[key]
        settings |= corrections.keys(self.cfg.corrections, name)
        for key in facts.keys:
            settings[key] = self._section(key.partition(".")[0])[key]
        if self._is_shared(facts) and "seed" in settings:
            settings["seed"] = self._shared_seed()
        for earlier in after:
            before = self._settings(earlier, STAGES[earlier])
            if "seed" in before and self._is_shared(STAGES[earlier]) and not self._is_shared(facts):
                before["shared.seed"] = before.pop("seed")  # the stage's own random seed is this run's
            settings |= before
        return settings

    def _is_shared(self, facts: Facts) -> bool:
        return self.cfg.shared is not None and facts.shared

    def _shared_seed(self) -> int | None:
        """The random seed that the shared stages were made with; None where none of them has a record."""
        for name in reversed([name for name, facts in STAGES.items() if facts.shared and "seed" in facts.common]):
            path = self.directory_of(name) / RECORD
            if path.exists():
                seed = read_record(path).settings.get("seed")
                return seed if isinstance(seed, int) else None
        return None

    def _refuse_to_make(self) -> None:
        raise InputError(
            f"{self.cfg.shared}: its classifier, CAMs or seeds are not finished, and this run only takes them from "
            "there (shared); run dsrg make-seeds for that folder first."
        )

    def _section(self, *names: str) -> dict[str, Any]:
        return dict(flatten(self.cfg.model_dump(mode="json", include=set(names))))

    def _contents(self, name: str) -> Mapping[str, str]:
        """What a stage's data and weights are; those whose files are gone are left out, for it needs them no more."""
        found: dict[str, str | None] = {**self._train_contents}
        weights, saliency = self.cfg.model.weights, self.cfg.seeds.saliency_dir
        of_seeds = name in ("seeds", "dsrg", "masks", "retrain")
        if name == "saliency":
            del found["labels"], found["classes"]
        elif weights not in (None, *tables.NAMED_WEIGHTS):
            found["weights"] = contents.of_file(Path(str(weights)))
        if of_seeds and self.boxed is not None:
            found["boxes"] = contents.of_files(map(self.folder.annotation_path, annotated(self.folder, self.train)))
        if of_seeds and self.cfg.cue in tables.SALIENCY_CUES and saliency:
            found["saliency"] = contents.of_files(saliency / f"{photo.id}.png" for photo in self.train)
        network = self.cfg.saliency.weights if name == "saliency" or (of_seeds and self.cfg.makes_saliency) else None
        if network not in (None, *tables.SALIENCY):
            found["saliency_weights"] = contents.of_file(Path(str(network)))
        if name in ("masks", "retrain"):
            found["segments"] = contents.of_segments(self.cfg.masks.segment_dir, self.train)
        if name == "supervised":
            found["truth"] = contents.of_files(map(self.folder.mask_path, self.train))
        known = {key: value for key, value in found.items() if value is not None}
        return known | corrections.content(self.cfg.corrections, name, self.true_masks)

    @cached_property
    def _train_contents(self) -> Mapping[str, str]:
        return contents.of_photos(self.train, self.classes)

    def _val_contents(self) -> Mapping[str, str]:
        return contents.of_photos(self.val, self.classes)

    def _predicted_contents(self, split: str, name: str = "") -> Mapping[str, str]:
        photos = self.val if split == self.cfg.data.val_split else self.folder.photos(split)
        found = contents.of_photos(photos, self.classes)
        keys = {"photographs": "predicted", "labels": "predicted_labels", "files": "predicted_files"}
        named = {keys.get(key, key): value for key, value in found.items()}
        return named | corrections.content(self.cfg.corrections, name, self.true_masks)

    def _check_file(self, directory: Path, num_classes: int | None, name: str) -> None:
        path = directory / name
        state = path.stat()
        own = tuple(self._own_classes[path.stem].tolist()) if path.suffix == ".npz" else ()
        try:
            read_once(path, state.st_size, state.st_mtime_ns, num_classes, own)
        except InputError as error:
            if path.suffix == ".pt":
                raise
            sentence = str(error).rstrip(".")
            raise InputError(f"{sentence}; or delete it, and the command that made it makes it anew.") from None

    @cached_property
    def _own_classes(self) -> Mapping[str, np.ndarray]:
        return {photo.id: photo.own for photo in self.train}

    def _record(self) -> None:
        self.lock()
        disk.write_text(self.directory / "config.yaml", config.dump(self.cfg))
        # The networks outlive the data folder, whose class list says what their channels mean.
        disk.write_text(self.directory / CLASS_LIST, "\n".join(self.classes.names) + "\n")
        disk.write_json(self.directory / "environment.json", environment(self.device))
        self._checked.write()
