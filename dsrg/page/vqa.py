"""The page of answers: each photograph, where the answer's map is high, and what each word said for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsrg.draw import heatmap, tiles
from dsrg.files import disk
from dsrg.page.pictures import SIDE, photo_uri
from dsrg.page.render import render
from dsrg.study.vqa_ask import Shown


@dataclass(frozen=True)
class Word:
    """A word of a question and what it adds to the answer's score."""

    text: str
    value: float | None
    """None for a word that is not in the vocabulary."""
    strength: int
    """How large that is, in per cent of the largest part of the card."""


@dataclass(frozen=True)
class Card:
    """One question and its answer."""

    id: str
    photo: str
    """A data URI, as the next."""
    map: str
    question: str
    answers: Sequence[tuple[str, float]]
    image: Word
    words: Sequence[Word]
    bias: float
    truth: str | None
    verdict: str
    """'' where the true answers are not known."""


def write_page(path: Path, name: str, shown: Sequence[Shown], summary: Mapping[str, Any] | None = None) -> Path:
    """Write the page of some answers.

    Args:
        path: The file.
        name: What the page is of: the run, or the question.
        shown: The answers.
        summary: Of `dsrg.study.vqa.train_vqa`, for the figures; None for none.

    Returns:
        The file.
    """
    figures = [] if summary is None else _figures(summary)
    columns = [] if summary is None else list(summary["figures"])
    context = {"name": name, "cards": [_card(one) for one in shown], "columns": columns, "rows": figures}
    disk.write_text(path, render("vqa.html.j2", context))
    return path


def _figures(summary: Mapping[str, Any]) -> list[tuple[str, int, list[float]]]:
    """A row for each type of question, and one for all."""
    counts, parts = summary["questions"]["val_by_type"], list(summary["figures"].values())
    rows = [(kind, number, [part["by_question_type"][kind] for part in parts]) for kind, number in counts.items()]
    return [*rows, ("all", summary["questions"]["val"], [part["accuracy"] for part in parts])]


def _card(shown: Shown) -> Card:
    small = tiles.fit(shown.picture, min(SIDE, max(shown.picture.shape[:2])))
    heat = shown.heat.clip(min=0)
    parts = [shown.image, *(value for _, value in shown.words if value is not None)]
    largest = max(map(abs, parts)) or 1.0

    def word(text: str, value: float | None) -> Word:
        return Word(text, value, round(100 * abs(value or 0) / largest))

    verdict = "" if shown.accuracy is None else "right" if shown.accuracy == 1 else f"accuracy {shown.accuracy:.1f}"
    return Card(
        id=shown.photo.id,
        photo=photo_uri(small),
        map=photo_uri(heatmap.paint(small, heat / (heat.max() or 1))),
        question=shown.question,
        answers=shown.answers,
        image=word("image", shown.image),
        words=[word(text, value) for text, value in shown.words],
        bias=shown.bias,
        truth=shown.truth,
        verdict="wrong" if shown.accuracy == 0 else verdict,
    )
