"""What a setting may name: one table for each kind of part, one line for each part.

A part is a module, or something in one, that is imported when it is chosen and not before. So the settings and the
command line know all names without loading PyTorch, and an addition is one file and one line here. Other programs add
lines at run time, before they read a configuration:

    tables.CRF_ENGINES["mine"] = "my_package.my_engine"
"""

from __future__ import annotations

import importlib
from typing import Any

CRF_ENGINES = {
    "exact": "dsrg.mean_field.exact",
    "pydensecrf": "dsrg.mean_field.pydensecrf",
    "tiled": "dsrg.mean_field.tiled",
}
"""Engines of the dense CRF. Each module has `mean_field`, `rank` and `refuse`, as `dsrg.mean_field.exact` has them."""


def part(place: str) -> Any:
    """The module 'package.module', or what 'package.module:name' names in it."""
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found
