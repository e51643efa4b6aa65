"""Read a whole data folder and list every fault by file; the exit status is 2 if there is one."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dsrg.cli import guard


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the words of the command line (None: the process's own) and check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cfg", metavar="FILE", help="configuration, whose section data says what to read")
    source.add_argument("--root", metavar="DIR", help="data folder, instead of a configuration")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.classes=voc data.val_split=val")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found to this file too")
    parser.add_argument("--no-masks", action="store_true", help="do not read the masks")
    parser.add_argument("--no-boxes", action="store_true", help="do not read the boxes of XML annotations")
    parser.add_argument("--threads", type=int, metavar="N", default=os.cpu_count() or 4, help="files to read at a time")
    options = parser.parse_intermixed_args(arguments)
    overrides = options.overrides + ([f"data.root={options.root}"] if options.root else [])
    wrong = 0

    def work() -> None:
        from dsrg import config
        from dsrg.data.check import check_data
        from dsrg.files import disk
        from dsrg.run.folder import Run

        nonlocal wrong
        run = Run(config.load(options.cfg, overrides))
        result = check_data(
            run.folder,
            run.cfg.data.train_split,
            run.cfg.data.val_split,
            masks=not options.no_masks,
            boxes=not options.no_boxes,
            segments=run.cfg.masks.segment_dir,
            threads=options.threads,
        )
        if options.json:
            disk.write_json(options.json, result.as_json())
        for fault in result.found:
            print(f"{'warning' if fault.warning else 'fault'}: {fault.message}")
        wrong = len(result.faults)
        if wrong:
            files = len({fault.file for fault in result.faults})
            counts = Counter(fault.kind for fault in result.faults).most_common()
            kinds = ", ".join(f"{count} {kind}" for kind, count in counts)
            print(f"error: {run.folder.root}: {wrong} faults in {files} files ({kinds})", file=sys.stderr)
        else:
            print(result.table())
            print(f"\nno fault, {len(result.warnings)} warnings; {result.seconds:.1f} s")

    return guard(work) or (2 if wrong else 0)
