"""dsrg export: ONNX that agrees with PyTorch, safetensors that load back."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import NAMES, Tool, check_refusal
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg import tables
from dsrg.files import disk, pictures
from dsrg.predict import export, loading, metadata
from dsrg.predict.metadata import KEYS
from dsrg.run import inference


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_trained_run(tmp_path_factory.mktemp("runs") / "own")
    iou = dict.fromkeys(NAMES, 0.5) | {"dog": None}
    record = {"finished": True, "seconds": 1.0, "figures": {"retrain_miou": 0.625, "retrain_iou": iou}, "settings": {}}
    disk.write_json(run / "predictions/val/stage.json", record)
    return run


@pytest.fixture(scope="module")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in both formats: the exporter takes some seconds, so once."""
    out = tmp_path_factory.mktemp("exported") / "model"
    export.export(dsrg.load(run_dir, "cpu"), out, tables.EXPORTS)
    return out


def test_onnx_gives_the_probabilities_of_predict_at_any_size(run_dir: Path, exported: Path, tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    model = dsrg.load(run_dir, "cpu")
    object.__setattr__(model.settings, "mirror", False)
    for size in ((64, 48), (76, 100), (32, 45), (180, 131)):
        (path,) = make_photos(tmp_path, "a.png", size=size)
        photo = np.asarray(Image.open(path))
        mask, probs = session.run(["mask", "probs"], {"images": np.stack([photo, photo[::-1, ::-1]])})
        for number, turned in enumerate((photo, photo[::-1, ::-1])):
            found = model.predict(turned, crf=False, probs=True)
            assert found.probs is not None
            assert probs[number].shape == found.probs.shape
            assert np.abs(probs[number] - found.probs).max() <= export.TOLERANCE
            first, second = np.sort(found.probs, axis=0)[[-1, -2]]
            sure = first - second > 2 * export.TOLERANCE
            assert np.array_equal(mask[number][sure], found.mask[sure])


def test_onnx_says_what_it_is(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    said = {entry.key: json.loads(entry.value) for entry in model.metadata_props if entry.key in KEYS}
    assert tuple(said["classes"]) == NAMES
    assert said["architecture"]["backbone"] == "resnet18"
    assert said["settings"]["scales"] == [1.0]
    graph = model.graph
    assert "RGB" in graph.input[0].doc_string
    assert [entry.dim_param != "" for entry in graph.input[0].type.tensor_type.shape.dim] == [True, True, True, False]
    assert [output.name for output in graph.output] == ["mask", "probs"]


def test_safetensors_load_back_without_the_run(run_dir: Path, exported: Path, tmp_path: Path) -> None:
    (photo,) = make_photos(tmp_path, "a.png")
    expected = dsrg.load(run_dir, "cpu").predict(photo, probs=True)
    for path in (exported, exported / "model.safetensors"):
        again = dsrg.load(path, "cpu")
        found = again.predict(photo, probs=True)
        assert np.array_equal(found.probs, expected.probs)
        assert found.classes == NAMES
        assert again.settings == dsrg.load(run_dir, "cpu").settings
    with safe_open(exported / "model.safetensors", framework="pt") as file:
        assert {"architecture", "classes", "settings", "record", "format"} == set(file.metadata())


def test_how_scales_are_merged_goes_with_the_network(tmp_path: Path) -> None:
    """Through a run's folder and an export; where an older one does not say it, the mean of probabilities."""
    folder = make_trained_run(tmp_path / "run")
    text = (folder / "config.yaml").read_text()
    (path,) = make_photos(tmp_path, "a.png")
    pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)

    def check(model: dsrg.predict.segmenter.Segmenter, merge: str) -> None:
        assert model.settings.merge == merge
        expected = inference.predict_probs(model.model, pixels, scales=(1.0,), size=None, mirror=True, merge=merge)
        assert np.array_equal(model.predict(path, probs=True).probs, expected)

    (folder / "config.yaml").write_text(text.replace("  merge: probabilities\n", ""))
    check(dsrg.load(folder, "cpu"), "probabilities")
    (folder / "config.yaml").write_text(text.replace("merge: probabilities", "merge: logits"))
    model = dsrg.load(folder, "cpu")
    check(model, "logits")
    assert "merged as logits" in export.card(model, [])
    (exported,) = export.export(model, tmp_path / "model.safetensors", ["safetensors"])
    check(dsrg.load(exported, "cpu"), "logits")
    said = metadata.dump(model)
    settings = json.loads(said["settings"])
    del settings["merge"]
    save_file(loading.state_of(model), exported, said | {"settings": json.dumps(settings)})
    check(dsrg.load(exported, "cpu"), "probabilities")


def test_card_says_what_and_how(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    assert "resnet18" in card
    assert ", ".join(NAMES) in card
    assert "data-that-is-gone" in card
    assert re.search(r"\*\*mean\*\* \| \*\*0\.625\*\*", card)
    assert "| dog | absent |" in card
    assert 'dsrg.load("FOLDER")' in card
    assert "Licence" in card


def test_code_of_the_card_runs(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").symlink_to(exported)
    make_photos(tmp_path, "photo.jpg")
    blocks = re.findall(r"(?:^    .+\n)+", (exported / "README.md").read_text(), re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        exec(re.sub("^    ", "", block, flags=re.MULTILINE), names := {})
    assert pictures.read_mask(tmp_path / "mask.png", len(NAMES)).shape == (48, 64)
    assert names["mask"].shape == (1, 48, 64)


def test_tool_writes_one_file_and_nothing_over_another(run_dir: Path, tmp_path: Path, tool: Tool) -> None:
    path = tmp_path / "net.safetensors"
    code, out, _ = tool("export", "--model", run_dir, "--out", path)
    assert code == 0
    assert str(path) in out
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]
    check_refusal(tool("export", "--model", run_dir, "--out", path), path, "--overwrite")
    assert tool("export", "--model", run_dir, "--out", path, "--overwrite")[0] == 0
    check_refusal(
        tool("export", "--model", run_dir, "--out", tmp_path / "a.onnx", "--formats", "safetensors"), "a.onnx"
    )
    (tmp_path / "README.md").write_text("mine")
    check_refusal(
        tool("export", "--model", run_dir, "--out", tmp_path, "--formats", "safetensors"), tmp_path / "README.md"
    )
    assert (tmp_path / "README.md").read_text() == "mine"


def test_missing_packages_are_one_sentence(
    run_dir: Path, tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    result = tool("export", "--model", run_dir, "--out", tmp_path / "a.onnx")
    check_refusal(result, "needs onnxruntime", "pip install 'dsrg[export]'")


def test_a_network_that_differs_is_not_written(
    run_dir: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dsrg.load(run_dir, "cpu")
    network = export._on_cpu(model)
    content = (exported / "model.onnx").read_bytes()
    assert export.largest_difference(network, content) <= export.TOLERANCE
    with torch.no_grad():
        model.model.last_layers[0].bias[1] += 0.01
    changed = export._on_cpu(model)
    with pytest.raises(dsrg.predict.loading.InputError, match="differs from PyTorch's by .* and was not written"):
        export._check(changed, content)


@pytest.mark.parametrize("content", [b"", b"no tensors at all"])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(dsrg.predict.loading.InputError, match=r"a\.safetensors: not a readable safetensors file"):
        dsrg.load(path, "cpu")
