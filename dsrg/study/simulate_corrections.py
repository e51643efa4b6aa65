"""What corrections buy: retraining with the true masks of a few photographs, picked or drawn at random."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsrg import config, distributed
from dsrg.draw import chart
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.run.folder import Run
from dsrg.run.records import RECORD
from dsrg.run.table import predictions_of
from dsrg.stages.order import MAKERS
from dsrg.study.ablate import take_over
from dsrg.study.pick import rank_photos

WAYS = ("picked", "random")
"""How the photographs are chosen: as dsrg pick ranks them, or drawn at random."""
SEEDS = "-seeds"
"""Ends the names of what corrections.seeds makes, so that both ways to use true masks fit into one run."""


@dataclass(frozen=True)
class Cell:
    """One retraining."""

    way: str
    count: int
    seed: int


class Simulation:
    """A person's corrections, simulated: for each random seed the same masks, retrained with more and more true ones.

    With corrections.seeds each cell has a DSRG network and pseudo-labels of its own, which the true masks taught too.

    Args:
        base: A run whose data set has true masks of both splits. Its own random seed's DSRG network, masks and
            retraining are taken from it; those of other random seeds are made below corrections/<seed>/none.
        counts: Numbers of true masks; a smaller one's are among a larger one's.
        seeds: Random seeds of the networks, and of the drawing.

    Raises:
        InputError: there are no true masks, or a count or random seed is not possible or given twice.
    """

    def __init__(self, base: Run, counts: Sequence[int] = (6, 30, 120), seeds: Sequence[int] = (0,)) -> None:
        for split, photos in ((base.cfg.data.train_split, base.train), (base.cfg.data.val_split, base.val)):
            if not base.folder.has_masks(photos):
                raise InputError(
                    f"{base.folder.mask_dir}: lacks masks of the split {split}, which stand for a person's corrections "
                    "and measure what they buy; add them."
                )
        if not counts or len(set(counts)) < len(counts) or not all(0 < count <= len(base.train) for count in counts):
            raise InputError(
                f"--counts {' '.join(map(str, counts))}: name numbers from 1 to {len(base.train)}, the photographs of "
                f"{base.cfg.data.train_split}, and none twice."
            )
        if not seeds or len(set(seeds)) < len(seeds):
            raise InputError(f"--seeds {' '.join(map(str, seeds))}: name at least one random seed, and none twice.")
        self.base = base
        self.counts = sorted(counts)
        self.seeds = seeds
        self.directory = base.directory / "corrections"
        self.suffix = SEEDS if base.cfg.corrections.seeds else ""
        self.none = {seed: self._none(seed) for seed in seeds}

    def run(self) -> dict[str, Any]:
        """Train and measure what is not finished, the first random seed first.

        Writes corrections/corrections.json, .md and .png (corrections-seeds.* with corrections.seeds) after each
        training, so that one that is interrupted shows what it has. The table is printed at the end.

        Returns:
            The content of corrections.json.

        Raises:
            InputError: a folder holds what other settings made, or a training fails.
        """
        results = self._write()
        ends = ("supervised",) if self.base.cfg.supervised.enabled else ()
        for seed in self.seeds:
            for name in ("dsrg", "masks", "retrain", *ends, *map(predictions_of, ("retrain", *ends))):
                MAKERS[name](self.none[seed])
            results = self._write()
            for cell in self._cells(seed):
                _say(f"{cell.count} true masks, {cell.way}, random seed {seed}: {self._folder(cell)}")
                self._make(cell)
                results = self._write()
        _say(f"\n{self.table()}\n\n{', '.join(str(self._file(ending)) for ending in ('json', 'md', 'png'))}")
        return results

    def table(self) -> str:
        """The table in Markdown, and a sentence on what it holds."""
        columns = " | ".join(f"{way}: mIoU | gain | gap closed" for way in WAYS)
        lines = [f"| true masks | share of the photographs | {columns} | n |", "|---:" * (3 + 3 * len(WAYS)) + "|"]
        none, full, photos = self._values(None), self._full(), len(self.base.train)
        rows = [(str(count), count, self._row(count)) for count in self.counts]
        rows.insert(0, ("0", 0, dict.fromkeys(WAYS, none)))
        if full:
            rows.append((f"{photos}, full supervision", photos, dict.fromkeys(WAYS, full)))
        for title, count, found in rows:
            cells = [
                _cells(values, none, full) if count else f"{_spread('.3f', values)} | | " for values in found.values()
            ]
            numbers = ", ".join(dict.fromkeys(str(len(values) or "-") for values in found.values()))
            lines.append(f"| {title} | {count / photos:.1%} | {' | '.join(cells)} | {numbers} |")
        weight = self.base.cfg.corrections.weight
        return "\n".join(lines) + (
            f"\n\nmIoU on {self.base.cfg.data.val_split} after retraining, mean ± standard deviation over n random "
            f"seeds ({', '.join(map(str, self.seeds))}); corrections.weight = {weight or 'null'}, corrections.seeds = "
            f"{'true' if self.suffix else 'false'}. Gains are over no true mask, random seed by random seed; the gap "
            "is what full supervision gains."
        )

    def _file(self, ending: str) -> Path:
        return self.directory / f"corrections{self.suffix}.{ending}"

    def _none(self, seed: int) -> Run:
        if seed == self.base.cfg.seed and self.base.cfg.corrections.masks is None:
            return self.base
        return self._run(self.directory / str(seed) / "none", seed)

    def _run(self, directory: Path, seed: int, masks: Path | None = None) -> Run:
        own = {
            "seed": seed,
            "run_dir": directory,
            "shared": self.base.cfg.shared or self.base.directory,
            "corrections.masks": masks,
            "corrections.seeds": masks is not None and self.base.cfg.corrections.seeds,
        }
        return Run(config.change(self.base.cfg, own))

    def _folder(self, cell: Cell) -> Path:
        return self.directory / str(cell.seed) / f"{cell.way}-{cell.count}{self.suffix}"

    def _cells(self, seed: int) -> Iterator[Cell]:
        return (Cell(way, count, seed) for count in self.counts for way in WAYS)

    def _cell_run(self, cell: Cell) -> Run:
        folder = self._folder(cell)
        return self._run(folder, cell.seed, (folder / "true").resolve())

    def _make(self, cell: Cell) -> None:
        if cell.way == "picked":
            chosen = [one.photo for one in rank_photos(self.none[cell.seed], cell.count)]
        else:
            order = np.random.default_rng(cell.seed).permutation(len(self.base.train))
            chosen = [self.base.train[index] for index in order[: cell.count]]
        if distributed.is_main():
            for photo in chosen:
                source, target = self.base.folder.mask_path(photo), self._folder(cell) / "true" / f"{photo.id}.png"
                if not target.is_file():
                    disk.write_bytes(target, disk.read_bytes(source, "true mask"))
        distributed.barrier()
        run = self._cell_run(cell)
        for name in ("dsrg", "masks"):
            if self.suffix:
                MAKERS[name](run)
            else:  # those without true masks
                _lend(self.none[cell.seed], run, name)
        for name in ("retrain", predictions_of("retrain")):
            MAKERS[name](run)

    def _row(self, count: int) -> dict[str, dict[int, float]]:
        return {way: self._values((way, count)) for way in WAYS}

    def _values(self, which: tuple[str, int] | None) -> dict[int, float]:
        """What is measured so far, by random seed; of None without true masks."""
        runs = {s: self.none[s] if which is None else self._cell_run(Cell(*which, s)) for s in self.seeds}
        return _measured(runs, "retrain")

    def _full(self) -> dict[int, float]:
        """The same with all true masks."""
        return _measured(self.none, "supervised")

    def _write(self) -> dict[str, Any]:
        none, full = self._values(None), self._full()
        rows = {count: self._row(count) for count in self.counts}
        results = {
            "photographs": len(self.base.train),
            "weight": self.base.cfg.corrections.weight,
            "seeds": self.base.cfg.corrections.seeds,
            "none": _by_name(none),
            "full": _by_name(full),
            "counts": {str(count): {way: _by_name(found) for way, found in row.items()} for count, row in rows.items()},
        }
        if distributed.is_main():
            disk.write_json(self._file("json"), results)
            disk.write_text(self._file("md"), f"{self.table()}\n\n![The table as a chart]({self._file('png').name})\n")
            lines = {way: [list(none.values()), *(list(rows[c][way].values()) for c in self.counts)] for way in WAYS}
            level = {"full supervision": statistics.fmean(full.values())} if full else {}
            chart.draw_curves(
                self._file("png"),
                [str(count) for count in (0, *self.counts)],
                lines,
                level,
                ("true masks", f"mIoU on {self.base.cfg.data.val_split}"),
            )
        return results


def _lend(source: Run, target: Run, name: str) -> None:
    """Copy a finished stage into a run that differs from its own in what the stage does not depend on."""
    take_over(source, target, name)
    path, stage = target.directory_of(name) / RECORD, target.stage(name)
    if distributed.is_main() and source.cfg.shared != target.cfg.shared and stage.recorded:
        # The same settings, but that the target has the classifier's random seed as shared.seed.
        record = disk.read_object(path, "record of the stage")
        if record["settings"] != stage.settings:
            disk.write_json(path, record | {"settings": stage.settings})
    distributed.barrier()


def _by_name(values: Mapping[int, float]) -> dict[str, float]:
    return {str(seed): value for seed, value in values.items()}


def _measured(runs: Mapping[int, Run], network: str) -> dict[int, float]:
    """mIoU of a network, by random seed, where it is measured."""
    found = {}
    for seed, run in runs.items():
        stage, figure = run.stage(predictions_of(network)), f"{network}_miou"
        if stage.recorded and stage.finished and figure in stage.figures:
            found[seed] = float(stage.figures[figure])
    return found


def _cells(values: Mapping[int, float], none: Mapping[int, float], full: Mapping[int, float]) -> str:
    """A row's three cells of one way: mIoU, the gain over no true mask, and its share of full supervision's gain."""
    gains = {seed: value - none[seed] for seed, value in values.items() if seed in none}
    gaps = [full[seed] - none[seed] for seed in gains if seed in full]
    closed = ""
    if gaps and len(gaps) == len(gains) and sum(gaps) > 0:
        closed = f"{round(sum(gains.values()) / sum(gaps), 2) + 0.0:.0%}"  # + 0.0 makes 0 of -0
    return f"{_spread('.3f', values)} | {_spread('+.3f', gains)} | {closed}"


def _spread(form: str, values: Mapping[int, float]) -> str:
    """Mean and, of two or more, standard deviation."""
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values.values()):.3f}" if len(values) > 1 else ""
    return format(round(statistics.fmean(values.values()), 3) + 0.0, form) + deviation  # + 0.0 makes 0 of -0


def _say(text: str) -> None:
    if distributed.is_main():
        print(text, flush=True)
