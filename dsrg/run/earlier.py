"""Retrainings that were kept when another took their place: earlier/<n>/ holds one, with its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsrg import distributed
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.run.folder import Run
from dsrg.run.records import RECORD

FOLDER, NETWORK = "earlier", "retrain"
PREDICTIONS = "predictions"
"""The folder of all splits' predictions."""


def keep_retraining(run: Run) -> Path | None:
    """Move the retrained network and its predictions to earlier/<n>/ where other settings or data made them.

    Returns:
        The folder; None where there is nothing to keep: no retraining, or one that the present settings and data made.

    Raises:
        InputError: the network is the user's own; the masks that another would learn from are not there; or the folder
            cannot be written to.
    """
    stage = run.stage(NETWORK)
    if stage.foreign:
        raise InputError(f"{stage.directory}: was put there by you (it has no {RECORD}); move it away yourself.")
    found = None
    if distributed.is_main() and stage.recorded and stage.differs:
        run.require("masks")
        run.lock()
        found = _place(run.directory / FOLDER)
        with disk.told_of(found):
            found.mkdir(parents=True, exist_ok=True)
            # The network last: should a kill come between the two, the same command finds it and goes on.
            for name in (PREDICTIONS, NETWORK):
                if (run.directory / name).exists():
                    (run.directory / name).rename(found / name)
        print(f"kept: {found}", flush=True)
    distributed.barrier()
    return found


def earlier(run: Run) -> Sequence[Path]:
    """The folders of the retrainings that were kept, the oldest first."""
    numbered = [path for path in (run.directory / FOLDER).glob("*") if path.name.isdecimal()]
    return sorted((path for path in numbered if (path / NETWORK / RECORD).is_file()), key=lambda path: int(path.name))


def _place(folder: Path) -> Path:
    """The next folder: the last one where a kill has left it without its network."""
    last = max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)
    if last and not (folder / str(last) / NETWORK).exists():
        return folder / str(last)
    return folder / str(last + 1)
