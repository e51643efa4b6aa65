"""Exports of a network with a gate: one file with both networks, a backbone that both have only once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import NAMES
from PIL import Image
from safetensors.torch import load_file, save_file
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg import config, tables
from dsrg.errors import InputError
from dsrg.files import storage
from dsrg.predict import export, loading, metadata
from dsrg.run.networks import new_gate

CROP = {"classifier.size": 97, "classifier.resize": "crop", "classifier.loss": "single_label"}


def make_gated_run(folder: Path, *, shared: bool, **settings: object) -> Path:
    """A run whose classifier has the segmentation network's backbone, or one of its own."""
    make_trained_run(folder)
    cfg = config.load(folder / "config.yaml", trained=True)
    cfg = config.change(cfg, {"test.gate": True, "classifier.size": 65} | settings)
    (folder / "config.yaml").write_text(config.dump(cfg))
    torch.manual_seed(5)
    state = new_gate(cfg.classifier, cfg.model.backbone, len(NAMES)).classifier.state_dict()
    state["linear.bias"] += torch.tensor([-1.0, -3.0, 4.0])
    if shared:
        trained = storage.load_network(folder / "retrain/checkpoint.pt")
        state |= {key: value for key, value in trained.items() if key.startswith("backbone.")}
    storage.save_checkpoint(folder / "classifier/checkpoint.pt", {"model": state})
    return folder


@pytest.fixture(scope="module", params=[True, False], ids=["shared backbone", "two backbones"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bool]:
    """A run, its export in both formats, and whether they have one backbone; one sees squares, the other long sides."""
    folder = tmp_path_factory.mktemp("runs")
    own = make_gated_run(folder / "run", shared=request.param, **({} if request.param else CROP))
    export.export(dsrg.load(own, "cpu"), folder / "exported", tables.EXPORTS)
    return own, folder / "exported", request.param


def test_exported_tensors_give_the_masks_of_the_run(run: tuple[Path, Path, bool], tmp_path: Path) -> None:
    model, again = (dsrg.load(path, "cpu") for path in run[:2])
    assert model.gate is not None and again.gate is not None
    assert again.gate.facts == model.gate.facts
    assert loading.shares_backbone(again) == run[2]
    for photo in make_photos(tmp_path, "a.png", "b.png", size=(90, 61)):
        expected, found = (one.predict(photo, probs=True) for one in (model, again))
        assert np.array_equal(found.mask, expected.mask)
        assert np.array_equal(found.probs, expected.probs)
        sums = expected.probs.sum(axis=0)
        assert sums.min() < 0.99  # there is something to gate
    (twice,) = export.export(again, tmp_path / "b.safetensors", ["safetensors"])
    assert {key: value.tolist() for key, value in load_file(twice).items()} == {
        key: value.tolist() for key, value in load_file(run[1] / "model.safetensors").items()
    }


def test_a_backbone_that_both_have_is_stored_once(run: tuple[Path, Path, bool]) -> None:
    names = list(load_file(run[1] / "model.safetensors"))
    assert "classifier.linear.weight" in names
    assert any(name.startswith("classifier.backbone.") for name in names) != run[2]
    weights = sum(
        np.prod(tensor.dims) for tensor in onnx.load(run[1] / "model.onnx").graph.initializer if len(tensor.dims) == 4
    )
    backbone = sum(
        value.numel() for key, value in load_file(run[1] / "model.safetensors").items()
        if key.startswith("backbone.") and value.ndim == 4
    )  # fmt: skip
    assert backbone < weights < 1.1 * backbone if run[2] else 2 * backbone < weights


def test_onnx_gates_as_predict_does_at_any_size(run: tuple[Path, Path, bool], tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(run[1] / "model.onnx")
    model = dsrg.load(run[0], "cpu")
    assert model.gate is not None
    object.__setattr__(model.settings, "mirror", False)
    for size in ((64, 48), (76, 100), (32, 45), (180, 131), (400, 33)):
        (path,) = make_photos(tmp_path, "a.png", size=size)
        photo = np.asarray(Image.open(path))
        mask, probs, class_probs = session.run(None, {"images": np.stack([photo, photo[::-1, ::-1]])})
        for number, turned in enumerate((photo, photo[::-1, ::-1])):
            found = model.predict(np.ascontiguousarray(turned), crf=False, probs=True)
            assert found.probs is not None
            pixels = torch.from_numpy(np.array(turned)).permute(2, 0, 1)[None]
            seen = model.gate.class_probs(pixels)[0].numpy()
            assert np.abs(class_probs[number] - seen).max() <= export.TOLERANCE
            assert np.abs(probs[number] - found.probs).max() <= export.TOLERANCE
            first, second = np.sort(found.probs, axis=0)[[-1, -2]]
            sure = first - second > 2 * export.TOLERANCE
            assert np.array_equal(mask[number][sure], found.mask[sure])


def test_what_the_files_say_of_the_gate(run: tuple[Path, Path, bool]) -> None:
    graph = onnx.load(run[1] / "model.onnx").graph
    said = {output.name: output.doc_string for output in graph.output}
    assert list(said) == ["mask", "probs", "class_probs"]
    assert "gated" in said["probs"]
    assert "classes - 1" in said["class_probs"]
    card = (run[1] / "README.md").read_text()
    assert "min(1, p / 0.5)" in card
    assert ("the same backbone" in card) == run[2]
    assert "`class_probs`" in card


def test_an_export_without_a_gate_has_no_word_of_it(tmp_path: Path) -> None:
    model = dsrg.load(make_trained_run(tmp_path / "run"), "cpu")
    assert model.gate is None
    assert set(metadata.dump(model)) == set(metadata.KEYS)
    assert not any(key.startswith("classifier.") for key in loading.state_of(model))
    assert "Gate" not in export.card(model, ["onnx"])
    assert "class_probs" not in export.card(model, ["onnx"])


Values = dict[str, Any]
WRONG: dict[str, tuple[Callable[[Values], object], str]] = {
    "a path": (lambda said: said.update(weights="/etc/passwd"), "unknown: weights"),
    "a key less": (lambda said: said.pop("loss"), "unknown: loss"),
    "another head": (lambda said: said.update(head="rm -rf"), "classifier.head"),
    "another stride": (lambda said: said.update(output_stride=3), "classifier.output_stride"),
    "an endless side": (lambda said: said.update(size=10**9), "classifier.size"),
    "a billion filters": (lambda said: said.update(conv=10**9), "classifier.conv"),
    "filters that the file has not": (lambda said: said.update(conv=4096), "missing (classifier.conv"),
    "a head of another form": (lambda said: said.update(head="acol"), "missing (classifier.branch_a"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_stranger_says_of_the_gate_is_held_to_bounds(tmp_path: Path, kind: str) -> None:
    model = dsrg.load(make_gated_run(tmp_path / "run", shared=True), "cpu")
    spoil, said = WRONG[kind]
    values = metadata.dump(model)
    classifier = json.loads(values["classifier"])
    spoil(classifier)
    path = tmp_path / "a.safetensors"
    save_file(loading.state_of(model), path, values | {"classifier": json.dumps(classifier)})
    with pytest.raises(InputError) as caught:
        dsrg.load(path, "cpu")
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_gate_that_the_metadata_does_not_name_is_no_part_of_the_network(tmp_path: Path) -> None:
    model = dsrg.load(make_gated_run(tmp_path / "run", shared=True), "cpu")
    values = metadata.dump(model)
    del values["classifier"]
    save_file(loading.state_of(model), tmp_path / "a.safetensors", values)
    with pytest.raises(InputError, match=r"unexpected \(classifier\.linear"):
        dsrg.load(tmp_path / "a.safetensors", "cpu")


@pytest.mark.parametrize("settings", [{"head": "acol", "acol_channels": 8}, {"conv": 8}, {"pooling": "max"}])
def test_every_head_comes_back(tmp_path: Path, settings: dict[str, object]) -> None:
    folder = make_trained_run(tmp_path / "run")
    cfg = config.load(folder / "config.yaml", trained=True)
    changes: dict[str, object] = {f"classifier.{key}": value for key, value in settings.items()}
    if settings.get("head") == "acol":
        changes["seeds.source"] = "acol"
    cfg = config.change(cfg, changes | {"test.gate": True, "classifier.size": 65})
    (folder / "config.yaml").write_text(config.dump(cfg))
    state = new_gate(cfg.classifier, cfg.model.backbone, len(NAMES)).classifier.state_dict()
    storage.save_checkpoint(folder / "classifier/checkpoint.pt", {"model": state})
    (photo,) = make_photos(tmp_path, "a.png")
    model = dsrg.load(folder, "cpu")
    (path,) = export.export(model, tmp_path / "a.safetensors", ["safetensors"])
    expected, found = (one.predict(photo, probs=True).probs for one in (model, dsrg.load(path, "cpu")))
    assert np.array_equal(found, expected)
