"""Write the generated demo data set: photographs of made-up animals with their labels and masks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dsrg.cli import guard


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and generate; the exit status is 2 where the user must mend the input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data/demo", help="folder to write to (default: %(default)s)")
    parser.add_argument("--train", type=int, default=320, help="training images (default: %(default)s)")
    parser.add_argument("--val", type=int, default=80, help="validation images (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96, help="width and height in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the pictures (default: %(default)s)")
    options = parser.parse_args(arguments)

    def work() -> None:
        from dsrg.data import demo

        demo.generate(options.root, train=options.train, val=options.val, size=options.size, seed=options.seed)
        print(f"{options.root}: {options.train} training and {options.val} validation images")

    return guard(work)
