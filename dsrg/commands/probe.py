"""Train linear SVMs on a network's pooled features for any labels; measures them, and boxes where they look."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsrg.cli import guard
from dsrg.tables import PROBED


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cfg", required=True, metavar="FILE", help="configuration that names the network")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="PATH",
        help="table with the columns image,labels, where a row without a label is a negative; or one folder per label",
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs of the table (default: beside it)")
    parser.add_argument("--negatives", type=Path, metavar="DIR", help="further photographs with none of the labels")
    parser.add_argument(
        "--mine",
        type=int,
        metavar="N",
        help="hard-negative mining: start with N negatives of each label, and add up to N in each round",
    )
    parser.add_argument(
        "--annotations", type=Path, metavar="DIR", help="VOC's XML of the photographs, to measure the boxes on"
    )
    parser.add_argument(
        "--weights",
        choices=PROBED,
        default=argparse.SUPPRESS,
        help="features of model.weights, or of the run's classifier",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: <run_dir>/probe/<name of the labels>")
    parser.add_argument("--held-out", type=float, default=argparse.SUPPRESS, metavar="X", help="share to measure on")
    parser.add_argument("--c", type=float, metavar="C", help="C of the SVMs (default: by cross-validation)")
    parser.add_argument(
        "--crops", action=argparse.BooleanOptionalAction, default=True, help="second round on crops by CAM"
    )
    parser.add_argument(
        "--count", type=int, default=argparse.SUPPRESS, metavar="N", help="photographs to draw heat maps of"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as classifier.size=225")
    options = vars(parser.parse_intermixed_args(arguments))
    cfg, overrides = options.pop("cfg"), options.pop("overrides")

    def work() -> None:
        from dsrg import config
        from dsrg.study.probe import Probe, run_probe

        run_probe(config.load(cfg, overrides), Probe(**options))

    return guard(work)
