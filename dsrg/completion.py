"""Shell completion of commands, options, presets and configuration keys, by argcomplete (an extra).

The shell calls `dsrg` anew at each press of Tab, with _ARGCOMPLETE and the line so far in its environment. The
command's own parser is asked: it comes as far as parsing and answers there.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


def answer(commands: Callable[[], Iterable[str]]) -> NoReturn:
    """Tell the shell what fits at the cursor, and exit.

    Args:
        commands: Gives the names of the commands.
    """
    import argcomplete
    from argcomplete.lexers import split_line

    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][1:]
    if not words:  # the command itself is being typed
        parser = argparse.ArgumentParser(prog="dsrg")
        parser.add_argument("command", choices=sorted(commands()))
        parser.add_argument("--version", action="store_true")
        argcomplete.autocomplete(parser)
    if words[0] not in set(commands()):
        sys.exit(1)
    os.environ["_ARGCOMPLETE"] = "2"  # the first two words are the program's name
    argparse.ArgumentParser.parse_args = _instead  # type: ignore[method-assign,assignment]
    argparse.ArgumentParser.parse_intermixed_args = _instead  # type: ignore[method-assign,assignment]
    importlib.import_module(f"dsrg.commands.{words[0].replace('-', '_')}").main([])
    sys.exit(1)


def _instead(parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
    import argcomplete

    for action in parser._actions:
        if action.dest in ("cfg", "also"):
            action.completer = _configurations  # type: ignore[attr-defined]
        elif action.dest == "overrides":
            action.completer = _keys  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)
    sys.exit(1)


def _configurations(prefix: str, **given: Any) -> list[str]:
    from argcomplete.completers import FilesCompleter

    from dsrg import config

    return [*(name for name in config.presets() if name.startswith(prefix)), *FilesCompleter(("yaml", "yml"))(prefix)]


def _keys(prefix: str, **given: Any) -> list[str]:
    from dsrg.schema import Config, Section

    defaults = dict(Config())
    sections = {name: value for name, value in defaults.items() if isinstance(value, Section)}
    keys = [name for name in defaults if name not in sections]
    keys += [f"{name}.{key}" for name, section in sections.items() for key in type(section).model_fields]
    return [f"{key}=" for key in keys if key.startswith(prefix)]
