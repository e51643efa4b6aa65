"""Questions about photographs and their answers, in the files of the VQA challenge (v1 and v2), in and out.

Two JSON files: {"questions": [{question_id, image_id, question}]}, and {"annotations": [{question_id, image_id,
question_type, answer_type, answers: [{answer}]}]}, everything else in them left alone. An official photograph is found
by its number: COCO_train2014_000000458752.jpg is that of the image_id 458752. Questions that are made here have names
of photographs that may be any; their file says which, as COCO's do: {"images": [{id, file_name}]}.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsrg.data.ids import check_below, shown
from dsrg.data.photo_index import PhotoIndex
from dsrg.data.photograph import walk
from dsrg.data.voc import Photo
from dsrg.data.vqa_answers import normalise_answer
from dsrg.errors import InputError
from dsrg.files import disk

LARGEST = 1024 * disk.MIB
"""Bytes of a file; the annotations of VQA v2 have 0.2 GB for training."""
MOST = 5_000_000
"""Questions of a file; VQA v2 has 443,757 for training."""
LONGEST = 1000
"""Letters of a question or an answer."""
MOST_ANSWERS = 100
"""Answers to a question; the challenge has ten."""
_TWO = "give the two files that belong together"


@dataclass(frozen=True)
class Question:
    """A question about a photograph, and what people answered."""

    id: int
    photo: int
    """Place in `Questions.photos`."""
    text: str
    kind: str
    """question_type: its first words, mostly."""
    answer_kind: str
    """answer_type: yes/no, number or other."""
    answers: tuple[str, ...]
    """Normalised, one of each annotator."""

    @property
    def answer(self) -> str:
        """The most frequent answer, of equal ones the first."""
        return Counter(self.answers).most_common(1)[0][0]


class Questions(NamedTuple):
    """Questions, and the photographs that they are about."""

    questions: list[Question]
    photos: list[Photo]


class Made(NamedTuple):
    """A question that was made by rule; everybody gives the one answer."""

    image: str
    """The photograph's file, below the folder of photographs."""
    text: str
    kind: str
    answer_kind: str
    answer: str


def read_questions(questions: Path, annotations: Path, photos: Path) -> Questions:
    """Read a file of questions, that of their annotations, and find the photographs.

    Args:
        questions, annotations: The two files, see above.
        photos: The folder of photographs, searched at any depth; they are not decoded here.

    Returns:
        The questions in the file's order, every photograph once.

    Raises:
        InputError: a file is missing, broken or too large, a question and the annotations do not belong together, or a
            photograph is missing or cannot be told from another.
    """
    content = _content(questions, "questions")
    asked = _by_id(questions, "questions", content["questions"])
    told = _by_id(annotations, "annotations", _content(annotations, "annotations")["annotations"])
    if asked.keys() != told.keys():
        number = min(asked.keys() ^ told.keys())
        first, second = (questions, annotations) if number in asked else (annotations, questions)
        raise InputError(f"{first}: question_id {number} is not in {second}; {_TWO}.")
    files = _files(questions, content, {_image(questions, row) for row in asked.values()}, photos)
    places = {image: place for place, image in enumerate(files)}
    found = []
    for number, row in asked.items():
        image = _image(questions, row)
        if _image(annotations, told[number]) != image:
            raise InputError(
                f"{annotations}: question_id {number} is of image_id {told[number]['image_id']}, but of {image} in "
                f"{questions}; {_TWO}."
            )
        found.append(_question(number, places[image], _text(questions, row, "question"), told[number], annotations))
    return Questions(found, list(files.values()))


def write_questions(made: Sequence[Made], split: str, questions: Path, annotations: Path) -> None:
    """Write questions as the challenge's two files, ten equal answers to each."""
    files = list(dict.fromkeys(one.image for one in made))
    images = {name: number for number, name in enumerate(files)}
    about = {
        "info": {"description": "questions made by rule from a data set's labels and masks (dsrg vqa)"},
        "data_type": "dsrg",
        "data_subtype": split,
    }
    rows = [
        {"question_id": number, "image_id": images[one.image], "question": one.text} for number, one in enumerate(made)
    ]
    listed = [{"id": number, "file_name": name} for name, number in images.items()]
    disk.write_json(questions, about | {"task_type": "Open-Ended", "images": listed, "questions": rows})
    told = [
        {
            "question_id": number,
            "image_id": images[one.image],
            "question_type": one.kind,
            "answer_type": one.answer_kind,
            "multiple_choice_answer": one.answer,
            "answers": [
                {"answer_id": annotator, "answer": one.answer, "answer_confidence": "yes"} for annotator in range(1, 11)
            ],
        }
        for number, one in enumerate(made)
    ]
    disk.write_json(annotations, about | {"annotations": told})


def _content(path: Path, key: str) -> dict[str, Any]:
    """A file's object, in which `key` is a list of objects."""
    what = f"file of {key}"
    read = disk.read_json(path, what, limit=LARGEST)
    content: dict[str, Any] = read if isinstance(read, dict) else {}
    rows = content.get(key)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: holds no list '{key}' of objects, as VQA's {what} does; check that it is that file.")
    if len(rows) > MOST:
        raise InputError(f"{path}: holds {len(rows):,} {key}, and {MOST:,} are the most; check the file.")
    return content


def _by_id(path: Path, key: str, rows: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for place, row in enumerate(rows):
        number = row.get("question_id", -1)
        if not _is_number(number):
            raise InputError(f"{path}: {key}[{place}] has no whole number 'question_id'; correct the file.")
        if found.setdefault(number, row) is not row:
            raise InputError(f"{path}: question_id {number} is there twice; remove one.")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _image(path: Path, row: Mapping[str, Any]) -> int:
    number = row.get("image_id", -1)
    if not _is_number(number):
        raise InputError(f"{path}: question_id {row['question_id']} has no whole number 'image_id'; correct the file.")
    return int(number)


def _text(path: Path, row: Mapping[str, Any], key: str) -> str:
    """A text of a row on one line."""
    return checked_text(row.get(key), f"{path}: question_id {row['question_id']}", f"'{key}'")


def checked_text(value: Any, where: str, what: str) -> str:
    """A text from outside with single blanks.

    Raises:
        InputError: it is none, is too long, or holds what cannot be shown.
    """
    if not isinstance(value, str):
        raise InputError(f"{where}: has no text as its {what}; correct it.")
    text = " ".join(value[: 2 * LONGEST].split())
    if len(text) > LONGEST:
        raise InputError(f"{where}: its {what} has more than {LONGEST:,} letters; shorten it.")
    if not text.isprintable():
        raise InputError(f"{where}: its {what}, {shown(text)}, holds characters that cannot be shown; correct it.")
    return text


def _question(number: int, photo: int, text: str, row: Mapping[str, Any], path: Path) -> Question:
    where = f"{path}: question_id {number}"
    answers = row.get("answers")
    if not isinstance(answers, list) or not 1 <= len(answers) <= MOST_ANSWERS:
        raise InputError(f"{where}: has no list of 1 to {MOST_ANSWERS} 'answers'; correct the file.")
    given = [answer.get("answer") if isinstance(answer, dict) else None for answer in answers]
    return Question(
        id=number,
        photo=photo,
        text=text,
        kind=_text(path, row, "question_type"),
        answer_kind=_text(path, row, "answer_type"),
        answers=tuple(normalise_answer(checked_text(answer, where, "'answer'")) for answer in given),
    )


def _files(path: Path, content: Mapping[str, Any], needed: set[int], photos: Path) -> dict[int, Photo]:
    """The photograph of each image_id that is asked about, in the order of the numbers."""
    found = walk(photos).check().photographs
    if "images" in content:
        files = _listed(path, content["images"], needed, photos, found)
    else:
        files = _numbered(path, needed, photos, found)
    return {
        number: Photo(files[number].relative_to(photos).as_posix(), files[number], np.ones(1, bool))
        for number in sorted(needed)
    }


def _listed(path: Path, images: Any, needed: set[int], photos: Path, found: Sequence[Path]) -> dict[int, Path]:
    index, files = PhotoIndex(photos, found), dict[int, Path]()
    for place, image in enumerate(images if isinstance(images, list) else [None]):
        number = image.get("id") if isinstance(image, dict) else None
        name = image.get("file_name") if isinstance(image, dict) else None
        if not _is_number(number) or not isinstance(name, str):
            raise InputError(f"{path}: images[{place}] has no number 'id' and text 'file_name'; correct the file.")
        if number in files:
            raise InputError(f"{path}: the image {number} is listed twice in 'images'; remove one.")
        if number in needed:
            check_below(name, str(path), photos)
            files[number] = index.only(name, path)
    if needed - files.keys():
        raise InputError(f"{path}: image_id {min(needed - files.keys())} is not in its list 'images'; add it there.")
    return files


def _numbered(path: Path, needed: set[int], photos: Path, found: Iterable[Path]) -> dict[int, Path]:
    """By the number that a file's name ends in."""
    files: dict[int, Path] = {}
    for file in found:
        digits = re.search(r"\d{1,18}$", file.stem, re.ASCII)
        number = int(digits[0]) if digits else -1
        if number in needed and files.setdefault(number, file) is not file:
            raise InputError(
                f"{photos}: {files[number].name} and {file.name} both end in the number {number}, which {path} asks "
                "about; give a folder that has one of them."
            )
    if needed - files.keys():
        number = min(needed - files.keys())
        raise InputError(
            f"{photos}: no photograph's name ends in {number}, as that of image_id {number} in {path} does "
            f"(COCO_…_{number:012d}.jpg); add it, or check the folder."
        )
    return files
