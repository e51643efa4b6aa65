"""XML of other programs, read within bounds."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from dsrg.errors import InputError
from dsrg.files import disk


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type before what it defines is read: a few lines of entities make gigabytes of text."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("it defines a document type, as no annotation does")


def read_xml(path: Path, what: str, *, limit: int) -> ElementTree.Element:
    """The root of an XML file; nothing that it refers to is opened.

    Args:
        path: The file.
        what: What it is, for the error.
        limit: Bytes that it may have.

    Raises:
        InputError: it is missing, too large or no XML, or defines a document type.
    """
    content = disk.read_bytes(path, what, limit=limit)
    try:
        return ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # an unknown encoding is one of two
        raise InputError(f"{path}: not valid XML ({error}); replace the file.") from None
