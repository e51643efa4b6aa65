"""Files: whole or not at all, and one sentence for what cannot be read."""

import errno
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.models.backbone import load_strictly


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


CAMS: dict[str, dict[str, np.ndarray]] = {
    "class 9": {"classes": np.array([1, 9])},
    "class 0": {"classes": np.array([0, 2])},
    "class below 0": {"classes": np.array([-1, 2])},
    "one class of two": {"classes": np.array([1])},
    "a class twice": {"classes": np.array([2, 2])},
    "classes in a table": {"classes": np.array([[1], [2]])},
    "classes with a point": {"classes": np.array([1.0, 2.0])},
    "maps without an axis": {"cams": np.zeros((2, 12), np.float16)},
    "maps of nothing": {"cams": np.zeros((2, 0, 4), np.float16)},
    "more maps than classes": {"cams": np.zeros((3, 3, 4), np.float16)},
    "maps of another size": {"cams": np.zeros((2, 4, 3), np.float16)},
    "whole numbers": {"cams": np.zeros((2, 3, 4), np.int64)},
    "above 1": {"cams": np.full((2, 3, 4), 1.01, np.float16)},
    "below 0": {"cams": np.full((2, 3, 4), -0.01, np.float16)},
    "not finite": {"cams": np.full((2, 3, 4), np.nan, np.float16)},
}


@pytest.mark.parametrize("name", CAMS)
def test_cams_that_do_not_fit_their_photograph_are_refused(tmp_path: Path, name: str) -> None:
    own, size = np.array([1, 2]), (12, 16)
    whole = {"classes": own, "cams": np.full((2, 3, 4), 0.5, np.float16)}
    np.savez_compressed(tmp_path / "a.npz", **whole)  # type: ignore[arg-type]
    assert storage.read_cams(tmp_path / "a.npz", own, size)[1].shape == (2, 3, 4)
    np.savez_compressed(tmp_path / "a.npz", **(whole | CAMS[name]))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"a\.npz: not a readable CAM file .*; delete it to have it made anew"):
        storage.read_cams(tmp_path / "a.npz", own, size)


def test_cams_may_be_as_large_as_their_photograph(tmp_path: Path) -> None:
    storage.write_cams(tmp_path / "a.npz", [2], np.ones((1, 11, 15)))
    assert storage.read_cams(tmp_path / "a.npz", np.array([2]), (11, 15))[1].shape == (1, 11, 15)


def test_cams_that_would_fill_the_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LARGEST_CAMS", 10_000)
    np.savez_compressed(tmp_path / "a.npz", classes=np.array([1]), cams=np.zeros((1, 100, 100)))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(InputError, match="too large"):
        storage.read_cams(tmp_path / "a.npz")


def test_every_flipped_byte_of_a_weight_is_found(tmp_path: Path) -> None:
    path, weight = tmp_path / "model.pt", torch.arange(64.0)
    storage.save_checkpoint(path, {"model": {"weight": weight}})
    content = path.read_bytes()
    start = content.index(weight.numpy().tobytes())
    for place in range(start, start + 256, 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        for door in (storage.load_checkpoint, storage.load_network, storage.check_checksums):
            with pytest.raises(InputError, match=r"model\.pt: not a readable PyTorch file: it is damaged"):
                door(path)


def test_a_checkpoint_that_is_packed_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/0", bytes(10**6))
    with pytest.raises(InputError, match="what is packed in it"):
        storage.load_checkpoint(path)


def test_files_from_before_pytorch_1_6_have_no_checksums_and_are_read(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(2)}}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert storage.load_network(tmp_path / "old.pth")["a"].tolist() == [1, 1]
    storage.check_checksums(tmp_path / "old.pth")


@pytest.mark.parametrize("model", [None, [], {}, "x", {1: torch.ones(1)}, {"a": 1}, {"a": {"b": torch.ones(1)}}])
def test_a_checkpoint_without_a_network_is_named(tmp_path: Path, model: object) -> None:
    torch.save({"model": model}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: holds no network"):
        storage.load_network(tmp_path / "model.pt")


@pytest.mark.parametrize(
    "value", [torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3).to_sparse()]
)
def test_a_network_of_what_are_no_numbers_is_refused(value: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"model\.pt: does not fit .* without proper numbers \(weight\)"):
        load_strictly(torch.nn.Linear(3, 2, bias=False), {"weight": value}, "model.pt")


def test_torchs_advice_to_run_what_a_file_holds_is_not_passed_on(tmp_path: Path) -> None:
    torch.save({"model": Hostile(tmp_path / "victim")}, tmp_path / "model.pt")
    with pytest.raises(InputError) as caught:
        storage.load_checkpoint(tmp_path / "model.pt")
    assert "weights_only" not in str(caught.value)
    assert "trust" not in str(caught.value)
