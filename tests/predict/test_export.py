"""dsrg export: ONNX that agrees with PyTorch, safetensors that load back."""

import importlib.util
import json
import re
import types
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from helpers import NAMES, Tool, check_refusal
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg import tables
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.predict import cards, export, loading, metadata, opencv
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
    """The run in all formats: the exporter takes some seconds, so once."""
    out = tmp_path_factory.mktemp("exported") / "model"
    export.export(dsrg.load(run_dir, "cpu"), out, tables.EXPORTS, size=(100, 130))
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


def test_card_begins_with_what_the_hub_reads(exported: Path, run_dir: Path) -> None:
    """And names no folder of this machine, nor does the file's own record."""
    text = (exported / "README.md").read_text()
    _, front, rest = text.split("---\n", 2)
    said = yaml.safe_load(front)
    assert (said["license"], said["library_name"], said["pipeline_tag"]) == ("other", "dsrg", "image-segmentation")
    assert {"onnx", "safetensors", "weakly-supervised-segmentation"} <= {*said["tags"]}
    (result,) = said["model-index"][0]["results"]
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [("mean_iou", 0.625)]
    assert result["dataset"]["split"] == "val"
    assert "\n# data-that-is-gone: DeepLab-ASPP on resnet18\n" in rest
    with safe_open(exported / "model.safetensors", framework="pt") as file:
        said = json.loads(file.metadata()["record"])
    for place in (text, json.dumps(said)):
        assert str(run_dir.parent) not in place
    assert said["run"] == run_dir.name
    for name in ("model.onnx", "model-opencv.onnx"):
        content = (exported / name).read_bytes()
        assert str(Path(export.__file__).parents[2]).encode() not in content
        assert b"site-packages" not in content
    hub = pytest.importorskip("huggingface_hub")
    assert hub.ModelCard(text).data.eval_results[0].metric_value == 0.625


def test_records_with_paths_lose_them(exported: Path, tmp_path: Path) -> None:
    """Those of files that older versions wrote, on whatever system."""
    with safe_open(exported / "model.safetensors", framework="pt") as file:
        said = file.metadata()
    record = json.loads(said["record"]) | {"run": "/home/me/runs/own", "train_split": "C:\\lists\\rest.txt"}
    model = dsrg.load(exported, "cpu")
    save_file(loading.state_of(model), tmp_path / "old.safetensors", said | {"record": json.dumps(record)})
    again = dsrg.load(tmp_path / "old.safetensors", "cpu")
    assert (again.record["run"], again.record["train_split"]) == ("own", "rest.txt")
    assert "/home/me" not in export.card(again, [])


def test_a_card_without_figures_claims_none(exported: Path) -> None:
    model = dsrg.load(exported, "cpu")
    model.record["figures"] = {}
    said = cards.front_matter(model, ["onnx"])
    assert not {"metrics", "model-index"} & said.keys()
    assert "Not measured" in export.card(model, [], licence="mit")


def test_opencv_gives_onnxruntimes_labels_in_each_engine(exported: Path, tmp_path: Path) -> None:
    content = (exported / "model-opencv.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 97, 129], "the sizes on the grid of stride 16 next to 100 and 130"
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(NAMES)
    (path,) = make_photos(tmp_path, "a.png", size=(200, 150))
    blob = cv2.dnn.blobFromImage(cv2.imread(str(path)), 1.0, (129, 97), swapRB=True)
    (wanted,) = session.run(["probs"], {"images": blob})
    shares = opencv.agreement(content, blob, wanted)
    engines = [name for name in opencv.ENGINES if hasattr(cv2.dnn, name)]
    assert list(shares) == (engines or ["dnn"])
    assert min(shares.values()) >= opencv.AGREE
    turned = opencv.agreement(content, blob, wanted[:, ::-1])
    assert max(turned.values()) < opencv.AGREE, "the comparison must be able to fail"


@pytest.mark.skipif(not hasattr(cv2.dnn, "ENGINE_NEW"), reason="OpenCV's new engine came with version 5")
@pytest.mark.parametrize("engine", ["ENGINE_NEW", "ENGINE_AUTO"])
def test_opencvs_new_engine_takes_photographs_of_any_size(exported: Path, tmp_path: Path, engine: str) -> None:
    """Those that are on the grid; others it resizes in its own way, and the labels at their borders differ."""
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    net = cv2.dnn.readNetFromONNX(str(exported / "model.onnx"), engine=getattr(cv2.dnn, engine))
    for size, least in (((65, 49), opencv.AGREE), ((177, 129), opencv.AGREE), ((180, 131), 0.99)):
        (path,) = make_photos(tmp_path, "a.png", size=size)
        photo = np.asarray(Image.open(path))[None]
        net.setInput(photo)
        (wanted,) = session.run(["mask"], {"images": photo})
        assert (net.forward("mask") == wanted).mean() >= least


def test_opencvs_network_is_that_of_predict(run_dir: Path, exported: Path, tmp_path: Path) -> None:
    """On a photograph of its own size, which nobody need resize."""
    (path,) = make_photos(tmp_path, "a.png", size=(129, 97))
    model = dsrg.load(run_dir, "cpu")
    object.__setattr__(model.settings, "mirror", False)
    expected = model.predict(path, crf=False).mask
    net = cv2.dnn.readNetFromONNX(str(exported / "model-opencv.onnx"))
    net.setInput(cv2.dnn.blobFromImage(cv2.imread(str(path)), 1.0, (129, 97), swapRB=True))
    assert (net.forward()[0].argmax(axis=0) == expected).mean() >= opencv.AGREE


def test_a_network_that_opencv_changes_is_not_written(
    run_dir: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencv, "agreement", lambda *_: {"ENGINE_NEW": 0.5})
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: types.SimpleNamespace(model_proto=proto))
    proto = onnx.load(exported / "model-opencv.onnx")
    with pytest.raises(InputError, match=r"gives 50.0% of the pixels .*\(ENGINE_NEW\), and the file was not written"):
        export.export(dsrg.load(run_dir, "cpu"), run_dir.parent / "none", ["safetensors"], size=(97, 129))
    assert not (run_dir.parent / "none").exists()


def test_code_of_the_card_runs(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").symlink_to(exported)
    make_photos(tmp_path, "photo.jpg")
    text = (exported / "README.md").read_text().split("---\n", 2)[2]
    blocks = re.findall(r"(?:^    .+\n)+", text, re.MULTILINE)
    assert len(blocks) == 3
    found = []
    for block in blocks:
        exec(re.sub("^    ", "", block, flags=re.MULTILINE), names := {})
        found.append(names.get("mask"))
    assert pictures.read_mask(tmp_path / "mask.png", len(NAMES)).shape == (48, 64)
    assert found[1].shape == (1, 48, 64)
    assert found[2].shape == (97, 129)


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
