"""Photographs found by what tables and annotations call them: their paths, names, or those of another machine."""

from __future__ import annotations

import base64
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from dsrg.data.ids import check_below, plain, shown
from dsrg.data.photograph import fold, is_photograph
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

    def __init__(self, folder: Path, photographs: Sequence[Path], *, named_anew: bool = False) -> None:
        """Index photographs.

        Args:
            folder: The folder that they lie in.
            photographs: Theirs.
            named_anew: They are a data set's, which `prepare.name_ids` has named, and may be called as they were
                before: 'my cat.jpg' is my_cat, 'cat/1.jpg' may be cat_1.
        """
        self.folder = folder
        self._photographs = photographs
        self._named_anew = named_anew
        self._keys: list[Callable[[Path], str]] = [
            lambda path: path.relative_to(folder).as_posix(),
            lambda path: path.relative_to(folder).with_suffix("").as_posix(),
            lambda path: path.name,
            lambda path: path.stem,
            lambda path: _uploaded(path.name),
        ]
        self._tables: dict[tuple[bool, int], dict[str, list[Path]]] = {}
        self._tails: dict[tuple[bool, int, int], dict[tuple[str, str], list[Path]]] = {}
        self._folders: set[str] | None = None
        self._places: dict[str, list[Path]] | None = None
        self._order: dict[Path, int] | None = None

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

    def at(self, path: Path) -> list[Path]:
        """The photograph that lies at a path, which may go up through '..'; none where none does.

        Several where they are links to one file, as git-annex makes them of copies, and none is at that very path.
        """
        if self._places is None:
            self._places = {}
            for own in self._photographs:
                self._places.setdefault(os.path.realpath(own), []).append(own)
        found = self._places.get(os.path.realpath(path), [])
        if len(found) < 2:
            return found
        wanted = os.path.normpath(path.absolute())
        return [own for own in found if os.path.normpath(own.absolute()) == wanted] or found

    def common(self, one: Sequence[Path], other: Sequence[Path]) -> list[Path]:
        """The photographs that are in both of two answers of this index.

        An answer may hold all photographs, so it is searched by their order: a set of it would take too long to make
        for each of many names.
        """
        if self._order is None:
            self._order = {path: number for number, path in enumerate(self._photographs)}
        few, many = sorted((one, other), key=len)
        places = [bisect_left(many, self._order[path], key=self._order.__getitem__) for path in few]
        return [path for path, place in zip(few, places, strict=True) if many[place : place + 1] == [path]]

    def guess(self, name: str) -> list[Path]:
        """As `find`, or else by the name that the data set has given it, or the last part of the name, see `locate`."""
        return self._direct(name) or self._last_part(name)

    def _direct(self, name: str) -> list[Path]:
        """As `find`, or else by the name that the data set has given the photograph."""
        found = self.find(name)
        if found or not self._named_anew:
            return found
        *folders, last = name.strip().replace("\\", "/").removeprefix("./").split("/")
        before = [plain(folder) for folder in folders]
        joined = ["_".join((*before[place:], part)) for part in _anew(last) for place in reversed(range(len(before)))]
        return next(filter(None, map(self.find, joined if folders else _anew(last))), [])

    def only(self, name: str, where: Path) -> Path:
        """The one photograph that `name` means, which the file `where` has; raises InputError for none or several."""
        files = self.find(name)
        if not files:
            sentence = f"the photograph does not exist, but {where} names it; add it, or take its name out there."
            raise InputError(f"{self.folder / name}: {sentence}")
        if len(files) > 1:
            raise InputError(f"{where}: '{name}' may be {files[0]} or {files[1]}; write the path below {self.folder}.")
        return files[0]

    def _table(self, folded: bool, rank: int) -> dict[str, list[Path]]:
        if (folded, rank) not in self._tables:
            table: dict[str, list[Path]] = {}
            for path in self._photographs:
                key = self._keys[rank](path)
                table.setdefault(fold(key) if folded else key, []).append(path)
            self._tables[folded, rank] = table
        return self._tables[folded, rank]

    def _within(self, folded: bool, rank: int, depth: int) -> dict[tuple[str, str], list[Path]]:
        """The photographs by a key and the last folders that they lie in, as many as `depth`."""
        if (folded, rank, depth) not in self._tails:
            table: dict[tuple[str, str], list[Path]] = {}
            for key, paths in self._table(folded, rank).items():
                for path in paths:
                    folders = path.relative_to(self.folder).parts[:-1]
                    if len(folders) >= depth:
                        table.setdefault((key, fold("/".join(folders[-depth:]))), []).append(path)
            self._tails[folded, rank, depth] = table
        return self._tails[folded, rank, depth]

    def _named(self, name: str, folders: Sequence[str], least: int) -> list[Path]:
        """The photographs of a file's name, in whichever folder; else of a stem, else as Label Studio spells names.

        Args:
            name: The name.
            folders: Those before it, of which the last count, as many as tell the photographs apart.
            least: How many of them the photographs must lie in.
        """
        for folded, rank in ((False, 2), (False, 3), (True, 2), (True, 3), (False, 4)):
            key = fold(name) if folded else name
            hits = self._table(folded, rank).get(key, [])
            if not hits:
                continue
            for depth in range(1, len(folders) + 1):
                if len(hits) < 2 and depth > least:
                    break
                inside = self._within(folded, rank, depth).get((key, fold("/".join(folders[-depth:]))))
                if not inside:  # nor do any lie in more of them
                    return [] if depth <= least else hits
                hits = inside
            return hits
        return []

    def locate(
        self, names: Iterable[str], where: Path, places: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Path], list[str]]:
        """The photograph of each name that a file has, and a sentence where the last part of a name told.

        A tool writes the paths of its own machine: /data/upload/1/3f2a81bc-cat.jpg, s3://bucket/cat.jpg,
        ../media/cat.jpg. Of such a name the last parts count, as many as there are in one photograph's path alone.

        So they do of a path that could lie below the folder, each on its own. But where other names are found as they
        stand, its photograph may just be missing: then it must be no other name's, and lie in a folder as the path
        names, if such a folder is there at all; in all folders of the path, where other paths are found whole.

        Args:
            names: What the file calls the photographs.
            where: The file, for the error and the sentence.
            places: Where in the file each name stands, for the error.

        Raises:
            InputError: a name means no photograph, or several.
        """
        names = list(dict.fromkeys(names))
        files = {name: self._direct(name) for name in names}
        lost = not any(files.values())
        far = dict.fromkeys(name for name in names if not files[name])
        owners = {own[0]: name for name, own in files.items() if len(own) == 1}
        rooted = any("/" in name.replace("\\", "/") and self.find(name) for name in names if name not in far)
        for name in far:
            near = not lost and not is_foreign(name)
            folders = name.replace("\\", "/").split("/")[:-1]
            least = len(folders) if rooted else int(bool(folders) and self._has_folder(folders[-1]))
            hits = self._last_part(name, least if near else 0)
            if near and len(hits) == 1 and owners.setdefault(hits[0], name) in far and owners[hits[0]] != name:
                both = f"both {shown(owners[hits[0]])} and {shown(name)} may be {hits[0]}"
                raise InputError(f"{where}: {both}; write the path below {self.folder}.")
            free = (path for path in hits if not near or owners.get(path, name) == name)
            files[name] = list(islice(free, 2))  # a second one refuses the name, and `hits` may be all photographs
        self._check(files, where, places or {})
        found = {name: own[0] for name, own in files.items()}
        example = next((name for name in far if name != found[name].name), None)
        if example is None:
            return found, []
        file = found[example].relative_to(self.folder).as_posix()
        sentence = f"photographs were found by the last part of their names, such as {file} for {shown(example)}."
        return found, [f"{where}: {len(far)} {sentence}"]

    def _has_folder(self, name: str) -> bool:
        """Whether a folder of this name is among those of the photographs."""
        if self._folders is None:
            below = {path.relative_to(self.folder).parent for path in self._photographs}
            self._folders = {fold(part) for folder in below for part in folder.parts}
        return fold(name) in self._folders

    def _last_part(self, name: str, least: int = 0) -> list[Path]:
        """The photographs whose paths end as the name does, in as many parts as tell them apart.

        Args:
            name: What something calls a photograph.
            least: How many of the name's last folders they must lie in.
        """
        several: list[Path] = []
        for spelt in local_paths(name):
            *folders, last = spelt.removeprefix("./").split("/")
            uploaded = _UPLOAD.sub("", last, count=1)
            for part in dict.fromkeys((last, uploaded, *(_anew(uploaded) if self._named_anew else ()))):
                hits = self._named(part, folders, least)
                if len(hits) == 1:
                    return hits
                several = several or hits
        return several

    def _check(self, files: Mapping[str, Sequence[Path]], where: Path, places: Mapping[str, str]) -> None:
        missing = [name for name, own in files.items() if not own]
        if missing:
            check_below(missing[0], places.get(missing[0], str(where)), self.folder)
            more = f" ({len(missing) - 1} more do not.)" if len(missing) > 1 else ""
            by = places.get(missing[0], where)
            sentence = f"the photograph does not exist, but {by} names it; add it, or take its name out there.{more}"
            raise InputError(f"{self.folder / missing[0]}: {sentence}")
        several = next((name for name, own in files.items() if len(own) > 1), None)
        if several is not None:
            one, other, *_ = files[several]
            raise InputError(f"{where}: '{several}' may be {one} or {other}; write the path below {self.folder}.")


def is_foreign(name: str) -> bool:
    """Whether a name is a path of another machine, or a link: none that could lie below a folder."""
    path = name.replace("\\", "/")
    return path.startswith(("/", "~")) or "://" in path or ".." in path.split("/") or bool(re.match("[A-Za-z]:", path))


def local_paths(name: str) -> list[str]:
    """The paths that a name from another machine may mean: itself; what a link holds, whose letters may be written as
    %20, before its '?', after the 'd=' of /data/local-files/?d=a/b.jpg, or coded in /tasks/1/resolve/?fileuri=czM6."""
    name = name.strip()
    found = [name, unquote(name)]
    if "://" in name or "?" in name:
        try:
            link = urlsplit(name)
            query = parse_qs(link.query)
            found += [unquote(link.path), *query.get("d", [])]
            found += [unquote(base64.b64decode(code).decode()) for code in query.get("fileuri", [])]
        except ValueError:  # brackets of an address that is none, or no such code
            pass
    # Only now, for a link of a Windows machine writes its backslashes as %5C.
    return [path for path in dict.fromkeys(path.replace("\\", "/") for path in found) if path]


def _anew(name: str) -> tuple[str, ...]:
    """The ids that `prepare.name_ids` may have given a photograph of this name, which may be one without its ending."""
    stem = Path(name).stem if is_photograph(Path(name)) else name
    return tuple(dict.fromkeys((plain(stem), plain(name))))


def _uploaded(name: str) -> str:
    return _ODD.sub("", name.strip().replace(" ", "_"))
