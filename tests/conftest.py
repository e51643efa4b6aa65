"""Fixtures that all tests share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import Result, Tool
from hypothesis import settings
from playwright.sync_api import Page, sync_playwright

from dsrg.__main__ import main

settings.register_profile("dsrg", deadline=None)  # a busy machine makes no test wrong
settings.load_profile("dsrg")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' folder of photographs, weights and oracles; tests that need it skip in a user's clone."""
    folder = (Path(__file__).parents[1] / "../shared").resolve()
    if not folder.is_dir():
        pytest.skip("needs ../shared, which only developers have")
    return folder


@pytest.fixture(scope="module")  # before the modules' own fixtures, which train
def one_thread() -> Iterator[None]:
    """One thread for torch: the number changes the last bits of a sum, and on tiny pictures more cost more than they
    save."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run a command in this process: its name and arguments in; exit status, stdout and stderr out."""

    def run(name: str, *arguments: object) -> Result:
        capsys.readouterr()
        try:
            code = main([name, *map(str, arguments)])
        except SystemExit as left:  # argparse's own, after --help or its usage
            assert isinstance(left.code, int)
            code = left.code
        text = capsys.readouterr()
        return code, text.out, text.err

    return run


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of the system's Chromium, without a window; an error in the page's own scripts fails the test.

    Playwright's own download of a browser is not needed: `apt-get install chromium`.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # Without these a browser in a closed network waits for the connections that it makes for itself.
        quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        shown = browser.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        shown.on("pageerror", lambda error: errors.append(str(error)))
        yield shown
        browser.close()
    assert not errors
