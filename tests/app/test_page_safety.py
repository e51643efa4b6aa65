"""The page against strangers: names that are not its own, uploads without end, and a process that is killed."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from helpers import make_voc
from page_run import LONG_SIDE, free_port, make_run

from dsrg.app.browser import Page
from dsrg.app.studio import Studio
from dsrg.commands import demo_app
from dsrg.run.folder import Run

pytestmark = pytest.mark.filterwarnings("ignore:::gradio")  # of its own use of pandas


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_voc(tmp_path_factory.mktemp("data"), {"train": ("t0",), "val": ("v0",)}, size=(LONG_SIDE, 45))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(data, tmp_path_factory.mktemp("run"), segmenter=False)


def start(run: Run, temporary: Path) -> tuple["subprocess.Popen[str]", str]:
    """The tool in a process of its own, with a folder for its temporary files; it and its address."""
    command = [sys.executable, "-m", "dsrg", "demo-app", "--run", str(run.directory), "--port", str(free_port())]
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in what a shell starts in the background
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    signal.signal(signal.SIGINT, ignored)
    assert server.stdout is not None
    address, _, rest = server.stdout.readline().partition(" ")
    assert rest == f"shows {run.directory}; Ctrl-C ends it\n"
    return server, address


def ask(address: str, path: str = "", files: Sequence[tuple[str, bytes]] = (), **headers: str) -> tuple[int, bytes]:
    """Status and body of a request to the page, which sends files where there are any."""
    request = urllib.request.Request(address.rstrip("/") + path, headers={k.title(): v for k, v in headers.items()})
    if files:
        head = '--divider\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\n'
        parts = [head.format(name).encode() + content + b"\r\n" for name, content in files]
        request.data = b"".join(parts) + b"--divider--\r\n"
        request.add_header("Content-Type", "multipart/form-data; boundary=divider")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_no_photograph_is_left_however_the_tool_ends(run: Run, tmp_path: Path, ending: signal.Signals) -> None:
    server, address = start(run, tmp_path)
    try:
        assert b"Masks from labels" in ask(address)[1]
        assert ask(address, "/gradio_api/upload", [("mine.jpg", b"a visitor's photograph")])[0] == 200
        assert len(list(tmp_path.rglob("mine.jpg"))) == 1
        server.send_signal(ending)
        out = server.communicate(timeout=60)[0]
        if ending == signal.SIGKILL:
            server, _ = start(run, tmp_path)
            assert len(list(tmp_path.glob("dsrg-app-*"))) == 1
        else:
            assert (out, server.returncode) == ("ended\n", 0)
            assert list(tmp_path.glob("dsrg-app-*")) == []
        assert list(tmp_path.rglob("mine.jpg")) == []
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def launched(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Page, str]]:
    """A page that is being served under a further name, and its address."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    page = Page(Studio(run), [], LONG_SIDE, tmp_path)
    yield page, demo_app.launch(page, "127.0.0.1", free_port(), ["masks.example"])
    page.blocks.close(verbose=False)


@pytest.mark.parametrize("path", ["", "/config", "/gradio_api/info", "/gradio_api/upload", "/no-such-page"])
def test_foreign_hosts_are_answered_nowhere(launched: tuple[Page, str], path: str) -> None:
    _, address = launched
    files = [("a.jpg", b"a")] if path.endswith("upload") else []
    for host in ("evil.example", "127.0.0.1.evil.example:7860", "192.168.1.5"):
        status, body = ask(address, path, files, host=host)
        assert (status, b"does not answer to that name" in body) == (403, True)
    for host in ("masks.example", "localhost", "[::1]:7860"):
        assert ask(address, path, files, host=host)[0] == (404 if path == "/no-such-page" else 200)
    if files:
        assert ask(address, path, files, origin="https://evil.example")[0] == 403


def test_1000_small_files_are_bounded_and_the_page_goes_on(
    launched: tuple[Page, str], data: Path, tmp_path: Path
) -> None:
    page, address = launched
    page.room.most_files = 60
    for turn in range(40):
        files = [(f"{number}.jpg", f"{turn} {number}".encode()) for number in range(25)]
        assert ask(address, "/gradio_api/upload", files)[0] == 200
        there = sum(len(names) for _, _, names in os.walk(tmp_path))
        assert there <= 60 + len(files), "what one request sends is counted when it ends"
    content = (data / "JPEGImages/v0.jpg").read_bytes()
    status, body = ask(address, "/gradio_api/upload", [("v0.jpg", content)])
    assert status == 200
    (path,) = json.loads(body)
    assert Path(path).read_bytes() == content
    update = page.open_file(path, None)
    assert update[page.visit].upload.name == "v0"
    assert not Path(path).exists(), "what has been read is kept no longer"
