"""A small Hugging Face Hub on this machine: repositories are made, committed to in one request, and read back."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_test"


class Hub(ThreadingHTTPServer):
    """The server; `files` are those of each repository and revision."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._get(head=True)

    def do_GET(self) -> None:
        self._get(head=False)

    def do_POST(self) -> None:
        encoding = self.headers.get("Transfer-Encoding", "")
        body = self._chunks() if "chunked" in encoding else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'owner'}/{asked['name']}"
            self.server.files.setdefault((name, "main"), {})
            private = asked.get("private") or asked.get("visibility") == "private"  # of older libraries and newer
            self.server.private.setdefault(name, bool(private))
            return self._send(200, {"url": f"{self.server.address}/{name}", "name": name})
        if path == "/api/validate-yaml":
            front = json.loads(body)["content"].startswith("---\n")
            return self._send(200, {"errors": [] if front else [{"message": "no front matter"}], "warnings": []})
        repo, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
        if rest:
            files = [{"path": one["path"], "uploadMode": "regular"} for one in json.loads(body)["files"]]
            return self._send(200, {"files": [one | {"shouldIgnore": False, "oid": None} for one in files]})
        repo, _, revision = path.removeprefix("/api/models/").partition("/commit/")
        for line in body.splitlines():
            one = json.loads(line)
            if one["key"] == "header":
                self.server.commits.append(one["value"]["summary"])
            if one["key"] == "file":
                content = base64.b64decode(one["value"]["content"])
                self.server.files[repo, revision][one["value"]["path"]] = content
        oid = "1" * 40
        return self._send(200, {"commitUrl": f"{self.server.address}/{repo}/commit/{oid}", "commitOid": oid})

    def _get(self, *, head: bool) -> None:
        path = unquote(self.path).lstrip("/")
        if path.startswith("api/whoami"):
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            return self._send(200 if known else 401, {"name": "owner", "orgs": []} if known else {"error": "no"})
        repo, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        if not any(name == repo for name, _ in self.server.files):
            return self._send(404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        if (repo, revision) not in self.server.files:
            return self._send(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        if file not in self.server.files[repo, revision]:
            return self._send(404, {"error": "no"}, {"X-Error-Code": "EntryNotFound"})
        content = self.server.files[repo, revision][file]
        digest = hashlib.sha1(content).hexdigest()
        more = {"ETag": f'"{digest}"', "X-Repo-Commit": hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()}
        return self._send(200, b"" if head else content, more, length=len(content))

    def _chunks(self) -> bytes:
        found = []
        while count := int(self.rfile.readline(), 16):
            found.append(self.rfile.read(count))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(found)

    def _send(self, status: int, said: Any, more: dict[str, str] | None = None, length: int | None = None) -> None:
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for key, value in (more or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(said, bytes) else "application/json")
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def running() -> Iterator[Hub]:
    """The server while it runs."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()
