"""A configuration file and overrides to the settings of `dsrg.schema`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dsrg import typed_yaml
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.schema import Config, Section

LARGEST = disk.MIB // 4
"""Bytes that a configuration file may have."""
LONGEST_CHAIN = 10
"""Files that may extend each other."""


def load(path: str | Path | None, overrides: Sequence[str] = (), *, trained: bool = False) -> Config:
    """Read a configuration file and apply `key=value` overrides.

    Args:
        path: YAML file, or else the name of a shipped preset, such as own/mobilenet_v2 (with or without .yaml). Its
            key `extends` may name another file, relative to it, or a preset, whose values it overlays. None for the
            defaults.
        overrides: Each 'section.key=value'. Where the key holds a text or a path the value is taken as it stands,
            elsewhere it is YAML.
        trained: The networks are trained already: what concerns their training alone is not checked.

    Raises:
        InputError: the file is missing or not YAML, or a key is unknown, or a value does not fit.
    """
    values = {} if path is None else _read(_find(Path(path), str(path)), seen=())
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise InputError(f"'{_short(override)}': an override is written key=value, such as dsrg.lr=1e-3.")
        if not text:
            raise InputError(f"'{_short(override)}': has no value; add one after the '='.")
        try:
            value = typed_yaml.parse_word(text, _kind(key))
        except typed_yaml.NotYamlError as error:
            raise InputError(f"'{_short(override)}': the value is not valid YAML ({error}).") from None
        _assign(values, key, value, _short(override))
    try:
        return Config.model_validate(values, context={"trained": trained})
    except ValidationError as error:
        raise InputError(f"{path or 'key=value'}: {_explain(error.errors()[0])}") from None


def presets() -> dict[str, Path]:
    """The shipped configurations by name, such as own/mobilenet_v2."""
    package = Path(__file__).parent
    # A wheel holds the folder configs/ in the package, a checkout beside it.
    files = sorted((package / "configs").glob("*/*.yaml")) or sorted((package.parent / "configs").glob("*/*.yaml"))
    return {"/".join(file.with_suffix("").parts[-2:]): file for file in files}


def with_lengths(config: Config, count: Callable[[], int]) -> Config:
    """A copy with the iterations that the epochs come to.

    Args:
        config: The configuration; it stays as it is.
        count: Gives the number of training photographs; asked only where a length is in epochs.
    """
    sections = {name: getattr(config, name) for name in ("classifier", "dsrg", "retrain")}
    lengths = {
        f"{name}.iterations": max(1, round(section.epochs * count() / section.batch))
        for name, section in sections.items()
        if section.epochs is not None
    }
    return change(config, lengths, trained=True) if lengths else config


def change(config: Config, values: Mapping[str, Any], *, trained: bool = False) -> Config:
    """A copy with other values of some keys.

    Args:
        config: The configuration; it stays as it is.
        values: Dotted keys and their new values.
        trained: As in `load`.

    Raises:
        InputError: a value does not fit.
    """
    changed = config.model_dump()
    for key, value in values.items():
        _assign(changed, key, value, f"{key}={value}")
    try:
        return Config.model_validate(changed, context={"trained": trained})
    except ValidationError as error:
        raise InputError(_explain(error.errors()[0])) from None


def dump(config: Section) -> str:
    """The resolved configuration as YAML that `load` reads back."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Escapes what a text cannot show: PyYAML writes some line ends of Unicode plainly, and does not read them back."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
    ),
)


def known_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Every key in dotted form, sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


class _File(Config):
    """What a configuration file may hold."""

    extends: Path | None = None
    """File or preset that this one overlays."""


_SECTIONS = [name for name, field in Config.model_fields.items() if isinstance(field.default, Section)]


def _kind(key: str) -> Any:
    """The type of the value of a dotted key; None for one that is unknown, whose value is then of no interest."""
    kind: Any = Config
    for name in key.split("."):
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, Section) else {}
        kind = fields[name].annotation if name in fields else None
    return kind


def _find(path: Path, name: str) -> Path:
    """The file itself where there is one, or the preset `name`."""
    if os.path.lexists(path):  # a link that leads nowhere is named when it is read
        return path
    known = presets()
    name = Path(name).as_posix().removesuffix(".yaml")
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean the preset {near[0]}?" if near else f"the presets are {', '.join(known)}."
    raise InputError(f"{path}: the configuration cannot be read (No such file or directory); check --cfg: {hint}")


def _read(path: Path, seen: tuple[str, ...]) -> dict[str, Any]:
    own = os.path.realpath(path)
    if own in seen:
        raise InputError(f"{path}: 'extends' leads back to the file itself; remove the circle.")
    if len(seen) == LONGEST_CHAIN:
        raise InputError(f"{path}: more than {LONGEST_CHAIN} files extend each other; write them together.")
    text = disk.read_text(path, "configuration", limit=LARGEST)
    try:
        values = typed_yaml.parse(text, _File)
    except typed_yaml.NotYamlError as error:
        raise InputError(f"{path}: not valid YAML ({error}).") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise InputError(f"{path}: a configuration is a list of 'key: value' lines.")
    base = values.pop("extends", None)
    if base is not None and not isinstance(base, str):
        raise InputError(f"{path}: extends = {_short(repr(base))} does not fit: name one file, relative to this one.")
    # A section whose keys are all commented out keeps the defaults.
    values = {key: value for key, value in values.items() if value is not None or key not in _SECTIONS}
    return values if base is None else _overlay(_read(_find(path.parent / base, base), (*seen, own)), values)


def _overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if both else value
    return merged


def _assign(values: dict[str, Any], key: str, value: Any, override: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section, {})
        if not isinstance(inner, dict):
            raise InputError(f"'{override}': '{section}' is a value, not a section; write {section}=value.")
        # A copy, for YAML's anchors make one mapping of several sections, and only this one is meant.
        copied = dict(inner)
        values[section] = copied
        values = copied
    values[last] = value


def _explain(error: ErrorDetails) -> str:
    """One sentence for the first thing that pydantic found wrong."""
    # Positions inside a tuple come as numbers, the classes of a section as nothing: only names make up a key.
    key = ".".join(str(part) for part in error["loc"] if isinstance(part, str))
    if "key" in error.get("ctx", {}):  # of a section whose keys are a table's
        key = f"{key}.{error['ctx']['key']}"
    if error["type"] == "extra_forbidden":
        known = list(known_keys())
        # A key in the wrong section has its last word right, a misspelt one resembles as a whole.
        same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        near = difflib.get_close_matches(key, same, 1, 0) or difflib.get_close_matches(key, known, 1, 0.6)
        hint = f"did you mean '{near[0]}'?" if near else "see docs/configuration.md for the keys."
        return f"unknown key '{_short(key)}'; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}."
    return f"{key} = {_short(repr(error['input']))} does not fit: {message[0].lower()}{message[1:]}."


def _short(text: str) -> str:
    """A text that fits a sentence."""
    return text if len(text) <= 100 else f"{text[:97]}…"
