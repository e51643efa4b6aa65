"""Bring photographs with labels, exports of annotation tools, VOC 2012, COCO or ImageNet into the stages' layout."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsrg.cli import guard
from dsrg.errors import InputError

if TYPE_CHECKING:
    from dsrg.data.prepare import Plan
    from dsrg.data.voc_sbd import LabelSource

EXAMPLES = """
examples:
  one folder per class:   dsrg prepare-data --photos photos --root data/mine
  a table image,labels:   dsrg prepare-data --photos photos --labels labels.csv --root data/mine
  an unpacked export:     dsrg prepare-data --photos export --root data/mine
  boxes for some:         dsrg prepare-data --photos photos --labels labels.csv --boxes annotations --root data/mine
  its file, photos apart: dsrg prepare-data --photos photos --labels project.json --root data/mine
  what it would make:     dsrg prepare-data --photos photos --labels labels.csv --root data/mine --dry-run
  VOC 2012, train_aug:    dsrg prepare-data --voc VOCdevkit/VOC2012 --sbd benchmark_RELEASE/dataset --root data/voc12
  the same, downloaded:   dsrg prepare-data --voc downloads/voc --sbd downloads/sbd --download --root data/voc12
  COCO:                   dsrg prepare-data --coco coco --year 2014 --root data/coco --link
  ImageNet, ILSVRC 2012:  dsrg prepare-data --imagenet ILSVRC --root data/imagenet --link symbolic
  COCO's format:          dsrg prepare-data --coco-json annotations.json --photos photos --root data/mine

Reads exports of Label Studio (CSV, TSV, JSON, JSON-MIN, COCO), CVAT (COCO, masks and XML of VOC, "CVAT for images"),
Roboflow (COCO, CSV, masks), LabelMe (JSON, masks), YOLO, Hugging Face (metadata.csv, metadata.jsonl) and Open Images
(CSV). The tool is recognised by the content.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, plan, write; returns the exit status."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        from dsrg.data.prepare import check_root, write_set

        check_root(options.root, tidy=not options.dry_run)
        plan = _plan(options)
        more = [] if options.dry_run else write_set(options.root, plan, link=options.link, threads=options.threads)
        notes = plan.notes + more
        for name, count in plan.counts.items():
            print(f"{name:20} {count} photographs")
        for split, ids in plan.splits.items():
            print(f"split {split:14} {len(ids)} photographs")
        for note in notes:
            print(f"note: {note}")
        if options.dry_run:
            masks = sum(item.mask is not None for item in plan.items)
            print(
                f"dry run: {options.root} would get {len(plan.items)} photographs and {masks} masks; nothing is written"
            )

    return guard(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"{__doc__} An interrupted command continues where it stopped.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="new data folder (data.root)")
    parser.add_argument(
        "--link",
        nargs="?",
        const="hard",
        choices=("hard", "symbolic"),
        help="link files instead of copying them: hard (the default; same disk), or symbolic",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be made, and write nothing")
    parser.add_argument("--threads", type=int, default=4, metavar="N", help="photographs to read at a time (default 4)")
    mine = parser.add_argument_group("own photographs")
    mine.add_argument(
        "--photos", type=Path, metavar="DIR", help="photographs, one folder per class, or a tool's unpacked export"
    )
    mine.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="their labels: a table with the columns image,labels, or what a tool exports (file or folder)",
    )
    mine.add_argument(
        "--boxes",
        type=Path,
        metavar="DIR",
        help="VOC XML or LabelMe JSON with the boxes of some of the photographs; the others have labels",
    )
    mine.add_argument("--val", type=float, metavar="SHARE", help="share set aside for measuring (default 0.1)")
    mine.add_argument(
        "--unlabelled",
        choices=("stop", "leave-out"),
        help="photographs without a label: count them and stop (the default), or go on without them",
    )
    voc = parser.add_argument_group("PASCAL VOC 2012")
    voc.add_argument("--voc", type=Path, metavar="DIR", help="VOCdevkit/VOC2012, or the folder that holds VOCdevkit")
    voc.add_argument("--sbd", type=Path, metavar="DIR", help="benchmark_RELEASE/dataset of SBD: gives train_aug")
    voc.add_argument("--download", action="store_true", help="download --voc (2 GB) and --sbd (1.4 GB) if not there")
    voc.add_argument(
        "--label-source", choices=("xml", "masks"), help="image-level labels from VOC's XML (the default) or from masks"
    )
    ilsvrc = parser.add_argument_group("ImageNet")
    ilsvrc.add_argument(
        "--imagenet", type=Path, metavar="DIR", help="holds train/<synset>/, val/, lists and boxes of ILSVRC 2012"
    )
    instances = parser.add_argument_group("COCO")
    instances.add_argument("--coco", type=Path, metavar="DIR", help="holds annotations/, train<year>/ and val<year>/")
    instances.add_argument("--year", type=int, choices=(2014, 2017), help="year of --coco")
    instances.add_argument(
        "--coco-json",
        type=Path,
        metavar="FILE",
        help="any annotations in COCO's format; their photographs are in --photos, or beside the file",
    )
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    from dsrg.data import coco, imagenet, voc_sbd
    from dsrg.data.doors import layouts, recognise

    _check_options(options)
    choice = recognise.Choice(
        0.1 if options.val is None else options.val, options.unlabelled or "stop", options.threads, options.boxes
    )
    if options.coco is not None:
        return coco.plan_coco(options.coco, options.year)
    if options.coco_json is not None:
        photos = options.photos or recognise.photos_by(options.coco_json)
        return recognise.plan_any(photos, options.coco_json, choice)
    if options.imagenet is not None:
        return imagenet.plan_imagenet(options.imagenet, threads=options.threads)
    if options.voc is None:
        return recognise.plan_any(options.photos, options.labels, choice)
    if layouts.legend_file(options.voc) and options.sbd is None:  # VOC's layout with classes of its own
        return recognise.plan_any(options.voc, None, choice)
    if options.download:
        _download(options)
    source: LabelSource = options.label_source or "xml"
    return voc_sbd.plan_voc(options.voc, options.sbd, label_source=source, threads=options.threads)


def _check_options(options: argparse.Namespace) -> None:
    """Each source has options of its own; one that would have no effect is refused.

    Raises:
        InputError: not one source, or an option of another.
    """
    if options.threads < 1:
        raise InputError(f"--threads {options.threads}: must be 1 or more.")
    allowed = {
        "--coco": {"--year"},
        "--coco-json": {"--photos", "--val", "--unlabelled"},
        "--imagenet": set(),
        "--voc": {"--sbd", "--download", "--label-source"},
        "--photos": {"--labels", "--boxes", "--val", "--unlabelled"},
    }
    flags = {flag for flags in allowed.values() for flag in flags} | allowed.keys()
    given = [flag for flag in sorted(flags) if getattr(options, flag[2:].replace("-", "_")) not in (None, False)]
    sources = [flag for flag in allowed if flag in given]
    if not sources:
        raise InputError("name what to prepare: --photos, --voc, --coco, --coco-json or --imagenet (see --help).")
    source = sources[0]
    for flag in given:
        if flag not in {source, *allowed[source]}:
            raise InputError(f"{flag}: does not go with {source}; leave one of them out (see --help).")
    if options.dry_run and options.download:
        raise InputError("--dry-run: does not go with --download, which writes; leave one of them out.")
    if source == "--coco" and options.year is None:
        raise InputError("--coco: needs --year 2014 or --year 2017.")


def _download(options: argparse.Namespace) -> None:
    """Download what is not there yet."""
    from dsrg.data import download, voc_sbd

    for directory, find, fetch in (
        (options.voc, voc_sbd.find_voc, download.download_voc),
        (options.sbd, voc_sbd.find_sbd, download.download_sbd),
    ):
        if directory is None:
            continue
        try:
            find(directory)
        except InputError:
            print(f"downloading to {directory}", flush=True)
            fetch(directory)
