"""Fixtures that all tests share."""

import runpy
import sys
from pathlib import Path

import pytest
from helpers import TOOLS, Result, Tool


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of photographs, weights and oracles; tests that need it skip in a user's clone."""
    folder = (Path(__file__).parents[1] / "../shared").resolve()
    if not folder.is_dir():
        pytest.skip("needs ../shared, which only developers have")
    return folder


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run a tool in this process: its name and arguments in; exit status, stdout and stderr out."""

    def run(name: str, *arguments: object) -> Result:
        path = str(TOOLS / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(path, run_name="__main__")
        text = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, text.out, text.err

    return run
