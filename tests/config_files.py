"""Configuration files, and the sentence that refuses one, for the tests of the configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dsrg import config
from dsrg.errors import InputError

Write = Callable[..., Path]
"""Writes a text to a file, run.yaml where no name is given."""


def writer(folder: Path) -> Write:
    """What writes configuration files into a folder."""

    def write_file(text: str, name: str = "run.yaml") -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        config.load(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message
