"""Train the final network on the pseudo-labels, and on the true masks of corrections.masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsrg import cli

if TYPE_CHECKING:
    from dsrg.run.folder import Run

AGAIN = "move the present network and its predictions to earlier/, and train another on what has changed"


def main(arguments: Sequence[str] | None = None) -> int:
    options = [cli.option("--again", action="store_true", help=AGAIN)]
    return cli.stages(str(__doc__), arguments, "retrain", "predictions", options=options, before=_keep)


def _keep(run: Run, again: bool) -> None:
    from dsrg.run.earlier import keep_retraining

    if again:
        keep_retraining(run)
