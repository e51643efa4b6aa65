"""Photographs found by what tables and annotations call them: their paths, names, or those of another machine."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from dsrg.data.ids import check_below, shown
from dsrg.data.photograph import fold
from dsrg.errors import InputError

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that is uploaded."""
_ODD = re.compile(r"[^-\w.]")
"""What Label Studio, as Django does, takes out of such a name; blanks become '_'."""


class PhotoIndex:
    """Finds photographs by what tables and annotations call them.

    Tried in this order: the path below the folder, the same without its ending, the file's name, its stem; then the
    same four once more in any case and any Unicode form, since Windows minds no case and macOS takes letters apart.
    """

    def __init__(self, folder: Path, photographs: Sequence[Path]) -> None:
        self._folder = folder
        self._photographs = photographs
        self._keys: list[Callable[[Path], str]] = [
            lambda path: path.relative_to(folder).as_posix(),
            lambda path: path.relative_to(folder).with_suffix("").as_posix(),
            lambda path: path.name,
            lambda path: path.stem,
            lambda path: _uploaded(path.name),
        ]
        self._tables: dict[tuple[bool, int], dict[str, list[Path]]] = {}

    def find(self, name: str) -> list[Path]:
        """The photographs that `name` may mean: none, one, or several of the same rank."""
        name = name.strip().replace("\\", "/").removeprefix("./")
        for folded in (False, True):
            wanted = fold(name) if folded else name
            for rank in range(len(self._keys) - 1):
                hits = self._table(folded, rank).get(wanted)
                if hits:
                    return hits
        return []

    def guess(self, name: str) -> list[Path]:
        """As `find`, or else by the last part of the name, see `locate`."""
        return self.find(name) or self._last_part(name)

    def only(self, name: str, where: Path) -> Path:
        """The one photograph that `name` means, which the file `where` has; raises InputError for none or several."""
        files = self.find(name)
        if not files:
            sentence = f"the photograph does not exist, but {where} names it; add it, or take its name out there."
            raise InputError(f"{self._folder / name}: {sentence}")
        if len(files) > 1:
            raise InputError(f"{where}: '{name}' may be {files[0]} or {files[1]}; write the path below {self._folder}.")
        return files[0]

    def _table(self, folded: bool, rank: int) -> dict[str, list[Path]]:
        if (folded, rank) not in self._tables:
            table: dict[str, list[Path]] = {}
            for path in self._photographs:
                key = self._keys[rank](path)
                table.setdefault(fold(key) if folded else key, []).append(path)
            self._tables[folded, rank] = table
        return self._tables[folded, rank]

    def _named(self, name: str) -> list[Path]:
        """The photographs of a file's name, in whichever folder; else of a stem, else as Label Studio spells names."""
        for folded, rank in ((False, 2), (False, 3), (True, 2), (True, 3), (False, 4)):
            hits = self._table(folded, rank).get(fold(name) if folded else name)
            if hits:
                return hits
        return []

    def locate(
        self, names: Iterable[str], where: Path, places: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Path], list[str]]:
        """The photograph of each name that a file has, and a sentence where the last part of a name told.

        A tool writes the paths of its own machine: /data/upload/1/3f2a81bc-cat.jpg, s3://bucket/cat.jpg,
        ../media/cat.jpg. Of such a name the last parts count, as many as there are in one photograph's path alone.
        Paths that could lie below the folder are taken so only if not one of the names is found as it stands, for else
        a photograph is missing.

        Args:
            names: What the file calls the photographs.
            where: The file, for the error and the sentence.
            places: Where in the file each name stands, for the error.

        Raises:
            InputError: a name means no photograph, or several.
        """
        names = list(dict.fromkeys(names))
        files = {name: self.find(name) for name in names}
        lost = not any(files.values())
        far = [name for name in names if not files[name] and (lost or is_foreign(name))]
        files |= {name: self._last_part(name) for name in far}
        self._check(files, where, places or {})
        found = {name: own[0] for name, own in files.items()}
        example = next((name for name in far if name != found[name].name), None)
        if example is None:
            return found, []
        file = found[example].relative_to(self._folder).as_posix()
        sentence = f"photographs were found by the last part of their names, such as {file} for {shown(example)}."
        return found, [f"{where}: {len(far)} {sentence}"]

    def _last_part(self, name: str) -> list[Path]:
        """The photographs whose paths end as the name does, in as many parts as tell them apart."""
        for spelt in local_paths(name):
            *folders, last = spelt.split("/")
            for part in dict.fromkeys((last, _UPLOAD.sub("", last, count=1))):
                hits = self._named(part)
                for depth in range(1, len(folders) + 1):
                    if len(hits) < 2:
                        break
                    tail = fold("/".join(("", *folders[-depth:], part)))
                    hits = [path for path in hits if fold(f"/{self._keys[0](path)}").endswith(tail)] or hits
                if hits:
                    return hits
        return []

    def _check(self, files: Mapping[str, Sequence[Path]], where: Path, places: Mapping[str, str]) -> None:
        missing = [name for name, own in files.items() if not own]
        if missing:
            check_below(missing[0], places.get(missing[0], str(where)), self._folder)
            more = f" ({len(missing) - 1} more do not.)" if len(missing) > 1 else ""
            sentence = f"the photograph does not exist, but {where} names it; add it, or take its name out there.{more}"
            raise InputError(f"{self._folder / missing[0]}: {sentence}")
        several = next((name for name, own in files.items() if len(own) > 1), None)
        if several is not None:
            one, other, *_ = files[several]
            raise InputError(f"{where}: '{several}' may be {one} or {other}; write the path below {self._folder}.")


def is_foreign(name: str) -> bool:
    """Whether a name is a path of another machine, or a link: none that could lie below a folder."""
    path = name.replace("\\", "/")
    return path.startswith(("/", "~")) or "://" in path or ".." in path.split("/") or bool(re.match("[A-Za-z]:", path))


def local_paths(name: str) -> list[str]:
    """The paths that a name from another machine may mean: itself; what a link holds, whose letters may be written as
    %20, before its '?', after the 'd=' of /data/local-files/?d=a/b.jpg, or coded in /tasks/1/resolve/?fileuri=czM6."""
    name = name.strip().replace("\\", "/")
    found = [name, unquote(name)]
    if "://" in name or "?" in name:
        try:
            link = urlsplit(name)
            query = parse_qs(link.query)
            found += [unquote(link.path), *query.get("d", [])]
            found += [unquote(base64.b64decode(code).decode()) for code in query.get("fileuri", [])]
        except ValueError:  # brackets of an address that is none, or no such code
            pass
    return [path for path in dict.fromkeys(found) if path]


def _uploaded(name: str) -> str:
    return _ODD.sub("", name.strip().replace(" ", "_"))
