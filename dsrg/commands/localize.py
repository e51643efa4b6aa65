"""Box objects with a trained classifier's maps: boxes.json, pictures, and one table over methods and networks."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.study.localize import localize
from dsrg.tables import MAPS


def main(arguments: Sequence[str] | None = None) -> int:
    options = (
        cli.option(
            "--methods", nargs="+", default=[], metavar="NAME", help=f"some of {', '.join(MAPS)} (default: all)"
        ),
        cli.option("--split", metavar="NAME", help="split to box (default: data.val_split)"),
        cli.option(
            "--pictures", type=int, default=20, metavar="N", help="draw the split's first N photographs (default 20)"
        ),
    )
    return cli.main(__doc__, localize, arguments, *options, several=True)
