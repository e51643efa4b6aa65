"""dsrg doctor: one screen on what is installed, which nothing that is broken may stop."""

import importlib.metadata
from pathlib import Path

import pytest
import torch
from helpers import Tool

import dsrg
from dsrg import tables
from dsrg.commands import doctor


def test_the_screen_names_versions_engines_and_disks(tool: Tool) -> None:
    code, out, err = tool("doctor")
    assert (code, err) == (0, "")
    assert f"dsrg      {dsrg.__version__}, {Path(dsrg.__file__).parent}"[:60] in out
    words = " ".join(out.split())
    assert f"torch {torch.__version__.partition('+')[0]}" in words
    assert f"numpy {importlib.metadata.version('numpy')}" in words
    for name in tables.CRF_ENGINES:
        assert f" {name}: works on cpu" in words or f" {name}: no (" in words
    assert "exact: works on cpu" in words
    assert f"free in {Path.cwd()}" in words
    assert "fonts for Latin" in words


def test_what_is_broken_is_shown_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> str:
        if name == "scipy":
            raise importlib.metadata.PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(importlib.metadata, "version", broken)
    monkeypatch.setitem(tables.CRF_ENGINES, "mine", "no_such_package.engine")
    assert doctor.main([]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "missing: scipy (install dsrg anew)" in words
    assert "torch 9.9" in words
    assert "mine: no (No module named 'no_such_package')" in words
    assert "fonts for" in words


def test_a_line_that_fails_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> list[str]:
        raise RuntimeError("the metadata is gone\nsecond line")

    monkeypatch.setattr(importlib.metadata, "requires", fail)
    assert doctor.main([]) == 0
    out = capsys.readouterr().out
    assert "packages  broken: RuntimeError: the metadata is gone\n" in out
    assert "fonts" in out
