"""The units of a class: the photographs that drive them, against a computation of everything at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data
from helpers import Tool, check_refusal
from PIL import Image

from dsrg import config
from dsrg.data.training import TrainingSet, joint_transform
from dsrg.files import storage
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.study import show_units as stage
from dsrg.study.show_units import TILE, show_units

CONFIG = Path(__file__).parents[2] / "configs/demo/resnet18.yaml"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=7, val=1)


def words(data: Path, run_dir: Path, *overrides: str) -> list[str]:
    small = ("workers=0", "device=cpu", "cam.output_stride=16", "classifier.size=65", "classifier.acol_channels=4")
    return [f"data.root={data}", f"run_dir={run_dir}", *small, *overrides]


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    run = Run(config.load(CONFIG, words(data, run_dir, *overrides)))
    torch.manual_seed(0)
    storage.save_checkpoint(run_dir / "classifier/checkpoint.pt", {"model": networks.new_classifier(run).state_dict()})
    return run


def test_photographs_are_those_of_a_full_computation(
    data: Path, tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(data, tmp_path)
    monkeypatch.setattr(stage, "BATCH", 3)
    code, out, _ = tool(
        "show_units", "--cfg", CONFIG, "--class", "frog", "--units", 4, "--images", 3, *words(data, tmp_path)
    )
    assert code == 0
    told = json.loads((tmp_path / "explain/units-frog.json").read_text())

    model = networks.trained_classifier(run)
    weight = model.linear.weight[run.classes.names.index("frog") - 1].detach().numpy()
    units = np.argsort(-weight)[:4]
    assert [unit["unit"] for unit in told["units"]] == units.tolist()
    assert [unit["weight"] for unit in told["units"]] == pytest.approx(weight[units].tolist())
    still = joint_transform(size=65, resize="warp", scale=(1, 1), mirror=False, colour=0)
    samples = TrainingSet(run.train, None, still, 0)
    images = torch.stack([samples[0, index]["images"] for index in range(7)])
    with torch.no_grad():
        features = model.features(inference.normalise(images))
    for unit in told["units"]:
        peaks = features[:, unit["unit"]].amax(dim=(1, 2)).numpy()
        best = np.argsort(-peaks)[:3]
        assert [shown["id"] for shown in unit["photographs"]] == [run.train[number].id for number in best]
        assert [shown["value"] for shown in unit["photographs"]] == pytest.approx(peaks[best].tolist(), rel=1e-4)
        for shown in unit["photographs"]:
            x0, y0, x1, y1 = shown["box"]
            assert 0 <= x0 < x1 <= 64
            assert 0 <= y0 < y1 <= 64
    assert f"unit {units[0]} ({weight[units[0]]:+.4f})" in out
    assert Image.open(tmp_path / "explain/units-frog.png").width == 4 * (TILE + 4) + 4


def test_more_images_than_photographs_shows_them_all(data: Path, tmp_path: Path) -> None:
    told = show_units(make_run(data, tmp_path), "cat", units=1, images=9)
    assert 1 <= len(told["units"][0]["photographs"]) <= 7


def test_what_cannot_be_shown_is_one_sentence(data: Path, tmp_path: Path, tool: Tool) -> None:
    def call(name: str, *options: object, extra: tuple[str, ...] = ()) -> tuple[int, str, str]:
        return tool("show_units", "--cfg", CONFIG, "--class", name, *options, *words(data, tmp_path, *extra))

    check_refusal(call("cat"), tmp_path / "classifier")
    make_run(data, tmp_path)
    check_refusal(call("dog"), "--class", "'dog'", "cat")
    check_refusal(call("background"), "--class background")
    check_refusal(call("cat", "--units", 0), "--units 0")
    check_refusal(call("cat", "--units", 513), "--units 513", "512")
    extra = ("classifier.head=acol", "seeds.source=acol")
    make_run(data, tmp_path, *extra)
    check_refusal(call("cat", extra=extra), "classifier.head = acol", "no linear layer", "gap")
    assert not (tmp_path / "explain").exists()
