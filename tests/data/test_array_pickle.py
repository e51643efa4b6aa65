"""Pickles of arrays are read without running anything: pickle itself is the oracle, marker files the witnesses."""

import gzip
import io
import os
import pickle
import pickletools
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dsrg.data import array_pickle
from dsrg.data.array_pickle import read_arrays
from dsrg.errors import InputError

KINDS = ("bool", "i1", "<i2", ">i4", "<i8", "u1", ">u2", "<u4", "u8", "<f2", ">f4", "f8")
ARRAYS = st.sampled_from(KINDS).flatmap(
    lambda kind: npst.arrays(np.dtype(kind), npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
IN_ONE_FOLDER = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_arrays(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@IN_ONE_FOLDER
@given(
    values=st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4),
    protocol=st.integers(0, 5),
    turned=st.booleans(),
    packed=st.booleans(),
    old=st.booleans(),
)
def test_reads_what_pickle_wrote(
    tmp_path: Path, values: dict[str, np.ndarray], protocol: int, turned: bool, packed: bool, old: bool
) -> None:
    values = {key: np.asfortranarray(value) if turned else value for key, value in values.items()}
    content = pickle.dumps(values, protocol=protocol)
    if old and protocol < 4:  # where names are lines of text, NumPy 1's are easily written
        content = content.replace(b"cnumpy._core.", b"cnumpy.core.")
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    read = read_arrays(tmp_path / "a")
    assert list(read) == list(values)
    for key, value in values.items():
        assert read[key].dtype == value.dtype
        np.testing.assert_array_equal(read[key], value, strict=True)


def test_plain_values_are_read_too(tmp_path: Path) -> None:
    values = {
        "a": 1,
        "b": -(2**70),
        "c": 1.5,
        "d": "ä",
        "e": (1, (2, "x"), ()),
        "f": [None, True, [b"\xff"]],
        "g": {"h": {}},
    }
    for protocol in range(6):
        (tmp_path / "a").write_bytes(pickle.dumps(values, protocol=protocol))
        assert read_arrays(tmp_path / "a") == values


def test_text_of_python_2_is_the_bytes_of_an_array(tmp_path: Path) -> None:
    # As Python 2 wrote it: SHORT_BINSTRING for the type's name, its order and the array's bytes.
    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    content = (
        b"\x80\x02}" + text(b"0_labels") + b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85"
        b"U\x01b\x87Rq\x03(K\x01K\x02\x85cnumpy\ndtype\nq\x04" + text(b"i8") + b"K\x00K\x01\x87Rq\x05(K\x03"
        b"U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(struct.pack("<qq", 200, -1)) + b"tbs."
    )
    (tmp_path / "a").write_bytes(content)
    expected = pickle.loads(content, encoding="latin1")["0_labels"]
    np.testing.assert_array_equal(read_arrays(tmp_path / "a")["0_labels"], expected, strict=True)
    assert expected.tolist() == [200, -1]


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def in_an_object_array(value: object) -> np.ndarray:
    array = np.empty(1, object)
    array[0] = value
    return array


NESTS: dict[str, Callable[[object], object]] = {
    "bare": lambda value: value,
    "value": lambda value: {"0_labels": value},
    "second": lambda value: {"0_labels": np.array([1]), "0_cues": value},
    "list": lambda value: {"0_labels": [1, (2, [value])]},
    "object array": lambda value: {"0_labels": in_an_object_array(value)},
    "shape": lambda value: {"0_labels": Calls(np.zeros, value)},
    "type": lambda value: {"0_labels": Calls(np.dtype, "i8", value)},
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("how", ["touch", "system", "eval"])
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path, how: str, nest: str, protocol: int) -> None:
    victim = tmp_path / "victim"
    value = {
        "touch": Calls(Path.touch, victim),
        "system": Calls(os.system, f"touch '{victim}'"),
        "eval": Calls(eval, f"__import__('pathlib').Path({str(victim)!r}).touch()"),
    }[how]
    content = pickle.dumps(NESTS[nest](value), protocol=protocol)
    reason = "type 'O8', which is no number" if nest == "object array" else "nothing of it was run"
    assert reason in refusal(tmp_path / "cues.pickle", content)
    assert reason in refusal(tmp_path / "cues.pickle.gz", gzip.compress(content))
    assert not victim.exists()
    if nest in ("bare", "value", "second", "list", "object array"):
        pickle.loads(content)
        assert victim.exists(), "the file was not hostile at all"


SHORT = b"\x8c"


def string(text: str) -> bytes:
    return SHORT + bytes([len(text)]) + text.encode()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"cposix\nsystem\n(S'true'\ntR.", "posix.system"),
        (b"(S'true'\nios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"\x80\x02(cnumpy\nndarray\nK\x01o.", "OBJ"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"\x80\x04cnumpy\nndarray\n)}\x92.", "NEWOBJ_EX"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"P1\n.", "PERSID"),
        (b"\x80\x02K\x01Q.", "BINPERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"\x80\x04" + string("numpy") + string("load") + b"\x93.", "numpy.load"),
        (b"\x80\x04" + string("numpy") + string("dtype.__init__.__globals__") + b"\x93.", "dtype.__init__"),
        (b"\x80\x04" + string("numpy.ndarray") + string("tofile") + b"\x93.", "numpy.ndarray.tofile"),
        (b"\x80\x04" + string("builtins") + string("getattr") + b"\x93.", "builtins.getattr"),
        (b"\x80\x04" + string("a\x1b[2J\n") + string("b") + b"\x93.", r"\x1b[2J\n"),
        (b"\x80\x04K\x01" + string("b") + b"\x93.", "''"),
        # Names that are known, called otherwise than for an array.
        (b"\x80\x02cnumpy\nndarray\nK\x05\x85R.", "a call of 'ndarray'"),
        (b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00U\x01b\x87R.", "'_reconstruct'"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "a call of 'encode'"),
        (b"\x80\x02c__builtin__\nbytes\nK\x05\x85R.", "a call of 'bytes'"),
        (b"\x80\x02X\x01\x00\x00\x00a)R.", "a call of None"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "a state that is no array's"),
        (b"\x80\x02}}b.", "a state that is no array's"),
    ],
)
def test_what_no_array_needs_is_named(tmp_path: Path, content: bytes, named: str) -> None:
    message = refusal(tmp_path / "a", content)
    assert "nothing of it was run" in message
    assert named in message


def array(kind: str = "i8", shape: object = (1,), content: bytes = bytes(8), fields: object = None) -> bytes:
    """A pickle of one array, of parts that need not fit each other."""
    parts = [pickletools.optimize(pickle.dumps(part, protocol=2))[2:-1] for part in (kind, shape, fields)]
    raw = b"T" + struct.pack("<I", len(content)) + content
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    typed = b"cnumpy\ndtype\n" + parts[0] + b"\x85R(K\x03U\x01<N" + parts[2] + b"NK\x00K\x00K\x00tb"
    return b"\x80\x02}U\x01a" + made + b"(K\x01" + parts[1] + typed + b"\x89" + raw + b"tbs."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (array(shape=(2,)), "does not fit its content"),
        (array(shape=(10**15,)), "does not fit its content"),
        (array(shape=(0, 10**30), content=b""), "does not fit its content"),
        (array(shape=(-1,)), "does not fit its content"),
        (array(shape=(1.0,)), "does not fit its content"),
        (array(shape=(1,) * 64), "does not fit its content"),
        (array(shape=1), "an array that is none"),
        (array("O"), "type 'O', which is no number"),
        (array("V8"), "no number"),
        (array("S8"), "no number"),
        (array("M8[ns]"), "no number"),
        (array("i8,i8"), "no number"),
        (array(fields=("a",)), "an array of records"),
        (b"", "pickle exhausted before seeing STOP"),
        (b"no pickle at all", "not a readable pickle"),
        (b"\x80\x02K\x01.", "no dictionary"),
        (b"\x80\x02]K\x01a.", "no dictionary"),
        (b"\x80\x02K\x01}.", "no dictionary"),
        (b"\x80\x02.", "a value is missing"),
        (b"\x80\x02(.", "a value is missing"),
        (b"\x80\x02h\x05.", "never kept"),
        (b"\x80\x02t.", "a mark is missing"),
        (b"\x80\x02}K\x01K\x01s.", "keys are no names"),
        (b"\x80\x02}(K\x01u.", "keys are no names"),
        (b"\x80\x02)U\x01aK\x01s.", "keys are no names"),
        (b"\x80\x02}K\x01a.", "a list that is none"),
        (
            b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87Rs.",
            "without content",
        ),
        (b"I" + b"9" * 5000 + b"\n.", "not a readable pickle"),
    ],
)
def test_what_makes_no_arrays_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path / "a", content)


def test_a_key_whose_hash_takes_for_ever_is_refused_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    content = b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."  # ((((…), (…)), …): 2 to the 60th tuples
    assert "keys are no names" in refusal(tmp_path / "a", content)
    assert time.monotonic() - begun < 5


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_pickle, "LARGEST", 100_000)
    content = pickle.dumps({"a": np.zeros(10_000, np.uint8)})
    (tmp_path / "small").write_bytes(gzip.compress(content))
    assert read_arrays(tmp_path / "small")["a"].size == 10_000
    read: list[int] = []

    class Counted(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            part = super().read(size)
            read.append(len(part))
            return part

    monkeypatch.setattr(gzip, "GzipFile", Counted)
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    assert "has more than 100,000 bytes when unpacked" in refusal(tmp_path / "bomb.gz", bomb)
    assert sum(read) == 100_001  # and no more of the fifty million


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: the pickle does not exist"):
        read_arrays(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder; the pickle must be a file"):
        read_arrays(tmp_path)
    content = gzip.compress(pickle.dumps({"a": np.arange(300)}, protocol=2))
    for length in (2, 15, len(content) // 2, len(content) - 1):
        assert "not a readable pickle" in refusal(tmp_path / "a", content[:length])
    spoilt = bytearray(content)
    spoilt[-6] ^= 1  # the checksum
    assert "not a readable pickle" in refusal(tmp_path / "a", bytes(spoilt))


@IN_ONE_FOLDER
@given(
    protocol=st.sampled_from([0, 2, 5]),
    places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
)
def test_spoilt_bytes_end_in_one_sentence(tmp_path: Path, protocol: int, places: list[tuple[int, int]]) -> None:
    content = bytearray(
        pickle.dumps({"0_labels": np.array([3, 1]), "0_cues": np.zeros((3, 2), int)}, protocol=protocol)
    )
    for place, value in places:
        content[place % len(content)] = value
    (tmp_path / "a").write_bytes(content)
    try:
        read = read_arrays(tmp_path / "a")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(key, str) for key in read)


def test_what_is_read_shares_nothing_with_the_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump({"a": np.arange(3)}, buffer, protocol=5)
    (tmp_path / "a").write_bytes(buffer.getvalue())
    assert not read_arrays(tmp_path / "a")["a"].flags.writeable
