"""What a run was made with and on, for environment.json: versions, commit, device, command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsrg import __version__, distributed

if TYPE_CHECKING:
    import torch


def commit() -> str | None:
    """This package's commit, where it runs from its own clone; a repository around its installation says nothing."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    except OSError:  # there is no git here
        return None
    return said[1] if len(said) == 2 and Path(said[0]) == root else None


def environment(device: torch.device) -> dict[str, Any]:
    """The content of environment.json."""
    import torch

    return {
        "command": sys.argv,
        "dsrg": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
    }
