"""IoU of each class and their mean, over two folders of masks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsrg.cli import guard
from dsrg.data.classes import read_classes
from dsrg.files import disk
from dsrg.stages.predictions import compare_folders


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR", help="predicted masks, <id>.png")
    parser.add_argument("--gt", type=Path, required=True, metavar="DIR", help="true masks; may hold more ids")
    parser.add_argument("--classes", required=True, metavar="FILE", help="class list, or the preset 'voc' or 'coco'")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
    options = parser.parse_args(arguments)

    def work() -> None:
        classes = read_classes(options.classes)
        matrix = compare_folders(options.pred, options.gt, classes)
        figures = {"miou": matrix.mean_iou(), "pixel_accuracy": matrix.pixel_accuracy()}
        iou = classes.by_name(matrix.iou())
        for name, value in iou.items():
            print(f"{name:20} {'absent' if value is None else f'{value:.4f}'}")
        print(f"{'mean':20} {figures['miou']:.4f}")
        if options.json:
            disk.write_json(options.json, figures | {"iou": iou})

    return guard(work)
