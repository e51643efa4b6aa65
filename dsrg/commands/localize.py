"""Box objects with a trained classifier's maps: boxes.json, pictures, and one table over methods and networks."""

import argparse
from collections.abc import Sequence

from dsrg import cli
from dsrg.study.localize import localize
from dsrg.tables import MAPS


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--methods", nargs="+", default=[], metavar="NAME", help=f"some of {', '.join(MAPS)} (default: all)"
    )
    options.add_argument("--split", metavar="NAME", help="split to box (default: data.val_split)")
    options.add_argument(
        "--pictures", type=int, default=20, metavar="N", help="draw the split's first N photographs (default 20)"
    )
    return cli.main(__doc__, localize, arguments, parents=[options], several=True)
