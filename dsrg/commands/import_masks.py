"""Take masks that were corrected in another tool back into a data set, as true masks of its photographs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsrg.cli import guard

if TYPE_CHECKING:
    from dsrg.data.true_masks import Staged

EXAMPLES = """
examples:
  LabelMe's JSON files:   dsrg import-masks --root data/mine --masks corrected/labelme
  CVAT, Label Studio:     dsrg import-masks --root data/mine --masks export/annotations/instances_default.json
  CVAT's masks:           dsrg import-masks --root data/mine --masks export --dry-run
  masks in VOC's colours: dsrg import-masks --root data/mine --masks corrected --palette voc --replace
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the words of the command line (None: the process's own) and import; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} All masks are taken, or none; existing true masks are kept unless --replace is given.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cfg", metavar="FILE", help="configuration, whose section data says where the masks go")
    source.add_argument("--root", metavar="DIR", help="data folder, instead of a configuration")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as data.masks=TrueMasks")
    parser.add_argument(
        "--masks",
        type=Path,
        required=True,
        metavar="PATH",
        help="LabelMe's JSON files, JSON of COCO or Label Studio, CVAT's annotations.xml or SegmentationClass/ with "
        "labelmap.txt, or PNG masks: the file or the folder",
    )
    parser.add_argument(
        "--palette",
        metavar="FILE",
        help="classes of PNG masks in colour: 'voc', or a file of lines 'cat:128,0,0' (CVAT's labelmap.txt)",
    )
    parser.add_argument("--replace", action="store_true", help="replace true masks that are there")
    parser.add_argument("--dry-run", action="store_true", help="read and check everything, and write nothing")
    parser.add_argument("--threads", type=int, default=4, metavar="N", help="masks to read at a time (default 4)")
    options = parser.parse_intermixed_args(arguments)
    overrides = options.overrides + ([f"data.root={options.root}"] if options.root else [])

    def work() -> None:
        from dsrg import config
        from dsrg.data.corrections import read_corrections
        from dsrg.data.mask_folders import read_colours
        from dsrg.data.true_masks import put_masks
        from dsrg.run.folder import Run

        run = Run(config.load(options.cfg, overrides))
        folder = run.folder
        labels = {photo.id: {*photo.own.tolist()} for photo in (*run.train, *run.val)}
        colours = None if options.palette is None else read_colours(options.palette, folder.classes)
        found = read_corrections(options.masks, folder, colours)
        staged = put_masks(
            folder, found.masks, replace=options.replace, dry=options.dry_run, threads=max(1, options.threads)
        )
        shown = Counter(index for one in staged for index in one.classes)
        for index, count in sorted(shown.items()):
            print(f"{folder.classes.names[index]:20} {count} masks")
        states = Counter(one.state for one in staged)
        verb = "would be" if options.dry_run else "are"
        print(
            f"{folder.mask_dir}: {states['new']} masks {verb} new, {states['other']} {verb} replaced, {states['same']} "
            "were the same"
        )
        for note in [f"{options.masks}: read as {found.title}.", *found.notes, *_differences(labels, staged)]:
            print(f"note: {note}")

    return guard(work)


def _differences(labels: Mapping[str, set[int]], staged: Sequence[Staged]) -> list[str]:
    """Sentences on masks that do not show what the labels of their photographs name, and on those of no split."""
    known = [one for one in staged if one.photo.stem in labels]
    more = [one for one in known if {*one.classes} - labels[one.photo.stem]]
    fewer = [one for one in known if labels[one.photo.stem] - {*one.classes}]
    lost = [one for one in staged if one.photo.stem not in labels]
    bare = [one for one in staged if one.void and not one.classes]
    return [
        f"{len(found)} masks, such as {found[0].target.name}, {sentence}."
        for found, sentence in (
            (more, "show a class that the photograph's labels do not name; add the label"),
            (fewer, "do not show all classes that the photograph's labels name; take the label off, or mend the mask"),
            (
                bare,
                "show no object and are partly void, so only background is learnt from them; draw outlines",
            ),
            (lost, "are of photographs in neither split, which nothing is learnt from or measured on"),
        )
        if found
    ]
