"""Which objects lie where each class's map is high, with lift over chance and pictures: what a scene is told by."""

from collections.abc import Sequence

from dsrg import cli
from dsrg.commands._map_mass import OPTIONS
from dsrg.study.show_objects import show_objects


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, show_objects, arguments, *OPTIONS)
