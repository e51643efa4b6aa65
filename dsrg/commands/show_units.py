"""The units that speak most for a class, and the training photographs and regions that drive each most."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.study.show_units import show_units


def main(arguments: Sequence[str] | None = None) -> int:
    options = (
        cli.option("--class", dest="name", required=True, metavar="NAME", help="the class, such as dog"),
        cli.option("--units", type=int, default=5, metavar="N", help="units to show (default 5)"),
        cli.option("--images", type=int, default=6, metavar="N", help="photographs for each unit (default 6)"),
    )
    return cli.main(__doc__, show_units, arguments, *options)
