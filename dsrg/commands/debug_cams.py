"""What the maps of right, missed and false tags lie on, own object, another or background: context bias as a table."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.commands._map_mass import OPTIONS
from dsrg.study.debug_cams import debug_cams


def main(arguments: Sequence[str] | None = None) -> int:
    count = cli.option("--count", type=int, default=12, metavar="N", help="wrong tags to draw (default 12)")
    return cli.main(__doc__, debug_cams, arguments, *OPTIONS, count)
