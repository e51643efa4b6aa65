"""No file makes the program pass on a library's advice to switch a check off, and none runs what it holds."""

import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from dsrg.data.classes import read_classes
from dsrg.data.cues import read_cues
from dsrg.errors import InputError, reason
from dsrg.files import pictures, storage
from dsrg.models.backbone import build_backbone
from dsrg.predict import loading

ADVICE = (
    *("weights_only", "allow_pickle", "trust", "unsafe", "pickle.load", "arbitrary code", "file an issue"),
    *("LOAD_TRUNCATED_IMAGES", "MAX_IMAGE_PIXELS", "torch.load", "add_safe_globals"),
)


class Hostile:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def saved(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def arrays(**values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **values)  # type: ignore[arg-type]
    return buffer.getvalue()


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, "PNG")
    return buffer.getvalue()


def bad_files(run: Path) -> dict[str, bytes]:
    """Contents of files by name; the hostile ones make the file `run`."""
    hostile = Hostile(run)
    good = saved({"model": torch.zeros(3)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("classes.npy", pickle.dumps(hostile))
        zipped.writestr("archive/data.pkl", pickle.dumps(hostile))
    return {
        "hostile checkpoint": saved({"model": hostile}),
        "hostile checkpoint of old": saved({"model": hostile}, _use_new_zipfile_serialization=False),
        "hostile pickle": pickle.dumps({"a": hostile}),
        "hostile pickle of old": pickle.dumps({"a": hostile}, 0),
        "hostile arrays": arrays(classes=np.array([hostile], object), cams=np.zeros((1, 2, 2))),
        "hostile archive": archive.getvalue(),
        "a whole network": saved(torch.nn.Linear(2, 2)),
        "arrays in a pickle": pickle.dumps({"a": np.zeros(3)}),
        "cut off": good[:-100],
        "cut off by half": good[: len(good) // 2],
        "empty": b"",
        "text": b"hello " * 50,
        "html": b"<!DOCTYPE html><html>404</html>",
        "zeros": bytes(1000),
        "a long header": struct.pack("<Q", 10**12) + b"{}",
        "a list as header": struct.pack("<Q", 2) + b"[]",
        "no network": struct.pack("<Q", 2) + b"{}",
        "odd tensors": struct.pack("<Q", 56) + b'{"a": {"dtype": "F9", "shape": [1], "data_offsets": [0, 4]}}',
        "picture cut off": png((300, 300))[:-60],
        "picture of nothing": png((1, 1))[:20],
    }  # fmt: skip


DOORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "checkpoint": (".pt", storage.load_checkpoint),
    "weights": (".pth", lambda path: build_backbone("resnet18", output_stride=32, weights=path)),
    "CAMs": (".npz", storage.read_cams),
    "safetensors": (".safetensors", lambda path: loading.load(path, "cpu")),
    "cues": (".pickle", lambda path: read_cues(path, read_classes("voc"))),
    "photograph": (".png", pictures.read_image),
    "mask": (".png", pictures.read_mask),
}


@pytest.fixture
def torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that torchvision would not download again."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    path = tmp_path / "hub/checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    return path


def check(call: Callable[[], object], run: Path, path: Path) -> None:
    with warnings.catch_warnings(record=True) as warned, pytest.raises(InputError) as caught:
        warnings.simplefilter("always")
        call()
    said = f"{caught.value} {' '.join(str(warning.message) for warning in warned)}"
    assert not [word for word in ADVICE if word.lower() in said.lower()], said
    assert str(path) in said
    assert "\n" not in str(caught.value)
    assert not run.exists(), "the file was run"


@pytest.mark.parametrize(
    ("door", "name"),
    # a checkpoint of tensors without a network is an empty file of tensors, which is sound
    [(door, name) for door in DOORS for name in bad_files(Path()) if (door, name) != ("checkpoint", "no network")],
)
def test_no_door_passes_a_librarys_advice_on(tmp_path: Path, door: str, name: str) -> None:
    ending, read = DOORS[door]
    path, run = tmp_path / f"file{ending}", tmp_path / "run"
    path.write_bytes(bad_files(run)[name])
    check(lambda: read(path), run, path)


@pytest.mark.parametrize("name", [name for name in bad_files(Path()) if "picture" not in name])
def test_what_lies_in_torchvisions_cache_is_a_strangers_too(tmp_path: Path, torchvisions: Path, name: str) -> None:
    run = tmp_path / "run"
    torchvisions.write_bytes(bad_files(run)[name])
    check(lambda: build_backbone("resnet18", output_stride=32, weights="torchvision"), run, Path("torchvision"))


def test_a_reason_is_one_short_line() -> None:
    assert reason(ValueError("\n\nfirst.\nsecond")) == "first"
    assert reason(EOFError()) == "EOFError"
    assert len(reason(ValueError("x" * 1000))) <= 160
    for advice in ("Use weights_only=False", "If you TRUST the file", "set ImageFile.LOAD_TRUNCATED_IMAGES = True"):
        assert reason(ValueError(f"Failed. {advice}")).startswith("it holds objects of Python")
