"""Questions and answers: the official evaluation, the challenge's files, and questions made by rule."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import NAMES, save_photo

from dsrg.data import vqa, vqa_rules
from dsrg.data.vqa import Made, Question, read_questions, write_questions
from dsrg.data.vqa_answers import normalise_answer, vqa_accuracy
from dsrg.data.vqa_rules import Scene, balanced, questions_of, read_groups
from dsrg.errors import InputError
from dsrg.labels import Classes

CLASSES = Classes(NAMES, "classes.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Dogs.", "dogs"),
        ("1,000", "1000"),
        ("cat,dog", "cat dog"),
        ("3.5 m.", "3.5 m"),
        ("u.s.a.", "usa"),
        ("10:30 a.m.", "10:30 am"),
        ("a two-way street!", "2 way street"),
        ("None", "0"),
        ("Ten", "10"),
        ("it's the dog's", "it's dog's"),
        ("dont", "don't"),
        ("shouldnt've", "shouldn't've"),
        ("couldn'tve", "couldn't've"),
        ("well its ill", "well its ill"),
        ("  yes\n\tplease ", "yes please"),
        ("an", ""),
    ],
)
def test_answers_are_normalised_as_the_evaluation_page_says(text: str, expected: str) -> None:
    assert normalise_answer(text) == expected
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


@pytest.mark.parametrize("given", range(11))
def test_accuracy_is_the_average_over_the_subsets_of_nine(given: int) -> None:
    answers = ["cat"] * given + ["dog"] * (10 - given)
    subsets = [answers[:left] + answers[left + 1 :] for left in range(10)]
    naive = np.mean([min(subset.count("cat") / 3, 1) for subset in subsets])
    assert vqa_accuracy("cat", answers) == pytest.approx(naive)
    assert {0: 0.0, 1: 0.3, 2: 0.6, 3: 0.9}.get(given, 1.0) == pytest.approx(naive)


def test_one_answer_counts_itself() -> None:
    assert (vqa_accuracy("cat", ["cat"]), vqa_accuracy("dog", ["cat"])) == (1, 0)


def official(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two questions in the form of VQA v2, about two of COCO's photographs, and their files."""
    for number in (42, 458752):
        save_photo(folder / f"train2014/COCO_train2014_{number:012d}.jpg", number % 200)
    rows = [(458752000, 458752, "What is this photo taken looking through?"), (42001, 42, "Is the sky blue?")]
    about = {"info": {"version": "2.0"}, "data_type": "mscoco", "data_subtype": "train2014", "license": {"name": "CC"}}
    questions = about | {
        "task_type": "Open-Ended",
        "questions": [{"image_id": image, "question": text, "question_id": number} for number, image, text in rows],
    }
    said = (["A net"] * 6 + ["netting"] * 2 + ["Mesh.", "net"], ["yes"] * 10)
    annotations = about | {
        "annotations": [
            {
                "question_type": " ".join(text.lower().split()[:2]),
                "multiple_choice_answer": answers[0],
                "answers": [
                    {"answer": answer, "answer_confidence": "maybe", "answer_id": place}
                    for place, answer in enumerate(answers, 1)
                ],
                "image_id": image,
                "answer_type": "other",
                "question_id": number,
            }
            for (number, image, text), answers in zip(rows, said, strict=True)
        ]
    }
    return questions, annotations


def write(folder: Path, questions: Any, annotations: Any) -> tuple[Path, Path, Path]:
    folder.mkdir(exist_ok=True)
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "annotations.json").write_text(json.dumps(annotations))
    return folder / "questions.json", folder / "annotations.json", folder / "train2014"


def test_the_official_files_are_read(tmp_path: Path) -> None:
    asked, photos = read_questions(*write(tmp_path, *official(tmp_path)))
    assert [photo.path.name for photo in photos] == [
        "COCO_train2014_000000000042.jpg",
        "COCO_train2014_000000458752.jpg",
    ]
    first = asked[0]
    assert (first.id, first.photo, first.kind) == (458752000, 1, "what is")
    assert first.text == "What is this photo taken looking through?"
    assert Counter(first.answers) == {"net": 7, "netting": 2, "mesh": 1}
    assert (first.answer, vqa_accuracy("netting", first.answers)) == ("net", pytest.approx(0.6))
    assert (asked[1].answer, asked[1].photo) == ("yes", 0)


def drop(value: dict[str, Any], key: str) -> None:
    del value[key]


FAULTS = {
    "no list": (lambda q, a: drop(q, "questions"), "questions.json", "'questions'"),
    "an annotation's file": (lambda q, a: q.update(q | a) or drop(q, "questions"), "questions.json", "'questions'"),
    "no id": (lambda q, a: drop(q["questions"][1], "question_id"), "questions.json", "questions[1]", "question_id"),
    "a truth as id": (lambda q, a: q["questions"][0].update(question_id=True), "questions.json", "question_id"),
    "twice": (lambda q, a: q["questions"].append(q["questions"][0]), "questions.json", "458752000", "twice"),
    "no annotation": (lambda q, a: a["annotations"].pop(), "questions.json", "42001", "annotations.json"),
    "no question": (lambda q, a: q["questions"].pop(), "annotations.json", "42001", "questions.json"),
    "another image": (lambda q, a: a["annotations"][0].update(image_id=42), "annotations.json", "458752000", "42"),
    "no text": (lambda q, a: q["questions"][0].update(question=7), "questions.json", "458752000", "'question'"),
    "a long text": (lambda q, a: q["questions"][0].update(question="x" * 5000), "questions.json", "1,000 letters"),
    "half a letter": (lambda q, a: q["questions"][0].update(question="is \ud800"), "questions.json", "cannot be shown"),
    "no answers": (lambda q, a: a["annotations"][1].update(answers=[]), "annotations.json", "42001", "'answers'"),
    "a thousand": (lambda q, a: a["annotations"][1].update(answers=[{}] * 1000), "annotations.json", "1 to 100"),
    "no answer": (lambda q, a: a["annotations"][1].update(answers=["yes"]), "annotations.json", "'answer'"),
    "no type": (lambda q, a: drop(a["annotations"][0], "question_type"), "annotations.json", "'question_type'"),
    "no image": (lambda q, a: drop(q["questions"][0], "image_id"), "questions.json", "image_id"),
    "a missing image": (
        lambda q, a: [part.update(image_id=7) for part in (q["questions"][0], a["annotations"][0])],
        "train2014",
        "image_id 7",
        "000000000007.jpg",
    ),
    "a list of images": (lambda q, a: q.update(images=[{"id": 42, "file_name": "x"}]), "x", "does not exist"),
    "images elsewhere": (lambda q, a: q.update(images=[{"id": 42, "file_name": "../x.jpg"}]), "questions.json", "../x"),
    "no images": (lambda q, a: q.update(images=[]), "questions.json", "image_id 42", "'images'"),
    "an odd image": (lambda q, a: q.update(images=[3]), "questions.json", "images[0]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_belong_together_is_one_sentence(tmp_path: Path, fault: str) -> None:
    questions, annotations = official(tmp_path)
    spoil, *named = FAULTS[fault]
    spoil(questions, annotations)
    with pytest.raises(InputError) as raised:
        read_questions(*write(tmp_path, questions, annotations))
    assert all(word in str(raised.value) for word in named), str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_huge_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path, *official(tmp_path))
    monkeypatch.setattr(vqa, "MOST", 1)
    with pytest.raises(InputError, match=r"questions\.json: holds 2 questions, and 1 are the most"):
        read_questions(*files)
    monkeypatch.setattr(vqa, "LARGEST", 100)
    with pytest.raises(InputError, match=r"questions\.json: .* check that it is the right file"):
        read_questions(*files)


def test_two_photographs_of_one_number_cannot_be_told_apart(tmp_path: Path) -> None:
    files = write(tmp_path, *official(tmp_path))
    save_photo(tmp_path / "train2014/val/COCO_val2014_000000000042.jpg")
    with pytest.raises(InputError, match="both end in the number 42"):
        read_questions(*files)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/ü 7.png"):
        save_photo(tmp_path / "photos" / name)
    made = [
        Made("b/ü 7.png", "is there a cat?", "is there", "yes/no", "no"),
        Made("a.jpg", "what is this?", "what is this", "other", "traffic light"),
        Made("a.jpg", "how many objects are there?", "how many", "number", "2"),
    ]
    write_questions(made, "train", tmp_path / "q.json", tmp_path / "a.json")
    asked, photos = read_questions(tmp_path / "q.json", tmp_path / "a.json", tmp_path / "photos")
    assert [photo.path.relative_to(tmp_path / "photos").as_posix() for photo in photos] == ["a.jpg", "b/ü 7.png"]
    assert asked[1] == Question(1, 0, "what is this?", "what is this", "other", ("traffic light",) * 10)
    assert [question.photo for question in asked] == [1, 0, 0]
    annotation = json.loads((tmp_path / "a.json").read_text())["annotations"][2]
    assert annotation["multiple_choice_answer"] == "2"
    assert annotation["answers"][9] == {"answer_id": 10, "answer": "2", "answer_confidence": "yes"}


MASK = np.zeros((20, 20), np.uint8)
MASK[2:8, 1:5] = 1  # one cat,
MASK[10:16, 1:5] = 1  # another,
MASK[16, 5] = 1  # which touches this pixel by a corner,
MASK[0, 19] = 1  # and a speck that is no object
MASK[4:8, 12:19] = 2
MASK[4:8, 15] = 255  # void parts the dog into two


def test_objects_are_connected_and_no_specks() -> None:
    assert vqa_rules.objects_of(MASK, CLASSES) == {"cat": 2, "dog": 2}
    centres = vqa_rules.centres_of(MASK, CLASSES)
    cats = np.nonzero(MASK == 1)[1].mean()
    assert centres == {"cat": pytest.approx((cats + 0.5) / 20), "dog": pytest.approx(15.5 / 20)}
    assert vqa_rules.objects_of(np.full((4, 4), 255, np.uint8), CLASSES) == {}


def test_the_rules_by_hand() -> None:
    groups = {"animal": frozenset(("cat", "dog"))}
    scene = Scene("a.jpg", frozenset(("cat", "dog")), {"cat": 2, "dog": 1}, {"cat": 0.2, "dog": 0.45})
    asked = {one.text: one.answer for one in questions_of(scene, CLASSES, groups)}
    assert asked == {
        "is there a cat?": "yes",
        "is there a dog?": "yes",
        "is there a traffic light?": "no",
        "how many objects are there?": "3",
        "how many animals are there?": "3",
        # Both are left of the middle, so neither side has one alone.
    }
    alone = Scene("a.jpg", frozenset(("cat",)), {"cat": 1}, {"cat": 0.39})
    more = {one.text: one.answer for one in questions_of(alone, CLASSES, groups)}
    assert more["what is this?"] == more["what animal is this?"] == more["what is on the left?"] == "cat"
    assert "what is on the right?" not in more
    middle = Scene("a.jpg", frozenset(("cat",)), {}, {"cat": 0.41})
    found = [one.text for one in questions_of(middle, CLASSES, groups)]
    assert not [text for text in found if "how many" in text or "left" in text]  # the mask hides the cat
    light = Scene("a.jpg", frozenset(("traffic light",)), {"traffic light": 1}, {})
    assert {one.text: one.answer for one in questions_of(light, CLASSES, groups)}["how many animals are there?"] == "0"
    assert [one.text for one in questions_of(Scene("a", frozenset(("cat",)), None, None), CLASSES, {})] == [
        "is there a cat?",
        "is there a dog?",
        "is there a traffic light?",
        "what is this?",
    ]


def made(counts: dict[str, int], text: str = "what?") -> list[Made]:
    return [
        Made(f"{answer}{n}", text, "what", "other", answer) for answer, count in counts.items() for n in range(count)
    ]


def test_balanced_questions_tell_nothing_to_the_blind() -> None:
    every = made({"a": 40, "b": 25, "c": 20, "d": 1}) + made({"yes": 3, "no": 9}, "is?") + made({"x": 9}, "why?")
    kept = balanced(every, 0)
    counts = Counter((one.text, one.answer) for one in kept)
    # Three times 20 questions of three answers have more bits than twice 25 of two: 66 against 35.
    assert counts == {("what?", answer): 20 for answer in "abc"} | {("is?", "yes"): 3, ("is?", "no"): 3}
    assert len({one.image for one in kept}) == len(kept)
    assert balanced(every, 0) == kept != balanced(every, 1)
    other = balanced(made({"a": 2, "c": 5, "d": 8}) + made({"yes": 4}, "is?"), 0, vqa_rules.answers_of(kept))
    assert Counter(one.answer for one in other) == {"a": 2, "c": 2}  # b does not occur, d was not chosen


def test_english_is_regular() -> None:
    assert [vqa_rules.plural(word) for word in ("dog", "bus", "box", "brush", "berry", "toy")] == [
        *("dogs", "buses", "boxes", "brushes", "berries", "toys"),
    ]
    assert [vqa_rules.article(word) for word in ("dog", "aeroplane", "Umbrella")] == ["a", "an", "an"]


def test_groups_are_read(tmp_path: Path) -> None:
    path = tmp_path / "groups.txt"
    path.write_text("# mine\n\nanimal: cat, dog,\nthing : traffic light,cat\n")
    groups = read_groups(path, CLASSES)
    assert groups == {"animal": {"cat", "dog"}, "thing": {"traffic light", "cat"}}
    for text, named in {
        "animal cat dog": "line 1",
        ": cat, dog": "line 1",
        "animal: cat, unicorn": "unicorn",
        "animal: cat, background": "background",
        "animal: cat": "has 1 classes",
        "a: cat, dog\n\na: cat, dog": "(line 3)",
        "# nothing": "names no group",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError) as raised:
            read_groups(path, CLASSES)
        assert str(path) in str(raised.value)
        assert named in str(raised.value)
