"""What the documentation's pages take from the sources when the site is built, so that nobody types it by hand.

MkDocs calls the functions named on_*. They fill the markers `<!-- settings -->`, `<!-- presets -->`,
`<!-- commands -->` and `<!-- api NAME … -->`, add the pages whose text lies outside of docs/, and lead links that are
right in the repository to the pages of the site.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import inspect
import io
import os
import posixpath
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from unittest import mock

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo

from dsrg import __main__ as console
from dsrg.config import presets
from dsrg.schema import Config, OneOf, Section

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"data/README.md": "data.md", "CONTRIBUTING.md": "contributing.md"}
"""Files outside of docs/ that are pages of the site."""
STANDS_FOR = {"README.md": "index.md", "dsrg/schema": "configuration.md"}
"""Files outside of docs/ that a page of the site stands in for."""
TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
WIDTH = 100
"""Columns of the commands' help and of signatures."""
_LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
_MARKER = re.compile(r"<!-- (settings|presets|commands|api)((?: [\w.]+)*) -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose text is not in docs/."""
    for path, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill the markers and mend the links of a page."""
    makers = {"settings": settings, "presets": preset_texts, "commands": command_help}
    filled = _MARKER.sub(lambda found: api(found[2].split()) if found[1] == "api" else makers[found[1]](), markdown)
    origin = {page: path for path, page in ELSEWHERE.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda found: found[1] + site_link(found[2], origin) + found[3], filled)


def site_link(target: str, origin: str) -> str:
    """The site's page for a link of the file `origin` (relative to the repository) to another file.

    A link that leads to no page of the site is returned as it is, and MkDocs complains.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    preset = path.removeprefix("configs/").removesuffix(".yaml")
    if preset in presets():
        return f"presets.md#{preset.replace('/', '')}"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return {**ELSEWHERE, **STANDS_FOR}.get(path, target)


def preset_texts() -> str:
    """Every shipped configuration, as it is."""
    files = {name: path.read_text(encoding="utf-8").strip() for name, path in presets().items()}
    return "\n\n".join(f"## {name}\n\n```yaml\n{text}\n```" for name, text in files.items())


def settings() -> str:
    """A table for each section of the configuration: key, type, default, meaning."""
    fields = Config.model_fields
    sections = {name: field.annotation for name, field in fields.items() if isinstance(field.default, Section)}
    parts = ["## The run", _table({name: field for name, field in fields.items() if name not in sections})]
    for name, section in sections.items():
        assert isinstance(section, type) and issubclass(section, Section)
        given = {f"{name}.{key}": field for key, field in section.model_fields.items()}
        parts += [f"## {name}", _prose(inspect.getdoc(section) or ""), _table(given)]
    return "\n\n".join(parts)


def _table(fields: Mapping[str, FieldInfo]) -> str:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in fields.items():
        assert field.description, f"{key}: has no docstring"
        cells = [
            f"`{key}`{{ #{key} }}",
            kind(field.annotation, field.metadata),
            f"`{_as_yaml(field.default)}`",
            _prose(field.description),
        ]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _as_yaml(value: Any) -> str:
    """A default as one would write it in a configuration."""
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return text.replace("'", '"')


def _prose(text: str) -> str:
    """A docstring as Markdown on one line: <id> is no tag, and only `code` is markup."""
    parts = " ".join(text.split()).split("`")
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"([*_\[\]])", r"\\\1", html.escape(parts[number], quote=False))
    return "`".join(parts)


def kind(annotation: Any, limits: Sequence[Any] = ()) -> str:
    """A field's type in words, with its limits."""
    names = [name for limit in limits if isinstance(limit, OneOf) for name in limit.names]
    if names:
        return ", ".join(f"`{name}`" for name in names)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        found = [limit for item in inner[1:] for limit in getattr(item, "metadata", [item])]
        return kind(inner[0], [*limits, *found])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        names = ["`null`" if option is type(None) else kind(option, limits) for option in inner]
        return " or ".join(names)
    if origin is tuple:
        several = kind(inner[0]).replace("number", "numbers", 1)
        return f"list of {several}" if inner[-1] is Ellipsis else f"{len(inner)} {several}"
    return " ".join([TYPES[annotation], *_limits(limits)])


def _limits(limits: Sequence[Any]) -> Iterator[str]:
    """Bounds of a number: '≥ 0', '≤ 1'. Those of a million and more say nothing: they are there against slips."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = [(name, value) for limit in limits for name, value in vars_of(limit) if name in signs]
    bounds = [f"{signs[name]} {value:,}" for name, value in found if not (name == "le" and value >= 1e6)]
    if bounds:
        yield ", ".join(bounds)


def vars_of(limit: Any) -> list[tuple[str, Any]]:
    """The names and values of an annotation such as Gt(gt=0)."""
    return [(name, getattr(limit, name)) for name in getattr(limit, "__slots__", ()) or vars(limit)]


def command_help() -> str:
    """What each command's --help prints."""
    parts = []
    for name, description in console.commands().items():
        text = io.StringIO()
        columns = mock.patch.dict(os.environ, COLUMNS=str(WIDTH))
        with columns, contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            console.main([name, "--help"])
        parts += [f"## {name}", _prose(description), f"```text\n{text.getvalue().strip()}\n```"]
    return "\n\n".join(parts)


def api(names: Sequence[str]) -> str:
    """Signature and docstring of each function, method or class, named in full."""
    parts = []
    for name in names:
        found = _find(name)
        signature = inspect.signature(found)
        made = "" if inspect.isclass(found) else f" -> {signature.return_annotation}"
        arguments = list(_arguments(signature))
        code = f"{name}({', '.join(arguments)}){made}"
        if len(code) > WIDTH:
            code = "\n    ".join([f"{name}(", *(f"{argument}," for argument in arguments)]) + f"\n){made}"
        parts += [f"### {found.__qualname__}", f"```python\n{code}\n```", f"```text\n{inspect.getdoc(found)}\n```"]
    return "\n\n".join(parts)


def _arguments(signature: inspect.Signature) -> Iterator[str]:
    """The parameters as they stand in the source, `self` left out."""
    stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    last = None
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and last not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            yield "*"
        last = parameter.kind
        if parameter.name != "self":
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
            yield f"{stars.get(parameter.kind, '')}{parameter.name}: {parameter.annotation}{default}"


def _find(name: str) -> Any:
    """The object of that full name.

    Raises:
        AttributeError: there is none.
    """
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found: Any = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:]:
                found = getattr(found, part)
            return found
    raise AttributeError(f"there is no {name}")
