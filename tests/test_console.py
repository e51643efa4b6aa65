"""The command `dsrg`: what it lists, whom it calls, what it says of a name that is none."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import TOOLS, write_mask_file

from dsrg import __version__, commands
from dsrg.__main__ import commands as listed
from dsrg.__main__ import main, overview

NAMES = sorted(path.stem for path in Path(commands.__path__[0]).glob("*.py") if not path.stem.startswith("_"))


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def folders(root: Path) -> list[str]:
    """Arguments of eval-miou for two folders of one mask each."""
    write_mask_file(root / "masks/a.png", np.array([[0, 1]]))
    (root / "classes.txt").write_text("background\ncat")
    return ["--pred", str(root / "masks"), "--gt", str(root / "masks"), "--classes", str(root / "classes.txt")]


def test_every_module_is_listed_with_a_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(listed()) == [name.replace("_", "-") for name in NAMES]
    assert all(len(text) > 20 for text in listed().values())
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert main([]) == 0
    assert capsys.readouterr().out == out
    words = " ".join(out.split())
    assert all(f"{name} {text}" in words for name, text in listed().items())


@pytest.mark.parametrize("width", [20, 80, 200])
def test_the_list_keeps_to_the_terminal(width: int) -> None:
    rows = [row for row in overview(width).splitlines() if row.startswith("  ")]
    assert max(map(len, rows)) <= max(width, 60)
    assert len(rows) >= len(NAMES)


def test_every_command_is_in_one_group() -> None:
    assert sorted(name for names in commands.GROUPS.values() for name in names) == list(listed())


def test_the_tools_that_scripts_call_are_commands() -> None:
    folder = Path(commands.__path__[0])
    tools = sorted(path.stem for path in TOOLS.glob("*.py"))
    assert tools == ["eval_miou", "make_seeds", "run_pipeline", "train_dsrg"]
    for name in tools:
        assert docstring(TOOLS / f"{name}.py") == docstring(folder / f"{name}.py")
        done = subprocess.run(
            [sys.executable, TOOLS / f"{name}.py", "--help"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"usage: dsrg {name.replace('_', '-')} ")


@pytest.mark.parametrize("argument", ["--help", "--version", "make-seed"])
def test_no_torch_before_a_command_is_known(argument: str) -> None:
    program = (
        "import sys; from dsrg.__main__ import main; main(sys.argv[1:]); "
        "sys.exit(bool({'torch', 'numpy', 'yaml'} & sys.modules.keys()))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert subprocess.run([sys.executable, "-c", program, argument], capture_output=True, check=False).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dsrg {__version__}\n"


@pytest.mark.parametrize("name", ["eval-miou", "eval_miou"])
def test_a_command_gets_its_arguments(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.argv
    assert main([name, *folders(tmp_path), "--json", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["miou"] == 1
    assert capsys.readouterr().out.splitlines()[-1].split() == ["mean", "1.0000"]
    assert sys.argv is before


def test_the_exit_status_is_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = folders(tmp_path)
    (tmp_path / "classes.txt").unlink()
    assert main(["eval-miou", *words]) == 2
    assert str(tmp_path / "classes.txt") in capsys.readouterr().err


def test_as_a_module_in_a_real_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dsrg", "make-demo-data", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: dsrg make-demo-data [-h] [--root ROOT]")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("make-seed", "did you mean 'make-seeds'?"),
        ("eval_mious", "did you mean 'eval-miou'?"),
        ("__init__", "'dsrg --help' lists them."),
        ("xyzzy", "unknown command 'xyzzy'; 'dsrg --help' lists them."),
        ("../retrain.py", "unknown command '../retrain.py';"),
    ],
)
def test_an_unknown_command_is_refused(typed: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([typed]) == 2
    text = capsys.readouterr()
    assert text.out == ""
    assert text.err.startswith("error: ")
    assert hint in text.err
    assert text.err.count("\n") == 1
