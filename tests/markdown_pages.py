"""The documentation's pages, taken apart: links, pictures, headings, code."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import markdown

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data/README.md", *sorted((ROOT / "docs").glob("*.md"))]


@dataclass
class Text(HTMLParser):
    """What a page holds: links, pictures, headings, code in the text, and blocks of code with their language."""

    path: Path
    links: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)
    blocks: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._language = ""
        extensions = ["fenced_code", "tables"]
        self.feed(markdown.markdown(self.path.read_text(encoding="utf-8"), extensions=extensions))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "img":
            self.pictures.append(given["src"] or "")
            return
        if tag == "a":
            self.links.append(given["href"] or "")
        if re.fullmatch(r"h\d", tag):
            self.headings.append("")
        if tag == "code":
            self._language = (given.get("class") or "").removeprefix("language-")
            if "pre" in self._open:
                self.blocks.append((self._language, ""))
            else:
                self.spans.append("")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(re.fullmatch(r"h\d", tag) for tag in self._open):
            self.headings[-1] += data
        if "code" in self._open:
            if "pre" in self._open:
                self.blocks[-1] = (self._language, self.blocks[-1][1] + data)
            else:
                self.spans[-1] += data.replace("\n", " ")

    def anchors(self) -> set[str]:
        """The anchors of the headings, by GitHub's rule."""
        slugs = [re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in self.headings]
        before = [slugs[:number].count(slug) for number, slug in enumerate(slugs)]
        found = [f"{slug}-{count}" if count else slug for slug, count in zip(slugs, before, strict=True)]
        return set(found)

    def commands(self) -> Iterator[str]:
        """Lines of code that could be commands."""
        yield from self.spans
        for language, block in self.blocks:
            if language in ("", "bash"):
                yield from block.replace("\\\n", " ").splitlines()


@functools.cache
def texts() -> list[Text]:
    return [Text(path) for path in PAGES]
