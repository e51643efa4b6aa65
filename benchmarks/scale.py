"""Seconds and memory a photograph as data sets, class lists and photographs grow; each figure is a process's own.

    python -m benchmarks.scale photographs [--counts 1000 10000 100000] [--predicted 50 500] [--work DIR]
    python -m benchmarks.scale classes | pixels | processes

Data sets are hard links to 120 drawn photographs of 96 x 96 pixels and their masks. Seconds are the processor's, for
others on the machine hardly change them; where threads are compared, the clock's. "Each further" is what those
photographs cost that this row has more than the one before: the start of Python and of PyTorch is not in it.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.common import machine_line, print_table
from dsrg.data import demo
from dsrg.files import pictures

DRAWN = 120
START = """
from dsrg import config
from dsrg.run.folder import Run
run = Run(config.load({cfg!r}, {overrides!r}))
run.start(computes=False)
"""
SEEDS = START + "from dsrg.stages.seeds import make_seeds; make_seeds(run)"
BETWEEN = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(status)
"""
BEGIN = "run.stage('classifier').begin()"
AGAIN = START + "assert run.stage('seeds').finished"


class Cost(NamedTuple):
    """What a process took."""

    cpu: float
    """Seconds of the processor."""
    clock: float
    peak: float
    """MB of memory at the most."""


def main() -> None:
    """Measure what is asked for and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("photographs", "classes", "pixels", "processes"))
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000], help="photographs")
    parser.add_argument("--predicted", type=int, nargs="*", default=[], help="photographs for dsrg predict")
    parser.add_argument("--no-seeds", action="store_true", help="leave the seeds and the stage after them out")
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 25, 250])
    parser.add_argument("--pixels", type=float, nargs="+", default=[0.1, 1, 10, 24, 100], help="millions")
    parser.add_argument("--engines", nargs="+", default=["torch", "onnx"], help="of dsrg predict, for pixels")
    parser.add_argument("--work", type=Path, help="where the data go (default: the system's temporary folder)")
    options = parser.parse_args()
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        if options.what == "photographs":
            photographs(work, options.counts, options.predicted, seeds=not options.no_seeds)
        elif options.what == "classes":
            classes(work, options.classes)
        elif options.what == "pixels":
            pixels(work, options.pixels, options.engines)
        else:
            processes(work, options.counts[0])


def photographs(work: Path, counts: Sequence[int], predicted: Sequence[int], *, seeds: bool) -> None:
    """Each command on data sets of growing size."""
    rows: dict[str, list[tuple[int, Cost]]] = {}
    for count in counts:
        place = work / str(count)
        link_photographs(place, count)
        run = ["-c", START.format(cfg="demo/resnet18", overrides=overrides(place))]
        steps: list[tuple[str, Sequence[str], Callable[[], object]]] = [
            ("prepare-data --link", prepare(place), lambda place=place: link_masks(place)),
            ("check-data", check(place), int),
            ("eval-miou", evaluate(place), lambda place=place: link_cams(place)),
            ("start of a stage", run, lambda place=place: cost(known(place, BEGIN))),
            ("start, files read before", known(place), int),
            ("making seeds", ["-c", SEEDS.format(cfg="demo/resnet18", overrides=overrides(place))], int),
            ("start of the next stage", ["-c", AGAIN.format(cfg="demo/resnet18", overrides=overrides(place))], int),
        ]
        for what, command, then in steps if seeds else steps[:5]:
            rows.setdefault(what, []).append((count, cost(command)))
            then()
    for count in predicted:
        place = work / f"predict-{count}"
        link_photographs(place, count)
        rows.setdefault("predict, 65 pixels, no CRF", []).append((count, cost(segment(place, work))))
    table = []
    for what, costs in rows.items():
        each = [1000 * one.cpu / count for count, one in costs]
        slopes = [
            1000 * (after.cpu - before.cpu) / (more - fewer)
            for (fewer, before), (more, after) in itertools.pairwise(costs)
        ]
        for place, (count, one) in enumerate(costs):
            slope = f"{slopes[place - 1]:.3f}" if place else ""
            table.append([what, f"{count:,}", f"{one.cpu:.1f}", f"{each[place]:.3f}", slope, f"{one.peak:.0f}"])
    print_table(["", "photographs", "CPU s", "ms each", "ms each further", "peak MB"], table)


def classes(work: Path, counts: Sequence[int]) -> None:
    """Commands on 2,000 photographs of growing class lists."""
    table = []
    for count in counts:
        place = work / str(count)
        link_photographs(place, 2000, count)
        for what, command in (("prepare-data --link", prepare(place)), ("check-data", check(place))):
            one = cost(command)
            table.append([what, count, f"{one.cpu:.2f}", f"{one.peak:.0f}"])
    print_table(["2,000 photographs", "classes", "CPU s", "peak MB"], sorted(table, key=lambda row: row[0]))


def pixels(work: Path, counts: Sequence[float], engines: Sequence[str]) -> None:
    """dsrg predict on one photograph of growing size, which the network sees at 353 pixels, without the CRF."""
    tables: dict[str, list[list[str]]] = {engine: [] for engine in engines}
    for number, count in enumerate(counts):
        place = work / str(number) / "photos"
        place.mkdir(parents=True)
        side = round((count * 1e6) ** 0.5)
        rows, columns = np.mgrid[:side, :side].astype(np.float32)
        waves = np.sin(rows / 41) * np.cos(columns / 53)
        picture = np.stack([128 + 100 * waves, 128 - 100 * waves, 255 * rows / side], axis=-1).astype(np.uint8)
        Image.fromarray(picture).save(place / "photo.jpg")
        for engine, table in tables.items():
            one = cost(segment(place.parent, work, 353, engine))
            table.append([engine, f"{count:g} megapixels", f"{one.cpu:.1f}", f"{one.peak:.0f}"])
    print_table(["predict, one photograph", "", "CPU s", "peak MB"], itertools.chain.from_iterable(tables.values()))


def processes(work: Path, count: int) -> None:
    """The same work in one thread and in two."""
    place = work / "one"
    link_photographs(place, count)
    cost(prepare(place))
    link_masks(place)
    table: list[list[str]] = []
    first = 0.0
    for threads in (1, 2):
        one = cost([*check(place), "--threads", str(threads)])
        first = first or one.clock
        table.append(
            [f"check-data, {threads} threads", f"{one.clock:.2f}", f"{first / one.clock:.2f} x", f"{one.cpu:.2f}"]
        )
    print_table([f"{count:,} photographs", "seconds", "gain", "CPU s"], table)


def cost(command: Sequence[str]) -> Cost:
    """What Python takes with these arguments, its own processes included."""
    begun = time.monotonic()
    # A process begins with the peak of the one that starts it, and this one has PyTorch: a small one stands between.
    with tempfile.TemporaryFile() as said:  # progress bars, or why it failed
        words = [sys.executable, "-S", "-c", BETWEEN, sys.executable, *command]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=said, text=True, check=False)
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"failed: {' '.join(command)}\n{said.read().decode(errors='replace')[-3000:]}")
    cpu, peak = map(float, done.stdout.split())
    return Cost(cpu, time.monotonic() - begun, peak / 1024)


@functools.cache
def drawn(work: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Photographs, their masks, and the name of one class of each."""
    root = work / "drawn"
    demo.generate(root, train=DRAWN - 20, val=20)
    with (root / "image_labels.csv").open(encoding="utf-8") as file:
        labels = {row["image"]: row["labels"] for row in csv.DictReader(file)}
    photos = sorted((root / "JPEGImages").iterdir())
    return (
        photos,
        [root / "SegmentationClass" / f"{photo.stem}.png" for photo in photos],
        [labels[photo.stem] for photo in photos],
    )


def link_photographs(place: Path, count: int, class_count: int | None = None) -> None:
    """place/photos/p<number> and place/labels.csv."""
    photos, _, labels = drawn(place.parent)
    (place / "photos").mkdir(parents=True)
    lines = ["image,labels"]
    for number in range(count):
        source = photos[number % DRAWN]
        os.link(source, place / "photos" / f"p{number:07}{source.suffix}")
        own = labels[number % DRAWN] if class_count is None else f"class {number % class_count:03};"
        lines.append(f"p{number:07},{own}")
    (place / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def link_masks(place: Path) -> None:
    """A true mask of each photograph."""
    _, masks, _ = drawn(place.parent)
    folder = place / "data/SegmentationClass"
    folder.mkdir()
    for photo in (place / "data/JPEGImages").iterdir():
        os.link(masks[int(photo.stem[1:]) % DRAWN], folder / f"{photo.stem}.png")


def link_cams(place: Path) -> None:
    """Maps of each training photograph's own classes, as somebody's own cams/."""
    from dsrg.files import storage

    _, masks, labels = drawn(place.parent)
    names = (place / "data/classes.txt").read_text(encoding="utf-8").split()
    made = place / "made"
    for number, (mask, own) in enumerate(zip(masks, labels, strict=True)):
        indices = np.array(sorted(names.index(name) for name in own.replace(";", " ").split()))
        truth = pictures.read_mask(mask)[::4, ::4]
        maps = np.stack([(truth > 0) * (0.5 + 0.5 * (truth == index)) for index in indices]).astype(np.float32)
        storage.write_cams(made / f"{number}.npz", indices, maps)
    folder = place / "run/cams"
    folder.mkdir(parents=True)
    for photo in (place / "data/JPEGImages").iterdir():
        os.link(made / f"{int(photo.stem[1:]) % DRAWN}.npz", folder / f"{photo.stem}.npz")


def prepare(place: Path) -> list[str]:
    """The words of dsrg prepare-data."""
    named = ["--photos", str(place / "photos"), "--labels", str(place / "labels.csv"), "--root", str(place / "data")]
    return ["-m", "dsrg", "prepare-data", *named, "--link"]


def check(place: Path) -> list[str]:
    """The words of dsrg check-data."""
    return ["-m", "dsrg", "check-data", "--root", str(place / "data")]


def evaluate(place: Path) -> list[str]:
    """The words of dsrg eval-miou."""
    data = place / "data"
    masks = str(data / "SegmentationClass")
    return ["-m", "dsrg", "eval-miou", "--pred", masks, "--gt", masks, "--classes", str(data / "classes.txt")]


def overrides(place: Path) -> list[str]:
    """Of a run on a data set of `photographs`."""
    own = [f"data.root={place / 'data'}", f"run_dir={place / 'run'}", "seeds.crf=false", "seeds.thresholds=fixed"]
    return [*own, "workers=2", "device=cpu"]


def known(place: Path, then: str = "") -> list[str]:
    """A start in a run folder of its own, which remembers what it read where a stage begins."""
    return ["-c", START.format(cfg="demo/resnet18", overrides=[*overrides(place), f"run_dir={place / 'known'}"]) + then]


def segment(place: Path, work: Path, size: int = 65, engine: str = "torch") -> list[str]:
    """The words of dsrg predict, with a network of random weights."""
    sized = ["--size", str(size), "--no-crf", "--device", "cpu", "--engine", engine, "--workers", "0"]
    named = ["--model", str(network(work)), "--out", str(place / f"masks-{engine}")]
    return ["-m", "dsrg", "predict", str(place / "photos"), *named, *sized]


@functools.cache
def network(work: Path) -> Path:
    """A run's folder with an untrained MobileNetV2 of 21 classes."""
    import torch

    from dsrg import config
    from dsrg.files import disk, storage
    from dsrg.labels import PRESETS
    from dsrg.models.build import build_deeplab
    from dsrg.run.networks import deeplab_arguments

    folder = work / "network"
    changes = ["model.backbone=mobilenet_v2", "model.weights=null", "model.freeze_batch_norm=false", "test.crf=false"]
    cfg = config.load("demo/resnet18", [*changes, f"run_dir={folder}"])
    torch.manual_seed(0)
    model = build_deeplab(**deeplab_arguments(cfg.model, len(PRESETS["voc"])))
    disk.write_text(folder / "config.yaml", config.dump(cfg))
    disk.write_text(folder / "classes.txt", "\n".join(PRESETS["voc"]) + "\n")
    storage.save_checkpoint(folder / "retrain/checkpoint.pt", {"model": model.state_dict()})
    return folder


if __name__ == "__main__":
    main()
