"""Weakly supervised semantic segmentation: from image-level labels to masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dsrg.predict.segmenter import Segmenter

__version__ = "0.1.0"


def load(
    path: str | Path, device: str = "auto", *, network: str | None = None, engine: str | None = "torch"
) -> Segmenter:
    """A trained network, ready to segment photographs: of a run, an export, or the Hub ('hf:owner/name'); see
    `dsrg.predict.loading.load` and `dsrg.predict.segmenter.Segmenter`."""
    from dsrg.predict import loading  # not above: `import dsrg` alone need not load PyTorch

    return loading.load(path, device, network=network, engine=engine)
