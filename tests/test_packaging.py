"""What the wheel and the sdist hold, and that the installed package finds its presets."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import dsrg

ROOT = Path(__file__).parents[1]
SOURCES = (
    *("dsrg", "configs", "tools", "tests", "docs", "benchmarks", "data/README.md", ".ci/run", ".gitignore", "Makefile"),
    *(
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "MANIFEST.in",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "Dockerfile",
        ".dockerignore",
        ".pre-commit-config.yaml",
        "LICENSE",
        "mkdocs.yml",
    ),
)
TEMPLATES = {".j2", ".html", ".css", ".js"}


def files(folder: str, *suffixes: str) -> set[str]:
    """Files of the checkout with one of these suffixes, relative to its root."""
    found = (path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes and path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the sdist of a copy of the checkout, and the wheel that `build` makes from the sdist."""
    copy = tmp_path_factory.mktemp("build") / "dsrg"
    for name in SOURCES:
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy.parent / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "absent from the `packages`" not in done.stdout + done.stderr
    yield copy.parent / "dist"
    shutil.rmtree(copy.parent)


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    presets = {f"dsrg/{name}" for name in files("configs", ".yaml")}
    assert len(presets) > 5
    assert held == {*files("dsrg", ".py", *TEMPLATES), *presets, "dsrg/py.typed"}


def test_the_wheels_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
        assert archive.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert scripts.split() == ["[console_scripts]", "dsrg", "=", "dsrg.__main__:main"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text().strip()


def test_the_sdist_is_the_checkout(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    python = set().union(*(files(folder, ".py") for folder in ("dsrg", "tools", "tests", "benchmarks", "docs")))
    others = files("configs", ".yaml") | files("docs", ".md", ".png", ".css") | set(SOURCES[6:])
    assert held >= python | others
    assert not [name for name in held if "__pycache__" in name or name.startswith(("runs/", "data/demo", "site/"))]


def test_the_unpacked_wheel_works_outside_of_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import dsrg; from dsrg import config; "
        "print(dsrg.__file__, config.load('own/mobilenet_v2').model.backbone, sep='\\n')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == [str(tmp_path / "site/dsrg/__init__.py"), "mobilenet_v2"]


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == dsrg.__version__
    assert {"cff-version", "title", "message", "authors"} <= cited.keys()
