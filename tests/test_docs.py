"""The documentation says what is: links, pictures, commands, options and keys exist; the site builds and is whole."""

import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import pytest
import yaml
from markdown_pages import PAGES, ROOT, Text, texts
from mkdocs.commands.build import build
from mkdocs.config import load_config
from playwright.sync_api import Page
from pydantic import Field

from dsrg import __main__ as console
from dsrg import config
from dsrg.errors import InputError
from dsrg.schema import Config

KEYS = set(config.known_keys())
SECTIONS = {key for key in KEYS if any(other.startswith(f"{key}.") for other in KEYS)}
FILE_ENDINGS = {
    *("csv", "gz", "json", "jsonl", "md", "npz", "onnx", "pickle", "png", "pt", "py", "txt", "xml", "yaml", "yml"),
}


@functools.cache
def options_of(command: str) -> set[str]:
    """The options that a command's own help names."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        console.main([command, "--help"])
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", out.getvalue()))


def tell(problems: list[str]) -> None:
    """Fail with one problem a line."""
    assert not problems, "\n" + "\n".join(dict.fromkeys(problems))


def name_of(text: Text) -> str:
    return text.path.relative_to(ROOT).as_posix()


def test_links_and_anchors_lead_somewhere() -> None:
    problems = []
    for text in texts():
        for link in text.links:
            if re.match(r"https?://", link):
                continue
            target, _, anchor = unquote(link).partition("#")
            path = (text.path.parent / target).resolve() if target else text.path
            if not path.exists():
                problems.append(f"{name_of(text)}: {link}: there is no such file")
            elif anchor and (path.suffix != ".md" or anchor not in Text(path).anchors()):
                problems.append(f"{name_of(text)}: {link}: there is no such heading")
    tell(problems)


def test_pictures_exist_and_none_is_left_over() -> None:
    used = {(text.path.parent / picture).resolve(): name_of(text) for text in texts() for picture in text.pictures}
    held = {path.resolve() for path in (ROOT / "docs/images").iterdir()}
    problems = [f"{used[path]}: {path}: there is no such picture" for path in used.keys() - held]
    tell(problems + [f"{path}: no page shows it" for path in sorted(held - used.keys())])


def check_words(words: list[str], command: str) -> Iterator[str]:
    """What is wrong with a command's options, configuration and keys."""
    known = options_of(command)
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word.startswith("--") and word.partition("=")[0] not in known:
            yield f"{command} has no option {word}"
        if word in ("--cfg", "--also") and re.match(r"(?!runs/)[a-z]", following):  # runs/ is what commands make
            try:
                config.load(ROOT / following if (ROOT / following).exists() else following)
            except InputError as error:
                yield str(error)
    if "--cfg" in words:  # the keys together: one may need another
        try:
            config.load("voc12/vgg16_official", [word for word in words if re.match(r"[a-z_.]+=", word)])
        except InputError as error:
            yield str(error).partition(": ")[2]


def check_command(line: str, targets: set[str]) -> Iterator[str]:
    """What is wrong with a line of code, if it is a command of ours."""
    line = line.partition(" #")[0].replace("…", "").strip()
    if found := re.search(r"\btools/(\w+)\.py\b(.*)", line):
        name, rest = found[1].replace("_", "-"), found[2]
        if not (ROOT / f"tools/{found[1]}.py").exists():
            yield f"tools/{found[1]}.py does not exist"
            return
    elif found := re.match(r"(?:python -m )?dsrg ([\w-]+)(.*)", line):
        name, rest = found[1], found[2]
        if name in ("--help", "--version"):
            return
    else:
        if (found := re.match(r"make (\w+)", line)) and found[1] not in targets:
            yield f"the Makefile has no {found[1]}"
        if (found := re.match(r"python -m (benchmarks\.\w+)", line)) and not importlib.util.find_spec(found[1]):
            yield f"there is no {found[1]}"
        return
    if name in console.commands():
        yield from check_words(shlex.split(rest.replace("'", "")), name)
    else:
        yield f"there is no command {name}"


def test_commands_and_their_options_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test", "docs"} <= targets
    lines = [(text, line) for text in texts() for line in text.commands()]
    assert sum(bool(re.match(r"(python )?tools/|dsrg [a-z]", line.strip())) for _, line in lines) > 40
    problems = [
        f"{name_of(text)}: {line.strip()}: {what}" for text, line in lines for what in check_command(line, targets)
    ]
    every = set().union(*map(options_of, console.commands()))
    problems += [
        f"{name_of(text)}: {span}: no command has that option"
        for text in texts()
        for span in text.spans
        if (found := re.match(r"--[\w-]+", span)) and found[0] not in every
    ]
    tell(problems)


def check_key(span: str) -> Iterator[str]:
    """What is wrong with a piece of code, if it is a key of the configuration, with a value or without."""
    found = re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)*)(=|: )((?!True|False|None)\S.*)", span)
    if found and found[2] == "=" and found[1] != "key":
        try:
            config.load("voc12/vgg16_official", [span.replace("…", "")])
        except InputError as error:
            yield str(error).partition(": ")[2]
    elif (found and "." in found[1]) or re.fullmatch(r"[a-z_]+\.[a-z_]+", span):
        key = found[1] if found else span
        section, _, ending = key.partition(".")
        if (
            section in SECTIONS
            and key not in KEYS
            and ending not in FILE_ENDINGS
            and not (section == "dsrg" and exists(key))
        ):
            yield f"there is no key {key}"


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")


def test_keys_are_in_the_schema_and_their_values_fit() -> None:
    problems = [
        f"{name_of(text)}: {span}: {what}" for text in texts() for span in text.spans for what in check_key(span)
    ]
    shown = [(text, block) for text in texts() for language, block in text.blocks if language == "yaml"]
    problems += [
        f"{name_of(text)}: there is no key {key}"
        for text, block in shown
        for key in flat(yaml.safe_load(block))
        if key not in {*KEYS, "extends"}
    ]
    assert len(shown) > 0
    tell(problems)


def exists(name: str) -> bool:
    """Whether a module, or something in one, has that full name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            functools.reduce(getattr, parts[length:], found)
        except AttributeError:
            return False
        return True
    return False


def test_python_is_python_and_its_names_exist() -> None:
    problems = []
    for text in texts():
        code = [block for language, block in text.blocks if language == "python" or block.startswith("import dsrg")]
        for block in code:
            compile(block, name_of(text), "exec")
        for part in [*code, *text.spans]:
            names = re.findall(r"(?<![\w/.])dsrg(?:\.[A-Za-z_]\w*)+", part)
            for module, imported in re.findall(r"from (dsrg[\w.]*) import ([\w, ]+)", part):
                names += [f"{module}.{name.strip()}" for name in imported.split(",")]
            problems += [
                f"{name_of(text)}: there is no {name}" for name in names if name not in KEYS and not exists(name)
            ]
        files = re.findall(r"(?:dsrg|tests|docs|benchmarks|configs)/[\w/]*\w\.\w+", " ".join(text.spans))
        problems += [f"{name_of(text)}: there is no {file}" for file in files if not (ROOT / file).exists()]
    tell(problems)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built anew; a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def test_the_site_has_every_key_preset_and_command(site: Path) -> None:
    page = (site / "configuration.html").read_text()
    assert [key for key in KEYS - SECTIONS if f'id="{key}"' not in page] == []
    assert '<td><code id="dsrg.lr">dsrg.lr</code></td>\n<td>number &gt; 0</td>\n<td><code>0.0005</code></td>' in page
    assert "ground-truth masks, &lt;id&gt;.png" in page
    presets = (site / "presets.html").read_text()
    assert [name for name in config.presets() if f'id="{name.replace("/", "")}"' not in presets] == []
    commands = (site / "tools.html").read_text()
    assert [name for name in console.commands() if f"usage: dsrg {name} " not in commands] == []
    python = (site / "python.html").read_text()
    assert 'id="grow_seeds"' in python


def test_the_site_is_whole_and_asks_no_other_server(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert {page.stem for page in pages} >= {page.stem for page in PAGES[3:]} | {"data", "contributing"}
    for page in pages:
        text = page.read_text()
        assert not re.findall(r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//[^>]*>""", text)
        assert not re.findall(
            r"""<link[^>]*rel=["']?(?:stylesheet|preconnect)[^>]*href=["']?(?:https?:)?//[^>]*>""", text
        )
        assert not re.findall(r"(?:<|&lt;)!-- (?:settings|presets|commands|api)", text)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "true or false"),
        (Literal["a", 8], "`a`, `8`"),
        (Annotated[float, Field(ge=0, lt=1)], "number ≥ 0, < 1"),
        (Annotated[int, Field(gt=1000)] | None, "whole number > 1,000 or `null`"),
        (tuple[Annotated[float, Field(gt=0)], ...], "list of numbers > 0"),
        (tuple[int, int], "2 whole numbers"),
        (Path | None, "path or `null`"),
    ],
)
def test_types_in_words(annotation: Any, words: str) -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert reference.kind(annotation) == words
    assert reference.kind(Config.model_fields["seed"].annotation, Config.model_fields["seed"].metadata)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on a server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_pages_in_a_browser(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("index", "configuration", "reproduction"):
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(f"{address}/{name}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than {width}"
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_placeholder("Search").click()
    page.keyboard.type("theta_bg")
    page.locator(".md-search-result__link[href*='configuration.html']").first.wait_for()
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
