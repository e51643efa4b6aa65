"""dsrg.load and Segmenter.predict."""

import inspect
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NAMES, make_voc
from PIL import Image
from trained_run import CRF, make_photos, make_trained_run

import dsrg
from dsrg.crf import dense_crf
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.predict import segmenter
from dsrg.predict.segmenter import Segmenter, to_pixels
from dsrg.run import inference


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_run(tmp_path_factory.mktemp("runs") / "own", "retrain", "dsrg", "supervised")


@pytest.fixture(scope="module")
def model(run_dir: Path) -> Segmenter:
    return dsrg.load(run_dir, "cpu")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return make_photos(tmp_path, "photo.jpg")[0]


def test_import_alone_is_light() -> None:
    code = "import dsrg, sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; dsrg.load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_three_lines_of_the_docstring(
    run_dir: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = re.findall(r"^    (.+)$", inspect.getdoc(segmenter) or "", re.MULTILINE)
    assert len(lines) == 3
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/own").symlink_to(run_dir)
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent("\n".join(lines)))
    mask = pictures.read_mask(tmp_path / "mask.png", len(NAMES))
    assert mask.shape == (48, 64)
    assert len(np.unique(mask)) > 1


def test_mask_is_that_of_the_network_alone(model: Segmenter, photo: Path) -> None:
    found = model.predict(photo, probs=True)
    pixels = torch.from_numpy(np.array(Image.open(photo).convert("RGB"))).permute(2, 0, 1)
    expected = inference.predict_probs(model.model, pixels, scales=(1.0,), size=None, mirror=True)
    assert np.array_equal(found.probs, expected.numpy())
    assert np.array_equal(found.mask, expected.argmax(dim=0).numpy())
    assert found.classes == NAMES
    assert found.present == tuple(NAMES[index] for index in np.unique(found.mask) if index)


def test_crf_scales_and_size_are_taken_from_the_call(model: Segmenter, photo: Path) -> None:
    pixels = torch.from_numpy(to_pixels(photo)).permute(2, 0, 1)
    probs = inference.predict_probs(model.model, pixels, scales=(0.5, 1.5), size=96, mirror=True)
    refined = dense_crf(probs[None], pixels[None], **model.settings.crf_arguments)[0]
    found = model.predict(photo, crf=True, scales=(0.5, 1.5), size=96)
    assert np.array_equal(found.mask, refined.argmax(dim=0).numpy())
    assert found.probs is None
    assert model.settings.crf_arguments["engine"] == CRF["engine"]


def test_every_kind_of_picture_gives_the_same_mask(model: Segmenter, photo: Path) -> None:
    image = Image.open(photo)
    masks = [one.mask for one in model.predict([str(photo), photo, image, np.array(image)])]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    grey = np.array(image.convert("L"))
    assert np.array_equal(model.predict(grey).mask, model.predict(image.convert("L")).mask)


def test_a_list_in_batches_is_each_by_itself(model: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(64, 48), (48, 64), (66, 48), (64, 48), (40, 40)]  # 66 and 64 pixels are one network size
    photos = [make_photos(tmp_path / str(number), "a.png", size=size)[0] for number, size in enumerate(sizes)]
    batches: list[int] = []
    forward = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda images: batches.append(len(images)) or forward(images))
    together = model.predict(photos, probs=True)
    assert sorted(batches) == [2, 2, 6], "photographs and their mirror images"
    for path, found, (width, height) in zip(photos, together, sizes, strict=True):
        alone = model.predict(path, probs=True)
        assert found.mask.shape == (height, width)
        assert found.probs is not None
        assert alone.probs is not None
        assert np.abs(found.probs - alone.probs).max() < 1e-4  # the order of sums depends on the batch


def test_tags_and_classes_restrict_the_mask(model: Segmenter, photo: Path) -> None:
    assert {1, 2, 3} & set(np.unique(model.predict(photo).mask).tolist()), "something to restrict"
    assert set(model.predict(photo, tags=["cat"]).present) <= {"cat"}
    assert set(model.predict(photo, classes=["dog", "traffic light"]).present) <= {"dog", "traffic light"}
    assert model.predict(photo, tags=["cat"], classes=["dog"]).present == ()
    first, second = model.predict([photo, photo], tags=[["cat"], ["dog"]])
    assert set(first.present) <= {"cat"}
    assert set(second.present) <= {"dog"}
    probs = model.predict(photo, probs=True).probs
    assert probs is not None
    expected = np.where(probs[2] > probs[0], 2, 0)
    assert np.array_equal(second.mask, expected)


def test_exif_orientation_turns_the_photograph_upright(model: Segmenter, tmp_path: Path) -> None:
    lying = np.array(Image.open(make_photos(tmp_path, "a.png")[0]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(lying).save(tmp_path / "turned.png", exif=exif)
    found = model.predict(tmp_path / "turned.png")
    assert found.mask.shape == (64, 48)
    assert np.array_equal(found.picture, np.rot90(lying, -1))
    assert np.array_equal(found.mask, model.predict(np.rot90(lying, -1)).mask)
    assert np.array_equal(model.predict(Image.open(tmp_path / "turned.png")).mask, found.mask)


def test_mask_and_overlay_are_written(model: Segmenter, photo: Path, tmp_path: Path) -> None:
    found = model.predict(photo)
    found.save(tmp_path / "out/mask.png")
    assert np.array_equal(pictures.read_mask(tmp_path / "out/mask.png"), found.mask)
    found.save_overlay(tmp_path / "out/overlay.png")
    assert np.array_equal(np.array(Image.open(tmp_path / "out/overlay.png")), found.overlay())
    with pytest.raises(InputError, match=r"mask\.jpg: a mask is written as a PNG"):
        found.save(tmp_path / "mask.jpg")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), r"must be uint8 \(H, W, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), r"not uint8 \(4, 4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "give several as a list"),
        (3, "a int is no picture"),
        ("nowhere.jpg", "nowhere.jpg: the photograph does not exist"),
    ],
)
def test_what_is_no_picture_is_refused(model: Segmenter, image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.predict(image)


def test_wrong_labels_are_refused(model: Segmenter, photo: Path) -> None:
    with pytest.raises(InputError, match="the label 'unicorn' is not in .*cat, dog, traffic light"):
        model.predict(photo, classes=["unicorn"])
    with pytest.raises(InputError, match="a list of names is needed"):
        model.predict(photo, tags="cat")
    with pytest.raises(InputError, match="2 lists of labels for 1 photographs"):
        model.predict([photo], tags=[["cat"], ["dog"]])


def weights_of(model: Segmenter) -> torch.Tensor:
    return model.model.state_dict()["branches.0.weight"]


def test_the_retrained_network_comes_first(run_dir: Path, tmp_path: Path) -> None:
    expected = {
        name: storage.load_checkpoint(run_dir / name / "checkpoint.pt")["model"]["branches.0.weight"]
        for name in ("retrain", "dsrg", "supervised")
    }
    assert torch.equal(weights_of(dsrg.load(run_dir, "cpu")), expected["retrain"])
    for name, weights in expected.items():
        assert torch.equal(weights_of(dsrg.load(run_dir, "cpu", network=name)), weights)
    begun = make_trained_run(tmp_path / "run", "retrain", finished=False)
    with pytest.raises(InputError, match="neither 'retrain' nor 'dsrg' finished"):
        dsrg.load(begun, "cpu")
    make_trained_run(tmp_path / "run2", "retrain", finished=False)
    make_trained_run(tmp_path / "run2", "dsrg")
    assert dsrg.load(tmp_path / "run2", "cpu").record["network"] == "dsrg"


def test_old_runs_have_their_classes_in_the_data_folder(tmp_path: Path) -> None:
    run = make_trained_run(tmp_path / "run", classes=False)
    with pytest.raises(InputError, match=r"classes\.txt: does not exist, nor does .*data-that-is-gone"):
        dsrg.load(run, "cpu")
    make_voc(tmp_path / "data-that-is-gone")
    assert dsrg.load(run, "cpu").classes.names == NAMES


def test_a_class_list_of_another_length_is_refused(tmp_path: Path) -> None:
    run = make_trained_run(tmp_path / "run")
    disk.write_text(run / "classes.txt", "background\ncat\n")
    with pytest.raises(InputError, match=r"checkpoint\.pt \(of 2 classes, .*does not fit"):
        dsrg.load(run, "cpu")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda path: None, {}, "does not exist; give a run's folder"),
        (lambda path: path.mkdir(), {}, "neither a run's folder"),
        (lambda path: make_trained_run(path), {"network": "supervised"}, "'supervised' not finished"),
        (lambda path: make_trained_run(path), {"network": "classifier"}, "choose one of dsrg, retrain, supervised"),
        (lambda path: make_trained_run(path), {"device": "abacus"}, "device = abacus"),
    ],
)
def test_what_cannot_be_loaded_is_named(tmp_path: Path, make, options: dict, message: str) -> None:
    make(tmp_path / "run")
    with pytest.raises(InputError, match=message):
        dsrg.load(tmp_path / "run", **options)


def test_a_run_goes_before_an_export_that_lies_in_it(model: Segmenter, run_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder)
    (folder / "model.safetensors").write_bytes(b"an earlier export")
    assert dsrg.load(folder, "cpu", network="retrain").classes.names == model.classes.names
