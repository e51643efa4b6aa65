"""Readers of labels, lists and annotations set their bounds before they work: a small file asks for no gigabytes."""

import gzip
import io
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from dsrg.data.annotations import read_label_names
from dsrg.data.array_pickle import read_arrays
from dsrg.data.classes import read_classes
from dsrg.data.cues import read_cues
from dsrg.data.voc_sbd import read_sbd_mask
from dsrg.errors import InputError
from dsrg.labels import Classes

FEW = Classes(("background", "cat", "dog"))


def many_classes() -> bytes:
    return b"background\n" + b"\n".join(b"c%d" % number for number in range(100_000))


def entities() -> bytes:
    lines = ["<!ENTITY a0 'aaaaaaaaaa'>"]
    lines += [f"<!ENTITY a{k + 1} '{f'&a{k};' * 10}'>" for k in range(9)]
    return (
        f"<!DOCTYPE annotation [{''.join(lines)}]><annotation><object><name>&a9;</name></object></annotation>".encode()
    )


def many_objects() -> bytes:
    return b"<annotation>" + b"<object/>" * 30_000 + b"</annotation>"


def deep_elements() -> bytes:
    return b"<a>" * 100_000


def many_lists() -> bytes:
    return b"\x80\x02" + b"]" * 20_000 + b"."


def many_copies() -> bytes:
    """A text of a megabyte, kept once and made into bytes again and again."""
    text = b"X" + (1_000_000).to_bytes(4, "little") + b"a" * 1_000_000 + b"q\x00"
    again = b"c_codecs\nencode\nh\x00U\x06latin1\x86R"
    return b"\x80\x02" + text + again * 50 + b"."


def large_mat() -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"GTcls": np.zeros((2_000, 2_000), np.uint8)}, do_compression=True)
    return buffer.getvalue()


BOMBS: list[tuple[Callable[[Path], object], Callable[[], bytes], str]] = [
    (read_classes, many_classes, "100,001 classes are listed, and 30,000 are the most"),
    (read_classes, lambda: b"background\n" + b"c" * 2_000_000, "a class list may have 1"),
    (read_classes, lambda: b"background\n" + b"c" * 5000, "has 5000 letters, and 100 are the most"),
    (read_classes, lambda: b"background\nc\x1b[2Jat", "holds a control character"),
    (lambda path: read_label_names(path, ""), entities, "it defines a document type"),
    (lambda path: read_label_names(path, ""), many_objects, "names 30,000 objects, and 20,000 are the most"),
    (lambda path: read_label_names(path, ""), deep_elements, "not valid XML"),
    (
        lambda path: read_label_names(path, ""),
        lambda: b"<a>" + b" " * 2**25,
        "an annotation may have 16|a annotation may",
    ),
    (read_arrays, many_lists, "more than 10,000 opcodes"),
    (read_arrays, many_copies, "arrays of more than 16,777,216 bytes"),
    (read_arrays, lambda: gzip.compress(bytes(2**24 + 9)), "more than 16,777,216 bytes when unpacked"),
    (read_sbd_mask, large_mat, "it unpacks to more than 1,048,576 bytes"),
]


@pytest.mark.parametrize(("read", "make", "message"), BOMBS)
def test_bombs_are_refused_within_bounds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: Callable[[Path], object],
    make: Callable[[], bytes],
    message: str,
) -> None:
    monkeypatch.setattr("dsrg.data.array_pickle.LARGEST", 2**24)  # the real ones would take the test seconds
    monkeypatch.setattr("dsrg.data.array_pickle.MOST_STEPS", 10_000)
    monkeypatch.setattr("dsrg.data.matlab.LARGEST_UNPACKED", 2**20)
    path = tmp_path / "file"
    path.write_bytes(make())
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_cues_of_more_images_than_any_set_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = {"labels": np.zeros(0, np.int64), "cues": np.zeros((3, 0), np.int64)}
    path = tmp_path / "cues"
    path.write_bytes(pickle.dumps({f"{n}_{what}": array for n in range(3) for what, array in empty.items()}))
    assert len(read_cues(path, FEW)) == 3
    monkeypatch.setattr("dsrg.data.cues.MOST_IMAGES", 2)
    with pytest.raises(InputError, match="holds cues of 3 images, and 2 are the most"):
        read_cues(path, FEW)
    path.write_bytes(pickle.dumps({"0_labels": empty["labels"], "0_cues": np.zeros((3, 1682), np.int64)}))
    with pytest.raises(InputError, match="has 5,046 numbers, more than a grid of 41 x 41 can take"):
        read_cues(path, FEW)


def test_many_images_of_shared_arrays_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arrays recalled under many keys: a file of 60 MB asked for 6.6 GB."""
    monkeypatch.setattr("dsrg.data.cues.MOST_IMAGES", 5_000)
    empty = {"labels": np.zeros(0, np.int64), "cues": np.zeros((3, 0), np.int64)}
    content = {f"{n}_{what}": array for n in range(20_000) for what, array in empty.items()}
    path = tmp_path / "cues"
    path.write_bytes(pickle.dumps(content))
    tracemalloc.start()
    with pytest.raises(InputError, match="holds cues of 20,000 images, and 5,000 are the most"):
        read_cues(path, FEW)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()
