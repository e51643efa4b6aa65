"""Files: whole or not at all, and one sentence for what cannot be read."""

import errno
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dsrg import disk, pictures, storage
from dsrg.errors import InputError
from dsrg.labels import palette


def random_photo(width: int = 20, height: int = 14) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("breaks", ["fsync", "replace"])
def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    path = tmp_path / "file.bin"
    disk.write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if breaks == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="No space left on device.; free some space"):
        disk.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        disk.write_text(tmp_path / "file.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_the_content_is_on_disk_before_the_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep/er/file.bin"
    seen: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.exists()))
    disk.write_bytes(path, b"new")
    assert seen == [False]
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_json_round_trip_and_refusal(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    disk.write_json(path, {"a": [1, 2.5, None]})
    assert disk.read_json(path) == {"a": [1, 2.5, None]}
    path.write_text('{"a": ')
    with pytest.raises(InputError, match=r"value\.json: not valid JSON"):
        disk.read_json(path)


def test_masks_survive_the_disk(tmp_path: Path) -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    pictures.write_mask(tmp_path / "mask.png", mask)
    again = pictures.read_mask(tmp_path / "mask.png")
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, mask)
    with Image.open(tmp_path / "mask.png") as image:  # as another program sees it: VOC's colours
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), palette()[mask])


def test_a_mask_that_is_no_contiguous_block_is_written_right(tmp_path: Path) -> None:
    mask = np.arange(12, dtype=np.int64).reshape(3, 4).T
    pictures.write_mask(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(pictures.read_mask(tmp_path / "mask.png"), mask)


def test_grey_masks_are_read_too(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(pictures.read_mask(tmp_path / "grey.png", 3), mask)


def test_palette_masks_of_few_bits_are_read_too(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    image = Image.fromarray(mask)
    image.putpalette(palette()[:4].tobytes())
    image.save(tmp_path / "small.png", bits=2)
    np.testing.assert_array_equal(pictures.read_mask(tmp_path / "small.png", 4), mask)


def test_an_index_out_of_range_is_refused_and_255_is_not(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    pictures.write_mask(path, np.array([[0, 4, 255]], np.uint8))
    assert pictures.read_mask(path, 5).tolist() == [[0, 4, 255]]
    with pytest.raises(InputError, match=r"mask\.png: holds class index 4, but the class list has only 4 classes"):
        pictures.read_mask(path, 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "I;16", "LA"])
def test_masks_of_other_kinds_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(InputError, match=rf"mask\.png: a mask must be a palette or grey 8-bit PNG .*, not {mode}"):
        pictures.read_mask(path)


def test_photographs_are_read_as_rgb(tmp_path: Path) -> None:
    random_photo().save(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.array(pictures.read_image(tmp_path / "photo.png")), np.array(random_photo()))
    random_photo().convert("L").save(tmp_path / "grey.jpg")
    assert pictures.read_image(tmp_path / "grey.jpg").mode == "RGB"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_photograph_is_refused_wherever_it_ends(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    random_photo().save(buffer, kind)
    content, path = buffer.getvalue(), tmp_path / "photo.jpg"
    for length in range(0, len(content) - 16, 23):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"photo\.jpg: the photograph cannot be decoded"):
            pictures.read_image(path)
    path.write_bytes(content)
    assert pictures.read_image(path).size == (20, 14)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"photo\.jpg: the photograph cannot be decoded \(not an image\)"):
        pictures.read_image(tmp_path / "photo.jpg")
    with pytest.raises(InputError, match=r"no\.png: the mask does not exist"):
        pictures.read_mask(tmp_path / "no.png")


def test_cams_survive_the_disk(tmp_path: Path) -> None:
    cams = np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    storage.write_cams(tmp_path / "a.npz", [3, 1], cams)
    classes, again = storage.read_cams(tmp_path / "a.npz")
    assert (classes.tolist(), classes.dtype, again.dtype) == ([3, 1], np.int64, np.float32)
    np.testing.assert_array_equal(again, cams.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(again, cams, atol=1e-3)


def test_cams_of_no_class_survive_too(tmp_path: Path) -> None:
    storage.write_cams(tmp_path / "a.npz", [], np.zeros((0, 5, 7)))
    classes, cams = storage.read_cams(tmp_path / "a.npz")
    assert (classes.shape, cams.shape) == ((0,), (0, 5, 7))


def test_broken_cams_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.npz: the CAMs do not exist"):
        storage.read_cams(tmp_path / "a.npz")
    storage.write_cams(tmp_path / "a.npz", [1], np.ones((1, 2, 2)))
    content = (tmp_path / "a.npz").read_bytes()
    for broken in (b"", b"no zip", content[:-30], content[: len(content) // 2]):
        (tmp_path / "a.npz").write_bytes(broken)
        with pytest.raises(InputError, match=r"a\.npz: not a readable CAM file"):
            storage.read_cams(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", other=np.zeros(3))
    with pytest.raises(InputError, match="not a readable CAM file"):
        storage.read_cams(tmp_path / "a.npz")


class Hostile:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("container", ["torch", "pickle"])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, container: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "model.pt"
    if container == "torch":
        torch.save({"model": Hostile(victim)}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Hostile(victim)}, protocol=2))
    with pytest.raises(InputError, match=r"model\.pt: not a readable PyTorch file of tensors"):
        storage.load_checkpoint(path)
    assert not victim.exists()
    torch.load(path, weights_only=False) if container == "torch" else pickle.loads(path.read_bytes())
    assert victim.exists(), "the file was not hostile at all"


def test_an_array_that_would_run_code_is_refused(tmp_path: Path) -> None:
    cams = np.empty(1, object)
    cams[0] = Hostile(tmp_path / "victim")
    np.savez(tmp_path / "a.npz", classes=np.array([1]), cams=cams)
    with pytest.raises(InputError, match="not a readable CAM file"):
        storage.read_cams(tmp_path / "a.npz")
    assert not (tmp_path / "victim").exists()


def test_checkpoints_survive_the_disk(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    storage.save_checkpoint(tmp_path / "model.pt", {"model": {"weight": weight}, "iteration": 7, "random": [None]})
    state = storage.load_checkpoint(tmp_path / "model.pt")
    assert torch.equal(state["model"]["weight"], weight)
    assert (state["iteration"], state["random"]) == (7, [None])


def test_a_broken_checkpoint_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(InputError, match=r"model\.pt: the file does not exist"):
        storage.load_checkpoint(path)
    storage.save_checkpoint(path, {"weight": torch.ones(3)})
    content = path.read_bytes()
    for length in range(0, len(content), 60):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"model\.pt: not a readable PyTorch file"):
            storage.load_checkpoint(path)


def test_a_checkpoint_without_names_is_refused(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: holds a Tensor in place of named tensors"):
        storage.load_checkpoint(tmp_path / "model.pt")


def test_a_damaged_exif_header_is_upright() -> None:
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = b"Exif\0\0broken"
    assert pictures.orientation(image) == 1
    assert pictures.upright(image).size == (3, 2)
