"""What the tests of `dsrg import-masks` share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from correction_files import make_root
from helpers import Tool


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


@pytest.fixture
def command(root: Path, tool: Tool) -> Callable[..., Any]:
    return lambda source, *words: tool("import_masks", "--root", root, "--masks", source, *words)
