"""How the text of a table becomes labels, or is doubted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsrg.data.divide import DIVIDERS, Doubt, divide


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["traffic light;", "cat;dog", "traffic light"], [("traffic light",), ("cat", "dog"), ("traffic light",)]),
        (["cat dog", "cat;cow", "dog"], [("cat", "dog"), ("cat", "cow"), ("dog",)]),
        (["golden retriever", "husky|poodle"], [("golden retriever",), ("husky", "poodle")]),
        (["cat/dog;", "black & white;cat"], [("cat/dog",), ("black & white", "cat")]),
        (["cat cat", ";cat;;cat"], [("cat",), ("cat",)]),
        (["", "  ", ";", "[]"], [(), (), (), ()]),
    ],
)
def test_the_table_as_a_whole_decides_on_blanks(texts: list[str], labels: list[tuple[str, ...]]) -> None:
    assert divide(texts)[0] == labels


def test_a_text_that_others_contradict_is_doubtful() -> None:
    (doubt, _), _ = divide(["cat light", "cat;dog"])
    assert isinstance(doubt, Doubt)
    _, doubt = divide(["cat, dog", "cow|dog"])[0]
    assert isinstance(doubt, Doubt)


def test_known_names_stand_alone_and_decide_between_dividers() -> None:
    known = ("background", "cat, wild", "dog", "traffic light")
    assert divide(["cat, wild", "cat, wild;dog", "cat, wild;", "traffic light", "dog, traffic light"], known)[0] == [
        ("cat, wild",),
        ("cat, wild", "dog"),
        ("cat, wild",),
        ("traffic light",),
        ("dog", "traffic light"),
    ]


def test_na_is_a_label_where_a_list_of_classes_or_a_semicolon_says_so() -> None:
    assert divide(["na", "cat na", "NA;"], ("cat", "na"))[0] == [("na",), ("cat", "na"), ("NA",)]


word = st.text(st.characters(categories=("L", "Nd")), min_size=1, max_size=6).filter(
    lambda text: text.casefold() not in ("and", "or", "nan", "na", "null", "none") and text == text.strip()
)


names = st.lists(word, min_size=1, max_size=5, unique=True)


@given(
    st.lists(names, min_size=1, max_size=8),
    st.sampled_from([*DIVIDERS, "json", "python", " "]),
    st.sampled_from(["", " "]),
)
def test_what_was_joined_is_divided(rows: list[list[str]], mark: str, margin: str) -> None:
    """Whatever joins the labels of a table, the same labels come back, with the classes known or not."""
    if mark == "json":
        texts = [json.dumps(row) for row in rows]
    elif mark == "python":
        texts = [repr(row) for row in rows]
    else:
        texts = [f"{margin}{mark}{margin}".join(row) for row in rows]
    expected = [tuple(row) for row in rows]
    assert divide(texts)[0] == expected
    assert divide(texts, {name for row in rows for name in row})[0] == expected


@given(st.lists(st.text(max_size=20), max_size=5))
def test_any_text_is_divided_into_names_or_doubted(texts: list[str]) -> None:
    for own in divide(texts)[0]:
        if isinstance(own, Doubt):
            assert "\n" not in own
            continue
        assert len(set(own)) == len(own)
        assert all(
            label == label.strip() and label and len(label.splitlines()) == 1 and ";" not in label for label in own
        )
