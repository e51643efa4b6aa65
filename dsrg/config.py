"""The only reader of YAML: a configuration file and overrides to the settings of `dsrg.schema`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dsrg.errors import InputError
from dsrg.schema import Config, Section


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply `key=value` overrides.

    Args:
        path: YAML file, or else the name of a shipped preset, such as own/mobilenet_v2 (with or without .yaml). Its
            key `extends` may name another file, relative to it, or a preset, whose values it overlays. None for the
            defaults.
        overrides: Each 'section.key=value', the value in YAML.

    Raises:
        InputError: the file is missing or not YAML, or a key is unknown, or a value does not fit.
    """
    values = {} if path is None else _read(_find(Path(path), str(path)), seen=())
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"'{override}': an override is written key=value, such as dsrg.lr=1e-3.")
        try:
            _assign(values, key.strip(), yaml.load(text, _Loader), override)
        except (yaml.YAMLError, ValueError):  # ValueError: a date that is none
            raise InputError(f"'{override}': the value is not valid YAML; quote it.") from None
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path or 'key=value'}: {_explain(error.errors()[0])}") from None


def presets() -> dict[str, Path]:
    """The shipped configurations by name, such as own/mobilenet_v2."""
    package = Path(__file__).parent
    # A wheel holds the folder configs/ in the package, a checkout beside it.
    files = sorted((package / "configs").glob("*/*.yaml")) or sorted((package.parent / "configs").glob("*/*.yaml"))
    return {"/".join(file.with_suffix("").parts[-2:]): file for file in files}


def change(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy with other values of some keys.

    Args:
        config: The configuration; it stays as it is.
        values: Dotted keys and their new values.

    Raises:
        InputError: a value does not fit.
    """
    changed = config.model_dump()
    for key, value in values.items():
        _assign(changed, key, value, f"{key}={value}")
    try:
        return Config.model_validate(changed)
    except ValidationError as error:
        raise InputError(_explain(error.errors()[0])) from None


def dump(config: Section) -> str:
    """The resolved configuration as YAML that `load` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def known_keys(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Every key in dotted form, sections included."""
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


_SECTIONS = [name for name, field in Config.model_fields.items() if isinstance(field.default, Section)]


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a float and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


# PyYAML speaks YAML 1.1. There `on` and `no` are truth values, so that the key `on` of the section grow is True …
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|false|False)$"), list("tTfF"))
# … and a float needs a point, so that 1e-3 is a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _find(path: Path, name: str) -> Path:
    """The file itself where there is one, or the preset `name`."""
    if path.exists():
        return path
    known = presets()
    name = Path(name).as_posix().removesuffix(".yaml")
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean the preset {near[0]}?" if near else f"the presets are {', '.join(known)}."
    raise InputError(f"{path}: the configuration cannot be read (No such file or directory); check --cfg: {hint}")


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise InputError(f"{path}: 'extends' leads back to the file itself; remove the circle.")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    except OSError as error:
        raise InputError(f"{path}: the configuration cannot be read ({error.strerror}); check --cfg.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that is none
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: a configuration is a list of 'key: value' lines.")
    base = values.pop("extends", None)
    if base is not None and not isinstance(base, str):
        raise InputError(f"{path}: extends = {base!r} does not fit: name one file, relative to this one.")
    # A section whose keys are all commented out keeps the defaults.
    values = {key: value for key, value in values.items() if value is not None or key not in _SECTIONS}
    return values if base is None else _overlay(_read(_find(path.parent / base, base), (*seen, path.resolve())), values)


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
    if error["type"] == "extra_forbidden":
        known = list(known_keys())
        # A key in the wrong section has its last word right, a misspelt one resembles as a whole.
        same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        near = difflib.get_close_matches(key, same, 1, 0) or difflib.get_close_matches(key, known, 1, 0.6)
        hint = f"did you mean '{near[0]}'?" if near else "see docs/configuration.md for the keys."
        return f"unknown key '{key}'; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}."
    return f"{key} = {error['input']!r} does not fit: {message[0].lower()}{message[1:]}."
