"""A new part of each kind is one file and one table line: the file is this one, the line is added from outside."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Tool, check_refusal
from torch import Tensor, nn
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg import config, crf, tables
from dsrg.data.demo import generate
from dsrg.data.sources import find_sources
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.labels import Classes
from dsrg.mean_field import Kernels
from dsrg.models.architectures import Architecture
from dsrg.models.build import build_classifier, build_deeplab
from dsrg.predict.formats import Drawn
from dsrg.predict.photographs import Options, predict
from dsrg.run import inference
from dsrg.run.boxing import Boxed
from dsrg.stages.dsrg import DsrgStep

CONFIG = Path(__file__).parents[1] / "configs/demo/resnet18.yaml"


def _make() -> nn.Sequential:
    """Five halvings."""
    widths = (3, 4, 4, 4, 4, 8)
    layers = [nn.Conv2d(before, after, 3, 2, 1) for before, after in itertools.pairwise(widths)]
    return nn.Sequential(*layers)


TINY = Architecture(_make, lambda network: [[layer] for layer in network], (), 8)


def test_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables.BACKBONES, "tiny", tables.Backbone(f"{__name__}:TINY", batch_norm=False))
    cfg = config.load(None, ["model.backbone=tiny", "model.weights=null"])
    images = torch.zeros(1, 3, 33, 65)
    assert build_deeplab(backbone=cfg.model.backbone, num_classes=3, channels=0)(images).shape == (1, 3, 5, 9)
    assert build_classifier(backbone="tiny", num_classes=3)(images).shape == (1, 2)


def _hidden() -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 6), nn.ReLU())


def _split(network: nn.Sequential) -> list[list[nn.Module]]:
    return [[layer] for layer in network]


TINY_OWN = Architecture(_make, _split, (), 8, published=_split, hidden=_hidden)


def test_a_backbone_with_a_head_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    """It is trained, and its boxes are measured, by all that needs no CAM."""
    line = tables.Backbone(f"{__name__}:TINY_OWN", batch_norm=False, own_head=True)
    monkeypatch.setitem(tables.BACKBONES, "tiny", line)
    generate(tmp_path / "data", train=4, val=2, size=48)
    words = [f"data.root={tmp_path / 'data'}", f"run_dir={tmp_path / 'run'}", "model.backbone=tiny", "workers=0"]
    words += ["classifier.head=own", "seeds.source=grad_cam", "classifier.output_stride=32", "cam.output_stride=32"]
    words += [
        "classifier.size=65",
        "classifier.iterations=2",
        "classifier.warmup=0",
        "classifier.batch=2",
        "device=cpu",
    ]
    given = ("--cfg", CONFIG, *words)
    assert tool("train-classifier", *given)[0] == 0
    assert tool("localize", *given, "--pictures", 0)[0] == 0
    rows = disk.read_json(tmp_path / "run/localize/val/localize.json")["rows"]
    assert [row["method"] for row in rows] == ["grad_cam", "grad_cam_pp", "saliency", "saliency_cut"]
    assert {row["network"] for row in rows} == {"tiny"}
    check_refusal(tool("localize", *given, "--methods", "cam"), "cam", "classifier.head = gap")
    check_refusal(
        tool("show-units", *given, "--class", "cat"), "classifier.head = own: it ends in fully connected layers"
    )


def brightness(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Maps that look at no class: the photograph's red channel."""
    return images[:, :1].expand(-1, classes.shape[1], -1, -1)


def test_a_source_of_maps_and_so_of_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables.MAPS, "brightness", tables.Maps(f"{__name__}:brightness", "brightness"))
    assert config.load(None, ["seeds.source=brightness"]).seeds.source == "brightness"
    pixels = torch.zeros(3, 65, 65, dtype=torch.uint8)
    pixels[0, 32, 32] = 255
    model = build_classifier(backbone="resnet18", num_classes=3).eval()
    maps = inference.activation_maps(
        model, pixels, torch.tensor([True, False, True]), source="brightness", scales=(1.0,), size=None, mirror=False
    )
    assert maps.shape == (2, 17, 17)
    assert maps[0].max() == 0
    assert int(maps[1].argmax()) == 8 * 17 + 8


def left_half(pixels: np.ndarray, box: np.ndarray, *, core: float, cuts: int) -> np.ndarray:
    """The object is the left half of its box."""
    share = np.zeros(pixels.shape[:2], np.float32)
    share[box[1] : box[3], box[0] : (box[0] + box[2]) // 2] = 1
    return share


def test_a_way_to_cut_boxes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(tables.BOXES, "left_half", f"{__name__}:left_half")
    cfg = config.load(None, ["seeds.boxes=left_half", "boxes.crf=false"])
    boxed = Boxed(tmp_path, Classes(("background", "cat")), str(cfg.seeds.boxes), cfg.boxes, cfg.crf)
    found = boxed.cut(np.zeros((20, 30, 3), np.uint8), np.array([5, 2, 15, 12]))
    assert found.tolist() == [[1] * 5 + [0] * 5] * 10


def half(probs: Tensor, seeds: Tensor) -> Tensor:
    """A loss that is a half whatever it sees."""
    return probs.sum() * 0 + 0.5


def test_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"unknown key 'losses\.half'"):
        config.load(None, ["losses.half=true"])
    monkeypatch.setitem(tables.LOSSES, "half", tables.Loss(f"{__name__}:half", "grown"))
    cfg = config.load(None, ["losses.half=true", "losses.boundary=false", "grow.enabled=false"])
    model = build_deeplab(backbone="resnet18", num_classes=3, channels=0).eval()
    batch = {
        "images": torch.zeros(1, 3, 65, 65, dtype=torch.uint8),
        "masks": torch.zeros(1, 65, 65, dtype=torch.uint8),
        "tags": torch.ones(1, 3, dtype=torch.bool),
    }
    scalars = DsrgStep(cfg)(model, batch, 0)
    assert scalars["half_loss"] == 0.5
    torch.testing.assert_close(scalars["loss"], scalars["seed_loss"] + 0.5)


def content(drawn: Drawn) -> bytes:
    """A format that says how large the mask is."""
    return str(drawn.mask.shape).encode()


def test_a_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables.FORMATS, "size", tables.Format(f"{__name__}:content", "sizes/{name}.txt"))
    run = make_trained_run(tmp_path / "run", "dsrg")
    make_photos(tmp_path / "photos", "a.jpg", size=(40, 36))
    sources, *_ = find_sources([tmp_path / "photos"])
    predict(dsrg.load(run), sources, tmp_path / "out", Options(formats=("png", "size"), crf=False, workers=0))
    assert (tmp_path / "out/sizes/a.txt").read_text() == "(36, 40)"


def mean_field(unary: Tensor, images: Tensor, kernels: Kernels) -> Tensor:
    """An engine that refines nothing."""
    return unary.softmax(dim=1)


def rank(device: torch.device, pixels: int) -> int:
    """The first choice for a single pixel."""
    return 9 if pixels == 1 else 0


def refuse(device: torch.device, height: int, width: int) -> None:
    """Takes everything."""


def test_a_crf_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables.CRF_ENGINES, "none", __name__)
    assert config.load(None, ["crf.engine=none"]).crf.engine == "none"
    probs = torch.rand(1, 3, 4, 4).softmax(dim=1)
    refined = crf.dense_crf(probs, torch.zeros(1, 3, 4, 4), engine="none")
    torch.testing.assert_close(refined, probs)
    assert crf._choose(torch.device("cpu"), 1)[0].__name__ == __name__
