"""Photographs with their likeliest labels and a heat map of each: where did the classifier look?"""

import argparse
import sys

from dsrg.cli import main
from dsrg.explain import METHODS
from dsrg.stages.show_cams import show_cams

if __name__ == "__main__":
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--method", choices=list(METHODS), help="maps (default: cam, or acol where classifier.head is acol)"
    )
    options.add_argument("--count", type=int, default=12, metavar="N", help="photographs to show (default 12)")
    options.add_argument("--wrong", action="store_true", help="only those whose likeliest class is wrong, surest first")
    options.add_argument("files", nargs="*", metavar="FILE", help="photographs (default: of the validation split)")
    sys.exit(main(__doc__, show_cams, parents=[options]))
