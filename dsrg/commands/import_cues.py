"""Bring the authors' localization_cues-sal.pickle into a run's seeds/; without --cfg, only print what it holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsrg.cli import guard
from dsrg.errors import InputError

if TYPE_CHECKING:
    from dsrg.labels import Classes
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the words of the command line (None: the process's own) and import; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cues", type=Path, required=True, metavar="FILE", help="the pickle, packed with gzip or not")
    parser.add_argument("--list", type=Path, metavar="FILE", help="their input_list.txt: lines '<photograph> <number>'")
    parser.add_argument(
        "--classes", metavar="LIST", help="the cues' classes, if the data set has others: a class list, or 'voc'"
    )
    parser.add_argument("--cfg", metavar="FILE", help="configuration, such as voc12/vgg16_official")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as data.root=data/voc12 run_dir=runs/cues"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.cfg is None and (options.list or options.overrides):
        parser.error("--list and key=value need --cfg; without it the cues are only counted")
    if options.cfg is not None and options.list is None:
        parser.error("--cfg needs --list, which tells the photograph of each number")

    def work() -> None:
        from dsrg import config
        from dsrg.data import cues
        from dsrg.data.classes import read_classes
        from dsrg.run.folder import Run

        if options.cfg is None:
            voc = read_classes(options.classes or "voc")
            print(cues.count(cues.read_cues(options.cues, voc), voc))
        else:
            run = Run(config.load(options.cfg, options.overrides))
            classes = read_classes(options.classes) if options.classes else run.classes
            _import(options.cues, options.list, run, classes)

    return guard(work)


def _import(file: Path, listed: Path, run: Run, classes: Classes) -> None:
    from dsrg.data import cues

    if run.cfg.shared is not None:
        raise InputError(f"shared = {run.cfg.shared}: seeds/ is read there; import into that run, or set shared=null.")
    run.check_classes("seeds")
    numbers = cues.read_list(listed)
    found = cues.read_cues(file, classes)
    if classes.names != run.classes.names:
        found = cues.translate(found, classes, run.classes)
    own, differ = cues.choose(run.train, found, numbers, str(listed))
    directory = run.directory_of("seeds")
    cues.write_seeds(directory, run.train, own, threads=run.cfg.workers)
    print(cues.count(found, run.classes))
    print(f"{directory}: the seeds of the {len(own):,} photographs of {run.cfg.data.train_split}")
    if differ:
        print(f"{differ:,} of these photographs have other labels in the data set than in the cues")
    if len(found) > len(own):
        print(f"{len(found) - len(own):,} images of the cues are not in {run.cfg.data.train_split}")
