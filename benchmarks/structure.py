"""The shape of the package: rooms at its root, layers, and the longest chain of imports.

    python -m benchmarks.structure [FOLDER]

FOLDER is a checkout, this one by default. Imports are read from the source, those inside functions included.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import functools
from pathlib import Path


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its name."""
    found = {}
    for path in sorted((root / "dsrg").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    # The package itself is imported for its version alone, and imports what `dsrg.load` needs when it is called.
    return {name for name in found & known.keys() if name != "dsrg"}


def longest_chain(edges: dict[str, set[str]]) -> list[str]:
    """The longest way along the imports, which have no circle."""

    @functools.cache
    def chain(name: str) -> tuple[str, ...]:
        return max(((name, *chain(other)) for other in edges[name]), key=len, default=(name,))

    return list(max(map(chain, edges), key=len))


def main() -> None:
    """Print the three figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parents[1])
    root = parser.parse_args().folder
    known = modules(root)
    rooms = {name.split(".")[1] for name in known if name.count(".")} - {"__main__"}
    flat = {name for name, path in known.items() if path.parent == root / "dsrg"} - {"dsrg", "dsrg.__main__"}
    settings = configparser.ConfigParser()
    settings.read(root / "setup.cfg")
    layers = settings["importlinter:contract:layers"]["layers"].split("\n")
    chain = longest_chain({name: imports(path, known) - {name} for name, path in known.items() if name != "dsrg"})
    print(f"rooms at the root: {len(rooms)}, {len(flat)} of them single files")
    print(f"layers: {len([line for line in layers if line.strip()])}")
    print(
        f"longest chain of imports: {len(chain)} modules ({' > '.join(part.removeprefix('dsrg.') for part in chain)})"
    )


if __name__ == "__main__":
    main()
