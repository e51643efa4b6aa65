"""What stands between the page and the network: whom it answers, what browsers may do with it, how much it takes.

An ASGI middleware (https://asgi.readthedocs.io), free of the page's own software.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from dsrg.app.scratch import Room

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Names of this machine that are always answered."""
EVERYWHERE = ("0.0.0.0", "::", "")  # compared with, not listened on
"""Addresses to listen on that stand for all of the machine's own."""
UPLOAD = "/upload"
"""Ends the path to which files are sent."""
MOST_BODY = 2**22
"""Bytes that any other request may have."""
HEADERS = {
    # The page's own scripts and styles are partly inline; nothing else is fetched, and from nowhere else.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' "
    "'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every answer."""


class Guard:
    """Lets through what is meant for this page, within bounds.

    A page of somebody else's may make its name point to this machine (DNS rebinding) and then read what it likes as if
    it were this page; its requests bear its name. And forms of any page may send files here; theirs bear its origin.

    Args:
        app: The page.
        hosts: Names that are answered besides LOCAL.
        listening: The address that is listened on. Where it stands for all of the machine's, addresses of figures are
            answered too: they are no names, which could point elsewhere.
        room: Bounds what is kept of uploads, all visitors' together.
        most_upload: Bytes that one request with files may have.
    """

    def __init__(self, app: App, *, hosts: Iterable[str], listening: str, room: Room, most_upload: int) -> None:
        self.app = app
        self.hosts = {host.lower() for host in (*LOCAL, listening, *hosts)} - set(EVERYWHERE)
        self.any_address = listening in EVERYWHERE
        self.room = room
        self.most_upload = most_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _refuse(scope, send, *refusal)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self._bounded(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence, where the request is not for this page or from it."""
        names = _values(scope, b"host")
        if len(names) != 1 or not self._is_ours(f"//{names[0]}"):
            return 403, "This page does not answer to that name; whoever runs it may add it with --allow-host."
        for origin in _values(scope, b"origin") if scope.get("method", "GET") not in ("GET", "HEAD") else ():
            if not self._is_ours(origin):
                return 403, "This page takes nothing that another page sends."
        return None

    def _is_ours(self, address: str) -> bool:
        """Whether the name in an address, with or without a port, is this page's."""
        try:
            host = (urlsplit(address).hostname or "").rstrip(".")
            return host in self.hosts or (self.any_address and bool(ipaddress.ip_address(host)))
        except ValueError:  # no address, or no name and no figures
            return False

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        uploads = scope.get("method") == "POST" and scope["path"].rstrip("/").endswith(UPLOAD)
        most = self.most_upload if uploads else MOST_BODY
        (length, *_) = [int(text) for text in _values(scope, b"content-length") if text.isdecimal()] or [most]
        if length > most:
            await _refuse(scope, send, 413, f"A request may have {most:,} bytes at most.")
            return
        counted = _Counted(receive, send, most)
        try:
            if not uploads:
                await self.app(scope, counted.receive, counted.send)
                return
            with self.room.reserved(length) as there:
                if there:
                    await self.app(scope, counted.receive, counted.send)
                else:
                    await _refuse(scope, send, 503, "Too many files are being sent at a time; try again in a minute.")
        except _TooLargeError:
            if not counted.started:
                await _refuse(scope, send, 413, f"A request may have {most:,} bytes at most.")


class _TooLargeError(Exception):
    """A request has more bytes than it may."""


class _Counted:
    """A request whose bytes are counted as they come, for it may announce none."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most
        self.started = False

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _TooLargeError
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.started = True
        await self._send(message)


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            ours = {name.encode(): value.encode() for name, value in HEADERS.items()}
            theirs = [pair for pair in message.get("headers", ()) if pair[0].lower() not in ours]
            message = {**message, "headers": [*theirs, *ours.items()]}
        await send(message)

    return sent


async def _refuse(scope: Scope, send: Send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    send = _with_headers(send)
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": sentence.encode() + b"\n"})


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
