"""Photographs with their likeliest labels and a heat map of each: where did the classifier look?"""

import argparse
from collections.abc import Sequence

from dsrg import cli
from dsrg.study.show_cams import show_cams
from dsrg.tables import MAPS


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--method", choices=list(MAPS), help="maps (default: cam, or acol where classifier.head is acol)"
    )
    options.add_argument("--count", type=int, default=12, metavar="N", help="photographs to show (default 12)")
    options.add_argument("--wrong", action="store_true", help="only those whose likeliest class is wrong, surest first")
    options.add_argument("files", nargs="*", metavar="FILE", help="photographs (default: of the validation split)")
    return cli.main(__doc__, show_cams, arguments, parents=[options])
