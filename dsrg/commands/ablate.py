"""Train every variant of the ablation from the same seeds, with several random seeds; writes a table and a chart."""

import argparse
from collections.abc import Sequence

from dsrg.cli import CFG_HELP, OVERRIDES_HELP, guard
from dsrg.errors import InputError
from dsrg.tables import ABLATION


def whole(word: str) -> int:
    """A random seed; raises InputError where `word` is none."""
    if not word.isdecimal():
        raise InputError(f"--seeds {word}: a random seed is a whole number, such as 0.")
    return int(word)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cfg", required=True, metavar="FILE", help=CFG_HELP)
    parser.add_argument(
        "--seeds", nargs="+", default=["0", "1", "2"], metavar="N", help="random seeds of the table (default 0 1 2)"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=f"train only these rows: {', '.join(ABLATION)}"
    )
    parser.add_argument(
        "--splits", nargs="+", default=[], metavar="NAME", help="splits to measure on (default: data.val_split)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES_HELP)
    options = parser.parse_args(arguments)

    def work() -> None:
        from dsrg import config
        from dsrg.run.folder import Run
        from dsrg.study.ablate import Ablation

        # argparse gives the overrides that follow one of these options to it.
        words = [*options.overrides, *options.seeds, *options.only, *options.splits]
        run = Run(config.load(options.cfg, [word for word in words if "=" in word]))
        seeds = [whole(word) for word in options.seeds if "=" not in word]
        only, splits = ([word for word in given if "=" not in word] for given in (options.only, options.splits))
        ablation = Ablation(run, seeds, only, splits)
        run.start()
        ablation.run()

    return guard(work)
