"""The console command: `dsrg <command> [arguments]`, or `python -m dsrg <command> [arguments]`.

Every module of `dsrg.commands` is a command, under its own name with hyphens for underscores, described by the first
paragraph of its docstring. It has `main(arguments: Sequence[str] | None = None) -> int`: the words of the command line
in (None: the process's own), the exit status out. Four of them have a file in tools/ too.
"""

from __future__ import annotations

import difflib
import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from dsrg import __version__, boundary
from dsrg.errors import InputError

INTRODUCTION = """\
usage: dsrg <command> [arguments]

From photographs with image-level labels to segmentation masks.
"""
ENDING = """
Run 'dsrg <command> --help' for the arguments of a command. A configuration (--cfg) is a YAML file of yours or the name
of a preset that comes with dsrg, such as own/mobilenet_v2.
"""


def commands() -> dict[str, str]:
    """Each command's name, as it is typed, with its description, in alphabetical order.

    The files are read and not imported, for an import of torch takes seconds.
    """
    import ast  # here and not above: until `main` runs nothing meets Ctrl-C
    from importlib import resources

    files = [file for file in resources.files("dsrg.commands").iterdir() if file.name.endswith(".py")]
    found = {}
    for file in sorted(files, key=lambda file: file.name):
        if not file.name.startswith("_"):
            docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            name = file.name.removesuffix(".py").replace("_", "-")
            found[name] = " ".join(docstring.partition("\n\n")[0].split())
    return found


def overview(width: int) -> str:
    """What `dsrg --help` prints, for a terminal of `width` columns: the commands in their groups."""
    from dsrg.commands import GROUPS

    found = commands()
    margin = max(map(len, found)) + 4

    def line(name: str) -> str:
        first, more = f"  {name}".ljust(margin), " " * margin
        return textwrap.fill(
            found[name],
            max(width, margin + 36),
            initial_indent=first,
            subsequent_indent=more,
            break_on_hyphens=False,  # names of classes and settings stay whole
        )

    groups = [f"\n{title}:\n" + "\n".join(map(line, names)) + "\n" for title, names in GROUPS.items()]
    return INTRODUCTION + "".join(groups) + ENDING


def main(arguments: Sequence[str] | None = None) -> int:
    """Call a command with its arguments, or list the commands.

    Args:
        arguments: The words of the command line; None for the process's own.

    Returns:
        The exit status, which is the command's: 0, 2 after one sentence on stderr on what the user can mend, 130 after
        Ctrl-C, 1 for a fault of the program's own.
    """
    return boundary.run(lambda: _call(arguments))


def _call(arguments: Sequence[str] | None) -> int:
    if "_ARGCOMPLETE" in os.environ:
        from dsrg import completion

        completion.answer(commands)
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(overview(shutil.get_terminal_size().columns), end="")
        return 0
    if name == "--version":
        print(f"dsrg {__version__}")
        return 0
    known = list(commands())
    typed = name.replace("_", "-")
    if typed not in known:
        near = difflib.get_close_matches(typed, known, 1, 0.5)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"unknown command '{name}'; {hint}'dsrg --help' lists them.")
    module = importlib.import_module(f"dsrg.commands.{typed.replace('-', '_')}")
    before = sys.argv
    sys.argv = [f"dsrg {typed}", *rest]  # argparse's usage has the first word, environment.json all of them
    try:
        return int(module.main(rest))
    finally:
        sys.argv = before


if __name__ == "__main__":
    sys.exit(main())
