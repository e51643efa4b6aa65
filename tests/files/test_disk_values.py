"""Texts and values that a file can hold only in another form."""

import json
import os
from pathlib import Path

import pytest

from dsrg.errors import InputError
from dsrg.files import disk


def test_a_name_that_is_not_utf_8_is_written_as_it_is_shown(tmp_path: Path) -> None:
    disk.write_text(tmp_path / "report.html", "Krähe " + os.fsdecode(b"k\xe4se"))
    assert (tmp_path / "report.html").read_bytes() == "Krähe k\\udce4se".encode()


def test_numbers_that_json_lacks_are_null_and_can_be_read_back(tmp_path: Path) -> None:
    disk.write_json(tmp_path / "a.json", {"a": [float("nan"), float("inf"), -float("inf"), 1e308]})
    assert disk.read_json(tmp_path / "a.json") == {"a": [None, None, None, 1e308]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9" * 5000, "a number of thousands of digits"),
        ("[" * 100_000, "nested too deeply"),
        ("[NaN]", "NaN is no number of JSON"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
    ],
    ids=["digits", "deep", "NaN", "open", "empty"],
)
def test_json_that_is_none_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError) as caught:
        disk.read_json(tmp_path / "a.json", "record")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ")
    assert said in str(caught.value)
    assert "sys." not in str(caught.value)
    assert str(caught.value).endswith("replace the record.")


def test_what_is_written_is_plain_json(tmp_path: Path) -> None:
    disk.write_json(tmp_path / "a.json", {"name": os.fsdecode(b"k\xe4se"), "猫": (1, 2)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": "k\udce4se", "猫": [1, 2]}
