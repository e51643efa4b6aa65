"""Pick the training photographs whose correction should help most; pack them and their masks for LabelMe or CVAT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsrg import cli, distributed
from dsrg.tables import PACKS

if TYPE_CHECKING:
    from dsrg.run.folder import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, rank and pack; returns the exit status."""
    return cli.main(
        f"{__doc__} No true mask is looked at. Correct the masks there, take them back with dsrg import-masks, and "
        "learn from them with dsrg retrain --again corrections.masks=SegmentationClass.",
        _pick,
        arguments,
        cli.option("--count", type=int, default=20, metavar="N", help="photographs to pick (default 20)"),
        cli.option("--out", type=Path, required=True, metavar="DIR", help="folder for pick.csv, photographs and masks"),
        cli.option(
            "--format",
            dest="kind",
            choices=tuple(PACKS),
            default="labelme",
            help=f"{'; '.join(f'{name}: {line.what}' for name, line in PACKS.items())} (default labelme)",
        ),
    )


def _pick(run: Run, count: int, out: Path, kind: str) -> None:
    from dsrg.study.pick import rank_photos
    from dsrg.study.pick_pack import check_out, pack

    if not distributed.is_main():
        return
    check_out(out)
    chosen = rank_photos(run, count)
    pack(run, chosen, out, kind)
    for place, one in enumerate(chosen, 1):
        print(f"{place:3}. {one.photo.path.name}: {one.why}")
    print(f"{out}: {len(chosen)} photographs with their masks")
