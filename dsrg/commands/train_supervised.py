"""Train the same network on ground-truth masks, for comparison."""

from collections.abc import Sequence

from dsrg import cli


def main(arguments: Sequence[str] | None = None) -> int:
    return cli.stages(__doc__, arguments, "supervised", "supervised predictions")
