"""The ablation: what each part adds, over several random seeds, with one classifier, its CAMs and its seeds for all."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsrg import config, distributed
from dsrg.draw import chart
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.run.folder import Run
from dsrg.run.table import STAGES, predictions_of
from dsrg.schema import Config
from dsrg.stages.order import MAKERS, planned

NAMES = ("seed_loss", "boundary_loss", "grow_softmax", "grow_crf", "retraining", "supervised")
"""What --only may name, in the order of the table."""


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


@dataclass(frozen=True)
class Row:
    """One row of the table with its figures."""

    name: str
    title: str
    split: str
    """What the figure is measured on."""
    values: dict[int, float]
    """By random seed; those that are not measured yet are left out."""

    @property
    def mean(self) -> float | None:
        """Over the random seeds; None without any."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the random seeds, of a sample (n - 1); None for fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        return f"{self.mean:.3f}" + ("" if self.deviation is None else f" ± {self.deviation:.3f}")


def variants(cfg: Config) -> list[Variant]:
    """The table's trained rows from top to bottom, each adding one part to the row above, whatever `cfg` switches off.

    Retraining continues the runs that grow as `cfg` does (grow.on), so that their DSRG networks train once.
    """
    seed_loss = {"losses.seed": True, "losses.boundary": False, "grow.enabled": False}
    boundary = seed_loss | {"losses.boundary": True}
    softmax = boundary | {"grow.enabled": True, "grow.on": "softmax"}
    crf = softmax | {"grow.on": "crf"}
    evidence, own = ("softmax", softmax) if cfg.grow.on == "softmax" else ("CRF", crf)
    dsrg = ("dsrg", predictions_of("dsrg"))
    last = ("dsrg", "masks", "retrain", predictions_of("retrain"))
    full = ("supervised", predictions_of("supervised"))
    return [
        Variant("seed_loss", "seed loss", "seed_loss", dsrg, "dsrg_miou", seed_loss),
        Variant("boundary_loss", "+ boundary loss", "boundary_loss", dsrg, "dsrg_miou", boundary),
        Variant("grow_softmax", "+ growing on softmax", "grow_softmax", dsrg, "dsrg_miou", softmax),
        Variant("grow_crf", "+ growing on CRF", "grow_crf", dsrg, "dsrg_miou", crf),
        Variant(
            "retraining", f"+ retraining (growing on {evidence})", f"grow_{cfg.grow.on}", last, "retrain_miou", own
        ),
        Variant("supervised", "fully supervised", "supervised", full, "supervised_miou"),
    ]


class Ablation:
    """Every variant with every random seed, each in a run folder of its own below <run_dir>/ablation/.

    The classifier, the CAMs and the seeds are those of `base` for all of them; its other stages are left alone.

    Args:
        base: The run whose configuration the variants change.
        seeds: Random seeds of the variants' trainings.
        only: Names of the variants to train, of NAMES; all where it is empty.

    Raises:
        InputError: a name is unknown, a random seed is given twice or cannot be one, the configuration does not admit
            a variant, there is nothing to measure, or no masks for a supervised training that `only` asks for.
    """

    def __init__(self, base: Run, seeds: Sequence[int] = (0, 1, 2), only: Sequence[str] = ()) -> None:
        for name in only:
            if name not in NAMES:
                raise InputError(f"--only {name}: no such part of the ablation; name some of {', '.join(NAMES)}.")
        if not seeds or len(set(seeds)) < len(seeds):
            raise InputError(f"--seeds {' '.join(map(str, seeds))}: name at least one random seed, and none twice.")
        if not base.folder.has_masks(base.val):
            raise InputError(
                f"{base.folder.mask_dir}: lacks masks of the split {base.cfg.data.val_split}, so there is nothing to "
                "measure; add them."
            )
        self.base = base
        self.seeds = seeds
        self.directory = base.directory / "ablation"
        self.variants = variants(base.cfg)
        self.runs = {(variant.folder, seed): self._run(variant, seed) for variant in self.variants for seed in seeds}
        masks = base.cfg.supervised.enabled and base.folder.has_masks(base.train)
        if "supervised" in only and not masks:
            raise InputError("--only supervised: needs masks of the training split, and supervised.enabled=true.")
        chosen = [variant for variant in self.variants if not only or variant.name in only]
        self.todo = [variant for variant in chosen if masks or variant.name != "supervised"]

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
            run = self.runs[variant.folder, seed]
            done = all(run.stage(name).finished for name in variant.steps)
            _say(
                f"[{number}/{len(items)}] {variant.title}, random seed {seed}: "
                + ("finished already" if done else str(run.directory))
            )
            if not done:
                for name in variant.steps:
                    MAKERS[name](run)
                results = self._write()
        _say(
            f"\n{self.table()}\n\n{', '.join(str(self.directory / f'ablation.{end}') for end in ('json', 'md', 'png'))}"
        )
        return results

    def rows(self) -> list[Row]:
        """The table's rows with what has been measured so far."""
        cams = self.base.stage("cams")
        cam_miou = cams.figures.get("cam_miou") if cams.recorded and cams.finished else None
        cam = {} if cam_miou is None else {int(cams.settings["seed"]): float(cam_miou)}
        rows = [Row("cam", "CAM at its best threshold", self.base.cfg.data.train_split, cam)]
        val = self.base.cfg.data.val_split
        for variant in self.variants:
            found = {seed: self.runs[variant.folder, seed].stage(variant.steps[-1]) for seed in self.seeds}
            figures = {seed: stage.figures.get(variant.figure) for seed, stage in found.items() if stage.finished}
            values = {seed: figure for seed, figure in figures.items() if figure is not None}
            rows.append(Row(variant.name, variant.title, val, values))
        weak, full = rows[-2].values, rows[-1].values
        ratios = {seed: weak[seed] / full[seed] for seed in self.seeds if seed in weak and full.get(seed)}
        return [*rows, Row("ratio", "retrained / fully supervised", val, ratios)]

    def table(self) -> str:
        """The table in Markdown, and a sentence on what it holds."""
        lines = ["| trained with | measured on | mIoU | n |", "|---|---|---:|---:|"]
        lines += [f"| {row.title} | {row.split} | {row} | {len(row.values) or '-'} |" for row in self.rows()]
        gated = " The classifier gates the networks' predictions (test.gate)." if self.base.cfg.test.gate else ""
        return "\n".join(lines) + (
            f"\n\nMean ± standard deviation over n random seeds ({', '.join(map(str, self.seeds))}); classifier, CAMs "
            "and seeds are the same for all. The ratio is the mean of each random seed's. CAM is measured with the "
            f"image-level labels, the networks are without.{gated}"
        )

    def _run(self, variant: Variant, seed: int) -> Run:
        own: dict[str, Any] = {
            "seed": seed,
            "run_dir": self.directory / variant.folder / str(seed),
            "shared": self.base.cfg.shared or self.base.directory,
        }
        return Run(config.change(self.base.cfg, own | dict(variant.settings)))

    def _share(self) -> None:
        """Make what the variants share, where it is missing, once."""
        found = {name: self.base.stage(name) for name in planned(self.base) if STAGES[name].shared}
        todo = [name for name, stage in found.items() if not (stage.foreign or stage.finished)]
        _say(
            f"shared stages in {self.base.directory}: {', '.join(todo) + ' to be made' if todo else 'finished already'}"
        )
        for name in todo:
            MAKERS[name](self.base)

    def _write(self) -> dict[str, Any]:
        rows = self.rows()
        results = {
            "seeds": list(self.seeds),
            "rows": {
                row.name: {
                    "title": row.title,
                    "split": row.split,
                    "mean": row.mean,
                    "deviation": row.deviation,
                    "values": {str(seed): value for seed, value in row.values.items()},
                }
                for row in rows
            },
            "shared": _finished(self.base, shared=True),
            "runs": {
                folder: {str(seed): _finished(self.runs[folder, seed], shared=False) for seed in self.seeds}
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
                f"mIoU on {rows[-2].split} (grey: on {rows[0].split}, with its image-level labels)",
                "bar: mean; line: ± standard deviation; dots: single random seeds",
            )
        return results


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
