"""Networks from strangers: what a file says of itself is held to a schema before anything is built by it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import NAMES
from safetensors import safe_open
from safetensors.torch import save_file
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg import config, tables
from dsrg.errors import InputError
from dsrg.files import storage
from dsrg.models.build import build_deeplab
from dsrg.predict import loading, metadata
from dsrg.schema import Crf, Model

Values = dict[str, Any]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_run(tmp_path_factory.mktemp("runs") / "own")


@pytest.fixture(scope="module")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Values]:
    """The tensors and the metadata of an export, the latter as values."""
    model = dsrg.load(run_dir, "cpu")
    return loading.state_of(model), {key: json.loads(text) for key, text in metadata.dump(model).items()}


def put(path: Path, state: dict[str, torch.Tensor], values: Values) -> Path:
    save_file(
        state, path, {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    )
    return path


def change(section: str, **values: Any) -> Callable[[Values], None]:
    return lambda all_: all_[section].update(values)


def replace(section: str, value: Any) -> Callable[[Values], None]:
    return lambda all_: all_.update({section: value})


WRONG = {
    "a path of weights": (change("architecture", weights="/etc/passwd"), "unknown: weights"),
    "a backbone by a path": (
        change("architecture", backbone="/etc/passwd"),
        "architecture.backbone: Input should be 'm",
    ),
    "100,000 rates": (change("architecture", rates=[1] * 100_000), "architecture.aspp_rates"),
    "a rate of a billion": (change("architecture", rates=[10**9]), "architecture.aspp_rates.0"),
    "no rate": (change("architecture", rates=[]), "architecture.aspp_rates"),
    "a billion channels": (change("architecture", channels=10**9), "architecture.aspp_channels"),
    "another stride": (change("architecture", output_stride=3), "architecture.output_stride"),
    "another number of classes": (change("architecture", num_classes=10**9), "4 class names for a network of another"),
    "dropout of text": (change("architecture", dropout="much"), "architecture.dropout"),
    "no mapping": (replace("architecture", [1, 2]), "no mapping"),
    "100,000 classes": (replace("classes", ["background", *map(str, range(100_000))]), "classes: "),
    "a class of 10,000 letters": (replace("classes", ["background", "x" * 10_000, "b", "c"]), "classes.1"),
    "a class twice": (replace("classes", ["background", "cat", "cat", "c"]), "a class is listed twice"),
    "no background": (replace("classes", ["sky", "cat", "dog", "c"]), "the first class must be 'background'"),
    "a class of two lines": (replace("classes", ["background", "cat\ndog", "c", "d"]), "a control character"),
    "a number for a class": (replace("classes", ["background", 7, "c", "d"]), "classes.1"),
    "an unknown setting": (change("settings", password="x"), "settings.password"),
    "10,000 scales": (change("settings", scales=[1.0] * 10_000), "settings.scales"),
    "a scale of a million": (change("settings", scales=[1e6]), "settings.scales.0"),
    "a scale of nothing": (change("settings", scales=[0.0]), "settings.scales.0"),
    "an endless side": (change("settings", size=10**12), "settings.size"),
    "an unknown engine": (change("settings", crf_arguments={"engine": "rm -rf"}), "settings.crf_arguments"),
    "an unknown CRF setting": (change("settings", crf_arguments={"run": "x"}), "run is not known"),
    "endless CRF": (change("settings", crf_arguments={"iterations": 10**12}), "settings.crf_arguments"),
    "an unknown merge": (change("settings", merge="median"), "settings.merge"),
    "an unknown record": (change("record", extra=1), "record.extra"),
    "an unknown stage": (change("record", network="classifier"), "record.network"),
    "no record": (replace("record", {}), "record.run"),
    "NaN": (replace("settings", '{"scales": [NaN]}'), "(settings): not valid JSON"),
    "deep JSON": (replace("record", "[" * 200_000 + "]" * 200_000), "(record): is nested too deeply"),
    "a huge integer": (replace("architecture", '{"rates": [' + "9" * 10_000 + "]}"), "(architecture): not valid JSON"),
    "a long text": (replace("record", json.dumps("x" * 2**21)), "'record' has more than 1,048,576 characters"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_metadata_is_held_to_a_schema_before_anything_is_built(
    exported: tuple[dict[str, torch.Tensor], Values], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    state, values = exported
    spoil, said = WRONG[kind]
    spoilt = json.loads(json.dumps(values))
    spoil(spoilt)
    monkeypatch.setattr(loading, "build_deeplab", lambda **_: pytest.fail("it was built"))
    with pytest.raises(InputError) as caught:
        dsrg.load(put(tmp_path / "a.safetensors", state, spoilt), "cpu")
    sentence = str(caught.value)
    assert sentence.startswith(str(tmp_path / "a.safetensors"))
    assert said in sentence
    assert sentence.endswith("export it anew.")
    assert len(sentence) < 1000
    assert "\n" not in sentence


TENSORS = {
    "more rates than tensors": (change("architecture", rates=[1] * 16, channels=4096), {}, "missing"),
    "another shape": (lambda _: None, {"branches.0.weight": torch.zeros(4, 5, 3, 3)}, "of another shape"),
    "an unknown tensor": (lambda _: None, {"extra": torch.zeros(3)}, "1 unexpected (extra)"),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_are_compared_before_the_network_takes_memory(
    exported: tuple[dict[str, torch.Tensor], Values], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    spoil, more, said = TENSORS[kind]
    state, values = exported
    spoilt = json.loads(json.dumps(values))
    spoil(spoilt)
    built: list[str] = []

    def build(**arguments: Any) -> Any:
        model = build_deeplab(**arguments)
        built.append(next(model.parameters()).device.type)
        return model

    monkeypatch.setattr(loading, "build_deeplab", build)
    with pytest.raises(InputError, match=f"does not fit this network: keys .*{re.escape(said)}"):
        dsrg.load(put(tmp_path / "a.safetensors", state | more, spoilt), "cpu")
    assert built == ["meta"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.aspp_rates", [1] * 100_000),
        ("model.aspp_rates", [10**9]),
        ("model.aspp_channels", 10**9),
        ("test.scales", [1.0] * 10_000),
        ("test.scales", [1e6]),
        ("test.size", 10**12),
        ("crf.iterations", 10**12),
        ("crf.bilateral_weight", float("inf")),
    ],
)
def test_a_runs_configuration_is_held_to_the_same_bounds(tmp_path: Path, key: str, value: Any) -> None:
    run = make_trained_run(tmp_path / "run")
    section, name = key.split(".")
    cfg = yaml.safe_load((run / "config.yaml").read_text())
    cfg[section][name] = value
    (run / "config.yaml").write_text(yaml.safe_dump(cfg))
    with pytest.raises(InputError, match=rf"{name}|a configuration may have 256 KiB|more than 4,000 values"):
        dsrg.load(run, "cpu")


def test_a_runs_tensors_are_compared_before_the_network_takes_memory(tmp_path: Path) -> None:
    run = make_trained_run(tmp_path / "run")
    path = run / "retrain/checkpoint.pt"
    state = storage.load_checkpoint(path)["model"]
    state["branches.0.weight"] = torch.zeros(1).expand(4, 512, 3, 3_000_000)
    storage.save_checkpoint(path, {"model": state})
    with pytest.raises(InputError, match=r"checkpoint\.pt .*of another shape \(branches\.0\.weight"):
        dsrg.load(run, "cpu")


@pytest.mark.parametrize("name", ["retrain/stage.json", "predictions/val/stage.json", "environment.json"])
@pytest.mark.parametrize("text", ["[]", "3", "{", '{"figures": 7}'])
def test_a_runs_spoilt_records_are_one_sentence_or_nothing_is_lost(tmp_path: Path, name: str, text: str) -> None:
    run = make_trained_run(tmp_path / "run")
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).write_text(text)
    if text == '{"figures": 7}' and name == "environment.json":
        model = dsrg.load(run, "cpu")
        assert (model.record["figures"], model.record["commit"]) == ({}, None)
        return
    with pytest.raises(InputError, match=r"stage\.json|environment\.json|not finished|nor 'dsrg' finished"):
        dsrg.load(run, "cpu")


@pytest.mark.parametrize("backbone", tables.BACKBONES)
def test_every_backbone_is_built_without_memory_first(backbone: str) -> None:
    with torch.device("meta"):
        model = build_deeplab(backbone=backbone, num_classes=4, rates=(1,), channels=0)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize("arguments", [{"iterations": "3"}, {"iterations": 3, "engine": "auto"}])
def test_settings_of_the_crf_are_numbers_and_whole(
    exported: tuple[dict[str, torch.Tensor], Values], tmp_path: Path, arguments: dict[str, Any]
) -> None:
    state, values = exported
    said = json.loads(json.dumps(values))
    said["settings"]["crf_arguments"] = arguments
    model = dsrg.load(put(tmp_path / "a.safetensors", state, said), "cpu")
    assert model.settings.crf_arguments == Crf(iterations=3).arguments()


@pytest.mark.parametrize(
    ("backbone", "weights", "said"),
    [
        ("resnet18", None, "random weights"),
        ("resnet18", "torchvision", "torchvision's ImageNet weights"),
        ("timm/resnet18", "torchvision", "timm's weights"),
        ("timm/resnet18", "timm", "timm's weights"),
        ("resnet18", "/home/me/mine.pth", "the weights file mine.pth"),
    ],
)
def test_a_card_says_where_the_backbone_started(backbone: str, weights: str | None, said: str) -> None:
    assert loading._start(Model(backbone=backbone, weights=weights)) == said


def test_an_export_says_what_the_run_said(
    run_dir: Path, exported: tuple[dict[str, torch.Tensor], Values], tmp_path: Path
) -> None:
    path = put(tmp_path / "a.safetensors", *exported)
    model, again = dsrg.load(run_dir, "cpu"), dsrg.load(path, "cpu")
    assert again.settings == model.settings
    assert again.architecture == {**model.architecture, "rates": tuple(model.architecture["rates"])}
    assert again.record == model.record
    assert again.classes.names == NAMES
    (photo,) = make_photos(tmp_path, "a.png")
    assert (again.predict(photo).mask == model.predict(photo).mask).all()
    with safe_open(path, framework="pt") as file:
        assert set(metadata.KEYS) == set(file.metadata())


def test_a_network_that_was_trained_off_the_grid_still_loads(tmp_path: Path) -> None:
    run = make_trained_run(tmp_path / "run", "dsrg")
    path = run / "config.yaml"
    path.write_text(
        path.read_text() + "dsrg: {size: 224}\n"
        if "dsrg:" not in path.read_text()
        else re.sub(r"(dsrg:.*?size: )\d+", r"\g<1>224", path.read_text(), count=1, flags=re.S)
    )
    assert config.load(path, trained=True).dsrg.size == 224
    with pytest.raises(InputError, match="off the grid"):
        config.load(path)
    assert dsrg.load(run, "cpu").classes
