"""The dense CRF's engines, one file each, with a line each in `dsrg.tables.CRF_ENGINES`.

An engine is a module with `mean_field(unary, images, kernels)`, and with `rank` and `refuse`, by which `dsrg.crf`
chooses one: `exact` has them with their arguments explained. `lattice` is what `pydensecrf` runs in other processes.
"""

from __future__ import annotations

from typing import NamedTuple


class Kernels(NamedTuple):
    """What a mean field is made with. Positions are in pixels of the grid, colours in steps of 0..255."""

    iterations: int
    bilateral: tuple[float, float, float]
    """Standard deviation over position and over colour, and weight."""
    gaussian: tuple[float, float]
    """Standard deviation over position, and weight."""
