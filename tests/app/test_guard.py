"""Whom the page answers, and how much it takes, whatever stands behind the guard."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from dsrg.app.guard import HEADERS, MOST_BODY, Guard, Receive, Scope, Send
from dsrg.app.scratch import Room

MOST = 1000


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole request and says how long it was."""
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"ALLOWALL")]})
    await send({"type": "http.response.body", "body": str(length).encode()})


def ask(
    guard: Guard,
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/",
    bodies: tuple[bytes, ...] = (b"",),
    kind: str = "http",
) -> tuple[int, dict[str, str], bytes]:
    sent: list[MutableMapping[str, Any]] = []
    parts = iter(range(len(bodies)))

    async def receive() -> dict[str, Any]:
        place = next(parts)
        return {"type": "http.request", "body": bodies[place], "more_body": place + 1 < len(bodies)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers]
    asyncio.run(guard({"type": kind, "method": method, "path": path, "headers": raw}, receive, send))
    if kind == "websocket":
        return sent[0]["code"], {}, b""
    names = [name.lower() for name, _ in sent[0]["headers"]]
    assert len(set(names)) == len(names)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, sent[1]["body"]


def make(tmp_path: Path, listening: str = "127.0.0.1", *hosts: str, room: int = 10_000) -> Guard:
    bounded = Room(tmp_path)
    bounded.most_bytes = room
    return Guard(page, hosts=hosts, listening=listening, room=bounded, most_upload=MOST)


OURS = ("localhost", "localhost:7860", "LOCALHOST:1", "127.0.0.1:7860", "[::1]:7860", "[::1]", "localhost.:80")
FOREIGN = (
    "evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:localhost",
    "localhost@evil.example", "evil.example#localhost", "", ":7860", "[::1", "192.168.1.5:7860", "0.0.0.0:7860",
)  # fmt: skip


@pytest.mark.parametrize("host", OURS)
def test_local_names_are_answered(tmp_path: Path, host: str) -> None:
    assert ask(make(tmp_path), ("host", host))[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_names_are_refused(tmp_path: Path, host: str, method: str) -> None:
    status, _, body = ask(make(tmp_path), ("host", host), method=method)
    assert status == 403
    assert b"does not answer to that name; whoever runs it may add it with --allow-host." in body


def test_no_name_or_two_are_refused(tmp_path: Path) -> None:
    assert ask(make(tmp_path))[0] == 403
    assert ask(make(tmp_path), ("host", "localhost"), ("host", "evil.example"))[0] == 403


def test_websockets_are_held_to_the_same(tmp_path: Path) -> None:
    assert ask(make(tmp_path), ("host", "evil.example"), kind="websocket")[0] == 1008


@pytest.mark.parametrize(
    ("listening", "hosts", "host", "status"),
    [
        ("127.0.0.1", ("masks.example",), "masks.example:443", 200),
        ("127.0.0.1", ("masks.example",), "evil.example", 403),
        ("lab.example", (), "lab.example:7860", 200),
        ("192.168.1.5", (), "192.168.1.5:7860", 200),
        ("192.168.1.5", (), "192.168.1.6:7860", 403),
        ("0.0.0.0", (), "192.168.1.5:7860", 200),
        ("::", (), "[fe80::1]:7860", 200),
        ("0.0.0.0", (), "evil.example", 403),
        ("0.0.0.0", (), "192.168.1.5.evil.example", 403),
    ],
)
def test_names_that_were_given(tmp_path: Path, listening: str, hosts: tuple[str, ...], host: str, status: int) -> None:
    assert ask(make(tmp_path, listening, *hosts), ("host", host))[0] == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example:7860", "http://["])
def test_what_another_page_sends_is_refused(tmp_path: Path, origin: str) -> None:
    headers = (("host", "localhost:7860"), ("origin", origin))
    assert ask(make(tmp_path), *headers, method="POST")[0] == 403
    assert ask(make(tmp_path), headers[0], ("origin", "http://localhost:7860"), method="POST")[0] == 200


def test_every_answer_has_the_headers(tmp_path: Path) -> None:
    for host in ("localhost", "evil.example"):
        _, headers, _ = ask(make(tmp_path), ("host", host))
        named = {name.lower(): value for name, value in headers.items()}
        assert HEADERS.items() <= named.items()
    assert named["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in named["content-security-policy"]


UPLOAD = {"method": "POST", "path": "/gradio_api/upload"}
LOCAL = ("host", "localhost")


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
def test_a_request_is_bounded(tmp_path: Path, announced: bool) -> None:
    def length(count: int) -> tuple[tuple[str, str], ...]:
        return (LOCAL, ("content-length", str(count))) if announced else (LOCAL,)

    guard = make(tmp_path)
    status, _, body = ask(guard, *length(MOST), **UPLOAD, bodies=(bytes(MOST // 2),) * 2)  # type: ignore[arg-type]
    assert (status, body) == (200, str(MOST).encode())
    status, _, body = ask(guard, *length(MOST + 1), **UPLOAD, bodies=(bytes(MOST), b"1"))  # type: ignore[arg-type]
    assert (status, body) == (413, b"A request may have 1,000 bytes at most.\n")
    other = {"method": "POST", "path": "/gradio_api/queue/join"}
    assert ask(guard, *length(MOST + 1), **other, bodies=(bytes(MOST), b"1"))[0] == 200  # type: ignore[arg-type]
    large = (bytes(MOST_BODY), b"1")
    assert ask(guard, *length(MOST_BODY + 1), **other, bodies=large)[0] == 413  # type: ignore[arg-type]


def test_uploads_are_bounded_in_sum(tmp_path: Path) -> None:
    guard = make(tmp_path, room=2000)
    (tmp_path / "old.jpg").write_bytes(bytes(1500))
    assert ask(guard, LOCAL, ("content-length", "800"), **UPLOAD, bodies=(bytes(800),))[0] == 200  # type: ignore[arg-type]
    assert not (tmp_path / "old.jpg").exists(), "the oldest goes"
    with guard.room.reserved(1500):
        status, _, body = ask(guard, LOCAL, ("content-length", "800"), **UPLOAD)  # type: ignore[arg-type]
    assert (status, body) == (503, b"Too many files are being sent at a time; try again in a minute.\n")
