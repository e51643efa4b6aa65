"""The options of the commands that say what a classifier's maps lie on."""

from pathlib import Path

from dsrg import cli
from dsrg.tables import HIGH_REGION, MAPS

OPTIONS = (
    cli.option("--masks", type=Path, metavar="DIR", help="masks of objects, <id>.png (default: the data set's)"),
    cli.option("--labels", metavar="FILE", help="class list of --masks, or the preset 'voc' or 'coco'"),
    cli.option("--method", choices=list(MAPS), help="maps (default: cam, or acol where classifier.head is acol)"),
    cli.option("--split", metavar="NAME", help="split to look at (default: data.val_split)"),
    cli.option(
        "--threshold",
        type=float,
        default=HIGH_REGION,
        metavar="X",
        help=f"a map's high region is above this share of its maximum (default {HIGH_REGION})",
    ),
)
"""Keyword arguments of `dsrg.study.mass.MapMass`."""
