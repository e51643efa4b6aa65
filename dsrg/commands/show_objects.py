"""Which objects lie where each class's map is high, with lift over chance and pictures: what gives a class away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsrg import cli
from dsrg.commands._map_mass import OPTIONS

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.main(__doc__, call, arguments, *OPTIONS)


def call(run: Run, **options: Any) -> None:
    from dsrg.study.show_objects import show_objects

    show_objects(run, **options)
