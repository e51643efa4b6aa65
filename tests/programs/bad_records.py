"""Records that are not what they should be: what a disk, an editor or an old program leaves in place of stage.json."""

import json
from typing import Any

WHOLE: dict[str, Any] = {"finished": True, "seconds": 1.0, "figures": {}, "settings": {"seed": 0}}


def _but(**values: object) -> bytes:
    return json.dumps(WHOLE | values).encode()


def _without(key: str) -> bytes:
    return json.dumps({name: value for name, value in WHOLE.items() if name != key}).encode()


RECORDS: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n",
    "list": b"[]",
    "null": b"null",
    "number": b"1",
    "text": b'"finished"',
    "object without keys": b"{}",
    "nul": bytes(80),
    "nul behind": json.dumps(WHOLE).encode() + bytes(10),
    "not utf8": b"\xff\xfe{",
    "utf16": json.dumps(WHOLE).encode("utf-16"),
    "torn": json.dumps(WHOLE).encode()[:30],
    "two": json.dumps(WHOLE).encode() * 2,
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "huge integer": b'{"finished": true, "seconds": ' + b"9" * 10_000 + b"}",
    "infinite": b'{"finished": true, "seconds": 1e999, "figures": {}, "settings": {}}',
    "not a number": b'{"finished": true, "seconds": NaN, "figures": {}, "settings": {}}',
    **{f"without {key}": _without(key) for key in WHOLE},
    **{f"{key} null": _but(**{key: None}) for key in WHOLE},
    **{f"{key} a list": _but(**{key: [1]}) for key in WHOLE},
    **{f"{key} a text": _but(**{key: "true"}) for key in WHOLE},
    "finished a number": _but(finished=1),
    "seconds negative": _but(seconds=-1),
    "a figure a text": _but(figures={"retrain_miou": "x"}),
    "a figure a list": _but(figures={"retrain_iou": [0.5]}),
    "a figure true": _but(figures={"retrain_miou": True}),
    "contents a list": _but(contents=["train"]),
    "contents numbers": _but(contents={"photographs": 5}),
    "settings of nothing": _but(settings={}),
    "settings of another kind": _but(settings={"seed": [0], "model.weights": {"a": 1}}),
}
"""The content of the file, by what is wrong with it."""

LOGS: dict[str, bytes] = {
    "empty": b"",
    "nul": bytes(80),
    "nul before a line": bytes(20) + b'{"iteration": 1, "loss": 1.0, "lr": 1.0}\n',
    "brace": b"}\n",
    "not utf8": b"\xff\xfe\n",
    "no iteration": b'{"loss": 1}\n',
    "list": b"[]}\n",
    "torn": b'{"iteration": 1, "lo',
    "text": b'{"iteration": "x"}\n',
    "word": b"hello}\n",
    "deep": b"[" * 100_000 + b"\n",
    "blank line": b'\n\n{"iteration": 1, "loss": 1.0, "lr": 1.0}\n',
    "falling": b'{"iteration": 2, "loss": 1.0, "lr": 1.0}\n{"iteration": 1, "loss": 1.0, "lr": 1.0}\n',
    "not finite": b'{"iteration": 1, "loss": Infinity, "lr": 1.0}\n',
}
"""Likewise, of metrics.jsonl."""
