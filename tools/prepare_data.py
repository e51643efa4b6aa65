"""Bring tagged photographs (one folder a class, or a CSV) into the layout that the stages read."""

import argparse
import sys
from pathlib import Path

from dsrg.cli import guard
from dsrg.data.prepare import read_folders, read_table, write_voc

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="photographs, or one folder a class")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="columns image,labels; else one folder a class")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="new data folder")
    parser.add_argument("--val", type=float, default=0.1, help="share set aside for measuring (default 0.1)")
    options = parser.parse_args()

    def work() -> None:
        labels = read_table(options.photos, options.labels) if options.labels else read_folders(options.photos)
        for name, count in write_voc(options.root, labels, val=options.val).items():
            print(f"{name:20} {count} photographs")

    sys.exit(guard(work))
