"""The units that speak most for a class, and the training photographs and regions that drive each most."""

import argparse
import sys

from dsrg.cli import main
from dsrg.stages.show_units import show_units

if __name__ == "__main__":
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--class", dest="name", required=True, metavar="NAME", help="the class, such as dog")
    options.add_argument("--units", type=int, default=5, metavar="N", help="units to show (default 5)")
    options.add_argument("--images", type=int, default=6, metavar="N", help="photographs for each unit (default 6)")
    sys.exit(main(__doc__, show_units, parents=[options]))
