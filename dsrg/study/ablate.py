"""The ablation: what each part adds, over several random seeds, with one classifier, its CAMs and its seeds for all."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsrg import config, distributed, tables
from dsrg.draw import chart
from dsrg.errors import InputError
from dsrg.files import disk, locks
from dsrg.run.folder import Run
from dsrg.run.table import STAGES, predictions_of
from dsrg.schema import Config
from dsrg.stages.order import MAKERS, planned

TAGS = "tags_alone"
"""The variant without saliency; its seeds lie in the folder `shared` of its folder."""


@dataclass(frozen=True)
class Variant:
    """One row of the table that is trained, once for each random seed."""

    name: str
    title: str
    folder: str
    """Where its runs lie, below ablation/."""
    steps: tuple[str, ...]
    """Names of stages, in order."""
    figure: str
    """Which of the stages' figures the row shows."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted configuration keys that make the variant."""
    above: str = ""
    """Name of the variant from which its difference is taken, random seed by random seed; none for the first."""
    takes: tuple[str, str] | None = None
    """Folder of another variant, and the stage of its runs that this variant's runs take over as it is."""


@dataclass(frozen=True)
class Row:
    """One row of the table with its figures on one split."""

    name: str
    title: str
    split: str
    """What the figure is measured on."""
    values: dict[int, float]
    """By random seed; those that are not measured yet are left out."""
    above: dict[int, float] = field(default_factory=dict)
    """Those of the row from which its difference is taken."""

    @property
    def mean(self) -> float | None:
        """Over the random seeds; None without any."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the random seeds, of a sample (n - 1); None for fewer than two."""
        return _deviation(self.values)

    @property
    def differences(self) -> dict[int, float]:
        """What each random seed gains over its own figure in the row above."""
        return {seed: value - self.above[seed] for seed, value in self.values.items() if seed in self.above}

    @property
    def gain(self) -> str:
        """Their mean and standard deviation."""
        found = self.differences
        return _with_deviation("+.3f", found) if found else ""

    def __str__(self) -> str:
        return _with_deviation(".3f", self.values) if self.values else "-"


def _deviation(values: Mapping[int, float]) -> float | None:
    return statistics.stdev(values.values()) if len(values) > 1 else None


def _with_deviation(form: str, values: Mapping[int, float]) -> str:
    deviation = _deviation(values)
    return format(statistics.fmean(values.values()), form) + ("" if deviation is None else f" ± {deviation:.3f}")


def variants(cfg: Config) -> list[Variant]:
    """The table's trained rows from top to bottom, each adding one part to the row above, whatever `cfg` switches off.

    Retraining continues the runs that grow as `cfg` does (grow.on), so that their DSRG networks train once. The gate is
    left out where `cfg` gates every row, and tags alone where they are alone in `cfg`.
    """
    seed_loss = {"losses.seed": True, "losses.boundary": False, "grow.enabled": False}
    boundary = seed_loss | {"losses.boundary": True}
    softmax = boundary | {"grow.enabled": True, "grow.on": "softmax"}
    crf = softmax | {"grow.on": "crf"}
    evidence, own = ("softmax", softmax) if cfg.grow.on == "softmax" else ("CRF", crf)
    grown, retrained = f"grow_{cfg.grow.on}", predictions_of("retrain")
    dsrg = ("dsrg", predictions_of("dsrg"))
    last = ("dsrg", "masks", "retrain", retrained)
    full = ("supervised", predictions_of("supervised"))
    gated, tags = own | {"test.gate": True}, own | _WITHOUT_SALIENCY
    rows = [
        Variant("seed_loss", "seed loss", "seed_loss", dsrg, "dsrg_miou", seed_loss),
        Variant("boundary_loss", "+ boundary loss", "boundary_loss", dsrg, "dsrg_miou", boundary, "seed_loss"),
        Variant("grow_softmax", "+ growing on softmax", "grow_softmax", dsrg, "dsrg_miou", softmax, "boundary_loss"),
        Variant("grow_crf", "+ growing on CRF", "grow_crf", dsrg, "dsrg_miou", crf, "boundary_loss"),
        Variant("retraining", f"+ retraining (growing on {evidence})", grown, last, "retrain_miou", own, grown),
        Variant("gate", "+ gate", "gate", (retrained,), "retrain_miou", gated, "retraining", (grown, "retrain")),
        Variant(TAGS, "retrained, tags alone", TAGS, last, "retrain_miou", tags, "retraining"),
        Variant("supervised", "fully supervised", "supervised", full, "supervised_miou", above="retraining"),
    ]
    left_out = {"gate"} if cfg.test.gate else set()
    if cfg.cue not in tables.SALIENCY_CUES:
        left_out.add(TAGS)
    return [row for row in rows if row.name not in left_out]


_WITHOUT_SALIENCY = {"seeds.background": "cam", "seeds.saliency_dir": None, "saliency.weights": None}


class Ablation:
    """Every variant with every random seed, each in a run folder of its own below <run_dir>/ablation/.

    The classifier, the CAMs and the seeds are those of `base` for all of them, but for the seeds of tags alone; its
    other stages are left alone.

    Args:
        base: The run whose configuration the variants change.
        seeds: Random seeds of the variants' trainings.
        only: Names of the variants to train, of `tables.ABLATION`; all where it is empty.
        splits: The splits to measure on, the first of which the chart shows; data.val_split where it is empty.

    Raises:
        InputError: a name is unknown, a random seed is given twice or cannot be one, the configuration does not admit
            a variant, there is nothing to measure, or no masks for a supervised training that `only` asks for.
    """

    def __init__(
        self, base: Run, seeds: Sequence[int] = (0, 1, 2), only: Sequence[str] = (), splits: Sequence[str] = ()
    ) -> None:
        self.variants = variants(base.cfg)
        for name in only:
            if name not in tables.ABLATION:
                known = ", ".join(tables.ABLATION)
                raise InputError(f"--only {name}: no such part of the ablation; name some of {known}.")
        if not seeds or len(set(seeds)) < len(seeds):
            raise InputError(f"--seeds {' '.join(map(str, seeds))}: name at least one random seed, and none twice.")
        self.base = base
        self.seeds = seeds
        self.splits = tuple(dict.fromkeys(splits)) or (base.cfg.data.val_split,)
        for split in self.splits:
            if not base.folder.has_masks(base.folder.photos(split)):
                raise InputError(
                    f"{base.folder.mask_dir}: lacks masks of the split {split}, so there is nothing to measure; add "
                    "them."
                )
        self.directory = base.directory / "ablation"
        self.runs = {
            (variant.folder, seed): [self._run(variant, seed, split) for split in self.splits]
            for variant in self.variants
            for seed in seeds
        }
        self.todo = self._chosen(only)

    def run(self) -> dict[str, Any]:
        """Train and measure what is not finished: every variant of the first random seed, then of the next.

        Writes ablation/ablation.json, ablation.md and ablation.png after each of them, so that an ablation that is
        interrupted shows what it has. The table is printed at the end.

        Returns:
            The content of ablation.json.

        Raises:
            InputError: a folder holds what other settings made, or a training fails.
        """
        self._share()
        results = self._write()  # which looks into every folder: other settings are refused before any training
        items = [(variant, seed) for seed in self.seeds for variant in self.todo]
        for number, (variant, seed) in enumerate(items, 1):
            first = self.runs[variant.folder, seed][0]
            steps = list(self._steps(variant, seed))
            done = all(run.stage(name).finished for run, name in steps)
            _say(
                f"[{number}/{len(items)}] {variant.title}, random seed {seed}: "
                + ("finished already" if done else str(first.directory))
            )
            if not done:
                if variant.takes is not None:
                    folder, name = variant.takes
                    take_over(self.runs[folder, seed][0], first, name)
                for run, name in steps:
                    MAKERS[name](run)
                results = self._write()
        _say(
            f"\n{self.table()}\n\n{', '.join(str(self.directory / f'ablation.{end}') for end in ('json', 'md', 'png'))}"
        )
        return results

    def rows(self, split: str | None = None) -> list[Row]:
        """The table's rows with what has been measured so far on a split, the first where None is named."""
        split = split or self.splits[0]
        cams = self.base.stage("cams")
        cam_miou = cams.figures.get("cam_miou") if cams.recorded and cams.finished else None
        cam = {} if cam_miou is None else {int(cams.settings["seed"]): float(cam_miou)}
        values = {variant.name: self._values(variant, split) for variant in self.variants}
        rows = [Row("cam", "CAM at its best threshold", self.base.cfg.data.train_split, cam)]
        rows += [Row(row.name, row.title, split, values[row.name], values.get(row.above, {})) for row in self.variants]
        weak, full = values["retraining"], values["supervised"]
        ratios = {seed: weak[seed] / full[seed] for seed in self.seeds if seed in weak and full.get(seed)}
        return [*rows, Row("ratio", "retrained / fully supervised", split, ratios)]

    def table(self) -> str:
        """The table in Markdown, and a sentence on what it holds."""
        titles = {variant.name: variant.title for variant in self.variants}
        against = {variant.name: titles.get(variant.above, "") for variant in self.variants}
        columns = [self.rows(split) for split in self.splits]
        lines = [
            "| trained with | " + "".join(f"{split} | gain | " for split in self.splits) + "gain over | n |",
            "|---|" + "---:|---:|" * len(self.splits) + "---|---:|",
        ]
        for same in zip(*columns, strict=True):
            first = same[0]
            cells = [f"{row} | {row.gain}" for row in same]
            if first.name == "cam":
                cells = [f"{first} ({first.split}) | ", *[" | "] * (len(same) - 1)]
            over = against.get(first.name, "").removeprefix("+ ")
            lines.append(f"| {first.title} | {' | '.join(cells)} | {over} | {len(first.values) or '-'} |")
        gated = " The classifier gates the networks' predictions (test.gate)." if self.base.cfg.test.gate else ""
        return "\n".join(lines) + (
            f"\n\nmIoU, mean ± standard deviation over n random seeds ({', '.join(map(str, self.seeds))}); classifier, "
            "CAMs and seeds are the same for all. Gains and the ratio are those of each random seed, averaged. CAM is "
            f"measured with the image-level labels, the networks are without.{gated}"
        )

    def _chosen(self, only: Sequence[str]) -> list[Variant]:
        """The variants to train, in the order of the table."""
        masks = self.base.cfg.supervised.enabled and self.base.folder.has_masks(self.base.train)
        if "supervised" in only and not masks:
            raise InputError("--only supervised: needs masks of the training split, and supervised.enabled=true.")
        there = [variant.name for variant in self.variants]
        for name in only:
            if name not in there:
                raise InputError(f"--only {name}: this configuration has no such row; leave it out.")
        left_out = set() if masks else {"supervised"}
        if "classifier" not in planned(self.base):  # somebody else's seeds: there is nothing else to cut or to gate by
            left_out |= {"gate", TAGS}
        return [row for row in self.variants if row.name in (only or there) and row.name not in left_out]

    def _steps(self, variant: Variant, seed: int) -> Iterator[tuple[Run, str]]:
        """The stages of a variant, each with the run that makes it: the predictions once for each split."""
        for name in variant.steps:
            runs = self.runs[variant.folder, seed]
            yield from ((run, name) for run in (runs if STAGES[name].predicts else runs[:1]))

    def _values(self, variant: Variant, split: str) -> dict[int, float]:
        place = self.splits.index(split)
        found = {seed: self.runs[variant.folder, seed][place].stage(variant.steps[-1]) for seed in self.seeds}
        figures = {seed: stage.figures.get(variant.figure) for seed, stage in found.items() if stage.finished}
        return {seed: figure for seed, figure in figures.items() if figure is not None}

    def _run(self, variant: Variant, seed: int, split: str) -> Run:
        own: dict[str, Any] = {
            "seed": seed,
            "run_dir": self.directory / variant.folder / str(seed),
            "shared": self._base_of_tags if variant.name == TAGS else self.base.cfg.shared or self.base.directory,
            "data.val_split": split,
        }
        return Run(config.change(self.base.cfg, own | dict(variant.settings)))

    @property
    def _base_of_tags(self) -> Path:
        return self.directory / TAGS / "shared"

    def _share(self) -> None:
        """Make what the variants share, where it is missing, once."""
        found = {name: self.base.stage(name) for name in planned(self.base) if STAGES[name].shared}
        todo = [name for name, stage in found.items() if not (stage.foreign or stage.finished)]
        _say(
            f"shared stages in {self.base.directory}: {', '.join(todo) + ' to be made' if todo else 'finished already'}"
        )
        for name in todo:
            MAKERS[name](self.base)
        if TAGS in [variant.name for variant in self.todo]:
            own = {"run_dir": self._base_of_tags, "shared": None}
            tags = Run(config.change(self.base.cfg, own | _WITHOUT_SALIENCY))
            for name in ("classifier", "cams"):
                take_over(self.base, tags, name)
            MAKERS["seeds"](tags)

    def _write(self) -> dict[str, Any]:
        found = {split: self.rows(split) for split in self.splits}
        rows = found[self.splits[0]]
        results = {
            "seeds": list(self.seeds),
            "rows": _figures(rows),
            "splits": {split: _figures(own) for split, own in found.items()},
            "shared": _finished(self.base, shared=True),
            "runs": {
                folder: {str(seed): _finished(self.runs[folder, seed][0], shared=False) for seed in self.seeds}
                for folder in dict.fromkeys(variant.folder for variant in self.variants)
            },
        }
        if distributed.is_main():
            disk.write_json(self.directory / "ablation.json", results)
            disk.write_text(
                self.directory / "ablation.md", f"{self.table()}\n\n![The table as a chart](ablation.png)\n"
            )
            chart.draw_bars(
                self.directory / "ablation.png",
                [
                    chart.Bar(row.title, list(row.values.values()), row.mean, row.deviation, apart=row.name == "cam")
                    for row in rows[:-1]
                ],
                f"mIoU on {rows[-1].split} (grey: on {rows[0].split}, with its image-level labels)",
                "bar: mean; line: ± standard deviation; dots: single random seeds",
            )
        return results


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        row.name: {
            "title": row.title,
            "split": row.split,
            "mean": row.mean,
            "deviation": row.deviation,
            "values": {str(seed): value for seed, value in row.values.items()},
            "gains": {str(seed): value for seed, value in row.differences.items()},
        }
        for row in rows
    }


def take_over(source: Run, target: Run, name: str) -> None:
    """Copy a finished stage of one run, as it is, into another whose settings are the same as far as it goes."""
    place = target.directory_of(name)
    if distributed.is_main() and not place.exists():
        found = source.require(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        with locks.temporary_folder(place) as temporary:
            copy = temporary / place.name
            shutil.copytree(found, copy, ignore=shutil.ignore_patterns("predictions", ".*"))
            copy.rename(place)
    distributed.barrier()


def _finished(run: Run, *, shared: bool) -> dict[str, Any]:
    """Figures and seconds of a run's finished stages: of those that the variants share, or of the others."""
    found = {name: run.stage(name) for name in run.stages if STAGES[name].shared == shared}
    stages = {name: stage for name, stage in found.items() if stage.finished}
    figures: dict[str, Any] = {}
    for stage in stages.values():
        figures |= stage.figures
    seconds = {name: stage.seconds for name, stage in stages.items()}
    return {"directory": str(run.directory), "figures": figures, "seconds": seconds}


def _say(text: str) -> None:
    if distributed.is_main():
        print(text, flush=True)
