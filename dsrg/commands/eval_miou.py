"""Print the IoU of each class and their mean, over two folders of masks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsrg.cli import guard


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR", help="predicted masks, <id>.png")
    parser.add_argument(
        "--gt", type=Path, required=True, metavar="DIR", help="true masks of the same paths or names; may hold more"
    )
    parser.add_argument("--classes", required=True, metavar="FILE", help="class list, or the preset 'voc' or 'coco'")
    parser.add_argument(
        "--palette",
        nargs="?",
        const="voc",
        metavar="FILE",
        help="read masks in colour: VOC's colours, or a file of lines 'cat:128,0,0' (CVAT's labelmap.txt)",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures to this file")
    options = parser.parse_args(arguments)

    def work() -> None:
        from dsrg.data.classes import read_classes
        from dsrg.data.mask_folders import compare_masks, pair_masks, read_colours, require_objects
        from dsrg.files import disk

        classes = read_classes(options.classes)
        classes.check_masks()
        colours = None if options.palette is None else read_colours(options.palette, classes)
        pairs, notes = pair_masks(options.pred, options.gt)
        matrix = compare_masks(pairs, classes, colours)
        require_objects(matrix, options.gt)
        counted = {"pairs": len(pairs), "pixels": int(matrix.counts.sum())}
        figures = {"miou": matrix.mean_iou(), "pixel_accuracy": matrix.pixel_accuracy()} | counted
        print(f"{counted['pairs']:,} pairs of masks, {counted['pixels']:,} pixels counted")
        for note in notes:
            print(f"note: {note}")
        iou = classes.by_name(matrix.iou())
        for name, value in iou.items():
            print(f"{name:20} {'absent' if value is None else f'{value:.4f}'}")
        print(f"{'mean':20} {figures['miou']:.4f}")
        if options.json:
            disk.write_json(options.json, figures | {"iou": iou})

    return guard(work)
