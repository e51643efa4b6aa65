"""VOC and SBD are downloaded by torchvision's own classes, here small archives from a server on this machine; single
files by PyTorch's function."""

import functools
import hashlib
import http.server
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import SBDataset, voc

from dsrg.data.download import download_file, download_sbd, download_voc
from dsrg.data.voc_sbd import find_sbd, find_voc
from dsrg.errors import InputError


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def pack(archive: Path, files: dict[str, bytes]) -> str:
    """Write an archive; returns its MD5."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as target:
        for name, content in files.items():
            path = archive.parent / "file"
            path.write_bytes(content)
            target.add(path, name)
    (archive.parent / "file").unlink()
    return hashlib.md5(archive.read_bytes()).hexdigest()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a server on this machine that shows the folder `server`."""
    (tmp_path / "server").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "server"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> Path:
    """The two archives in their official structure; the folder that the server shows."""
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (4, 4)).save(photo)
    content, top = photo.read_bytes(), "VOCdevkit/VOC2012"
    md5 = pack(
        tmp_path / "server/VOCtrainval_11-May-2012.tar",
        {
            f"{top}/JPEGImages/a.jpg": content,
            f"{top}/SegmentationClass/a.png": b"",
            f"{top}/ImageSets/Segmentation/train.txt": b"a\n",
        },
    )
    known = voc.DATASET_YEAR_DICT["2012"]
    monkeypatch.setitem(voc.DATASET_YEAR_DICT, "2012", {**known, "url": f"{address}/{known['filename']}", "md5": md5})
    names = ("cls/a.mat", "img/a.jpg", "inst/a.mat", "train.txt", "val.txt")
    md5 = pack(tmp_path / "server/benchmark.tgz", {f"benchmark_RELEASE/dataset/{name}": b"a\n" for name in names})
    monkeypatch.setattr(SBDataset, "url", f"{address}/benchmark.tgz")
    monkeypatch.setattr(SBDataset, "md5", md5)
    return tmp_path / "server"


@pytest.mark.usefixtures("servers")
def test_archives_are_unpacked_where_they_are_looked_for(tmp_path: Path) -> None:
    download_voc(tmp_path / "voc")
    assert find_voc(tmp_path / "voc") == tmp_path / "voc/VOCdevkit/VOC2012"
    (tmp_path / "sbd").mkdir()  # an empty folder is as good as none
    download_sbd(tmp_path / "sbd")
    assert find_sbd(tmp_path / "sbd") == tmp_path / "sbd"
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.usefixtures("servers")
def test_what_was_unpacked_by_half_is_unpacked_anew(tmp_path: Path) -> None:
    half = tmp_path / ".sbd.download"
    (half / "cls").mkdir(parents=True)  # torchvision alone would stop at these, which it has moved already
    (half / "train.txt").write_text("b\n")
    download_sbd(tmp_path / "sbd")
    assert (tmp_path / "sbd/train.txt").read_text() == "a\n"
    assert (tmp_path / "sbd/cls/a.mat").is_file()


def test_a_server_that_does_not_answer_gives_one_sentence(servers: Path, tmp_path: Path) -> None:
    (servers / "benchmark.tgz").unlink()
    with pytest.raises(InputError, match=r"SBD could not be downloaded \(.*\); run the same command again, or unpack"):
        download_sbd(tmp_path / "sbd")
    assert not (tmp_path / "sbd").exists()


def test_a_damaged_archive_gives_one_sentence(servers: Path, tmp_path: Path) -> None:
    archive = servers / "VOCtrainval_11-May-2012.tar"
    archive.write_bytes(archive.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"VOC 2012 could not be downloaded \(File not found or corrupted"):
        download_voc(tmp_path / "voc")
    assert not (tmp_path / "voc").exists()


def test_a_folder_in_use_is_not_downloaded_to(tmp_path: Path) -> None:
    kept = tmp_path / "voc/mine.txt"
    kept.parent.mkdir()
    kept.touch()
    with pytest.raises(InputError, match="voc: holds something else than VOC 2012"):
        download_voc(tmp_path / "voc")
    assert kept.is_file()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch/hub/checkpoints"


def test_a_file_is_downloaded_once_and_anew_where_it_is_damaged(tmp_path: Path, address: str, cache: Path) -> None:
    content = bytes(range(256)) * 40
    md5 = hashlib.md5(content).hexdigest()
    (tmp_path / "server/network.onnx").write_bytes(content)
    for spoil in (False, True):
        path = download_file(f"{address}/network.onnx", md5)
        assert path == cache / "network.onnx"
        assert path.read_bytes() == content
        if not spoil:
            path.write_bytes(content[:-1])
    (tmp_path / "server/network.onnx").unlink()
    assert download_file(f"{address}/network.onnx", md5) == path
    assert [file.name for file in cache.iterdir()] == ["network.onnx"]


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_another_or_none_leaves_nothing(tmp_path: Path, address: str, cache: Path, there: bool) -> None:
    if there:
        (tmp_path / "server/network.onnx").write_bytes(b"another")
    message = (
        "what was downloaded has the MD5" if there else "cannot be downloaded .*put the file to .*network.onnx yourself"
    )
    with pytest.raises(InputError, match=message):
        download_file(f"{address}/network.onnx", "0" * 32)
    assert list(cache.iterdir()) == []
