"""The settings: each says what it means, and those that contradict each other or the networks are refused."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from config_files import Write, refusal, writer
from torch.nn.modules.batchnorm import _BatchNorm

from dsrg import config, schema, tables
from dsrg.models.backbone import build_backbone
from dsrg.models.build import HEADS

SECTIONS = [
    schema.Config,
    *(type(value) for value in dict(schema.Config()).values() if isinstance(value, schema.Section)),
]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_says_what_it_means(section: type[schema.Section]) -> None:
    silent = [name for name, field in section.model_fields.items() if not (field.description or "").strip()]
    # A section within Config is described by its own docstring.
    silent = [name for name in silent if not isinstance(section.model_fields[name].default, schema.Section)]
    assert silent == []
    assert (section.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        (
            ["dsrg.scale=[2, 1]"],
            ["dsrg.scale=[1, 1]"],
            "dsrg: scale: the lower bound 2.0 is above the upper bound 1.0.",
        ),
        (
            ["classifier.iterations=10", "classifier.warmup=10"],
            ["classifier.iterations=10", "classifier.warmup=9"],
            "classifier: warmup (10) must be below iterations (10).",
        ),
        (
            ["seeds.background_threshold=0.3"],
            ["seeds.background_threshold=0.2"],
            "seeds: background_threshold (0.3) must not be above foreground_threshold (0.2).",
        ),
        (
            ["seeds.background=saliency"],
            ["seeds.background=saliency", "seeds.saliency_dir=maps"],
            "needs saliency maps",
        ),
        (
            ["losses.seed=false", "losses.boundary=false"],
            ["losses.seed=false"],
            "losses: seed and boundary are off",
        ),
        (
            ["model.backbone=resnet18", "model.weights=null"],
            ["model.backbone=resnet18", "model.weights=null", "model.freeze_batch_norm=false"],
            "model.freeze_batch_norm needs model.weights",
        ),
        (
            ["classifier.head=acol", "classifier.conv=1024"],
            ["classifier.head=acol", "classifier.acol_channels=512", "seeds.source=acol"],
            "classifier: head = acol has its own convolutions",
        ),
        (["classifier.head=acol", "classifier.pooling=max"], ["classifier.pooling=max"], "leave conv at 0"),
        (
            ["classifier.conv=1024", "cam.output_stride=32"],
            ["classifier.conv=1024", "cam.output_stride=8"],
            "cam.output_stride = 32: classifier.conv and head = acol cut vgg16 off at stride 16",
        ),
        (
            ["classifier.head=acol", "seeds.source=acol", "classifier.output_stride=32"],
            ["classifier.head=acol", "seeds.source=acol", "classifier.output_stride=32", "model.backbone=resnet18"],
            "classifier.output_stride = 32",
        ),
        (
            ["classifier.head=acol"],
            ["classifier.head=acol", "seeds.source=grad_cam"],
            "seeds.source = cam needs classifier.head = gap, which is acol; set seeds.source to acol, grad_cam",
        ),
        (
            ["seeds.source=acol"],
            ["seeds.source=grad_cam_pp"],
            "seeds.source = acol needs classifier.head = acol, which is gap; set seeds.source to cam, grad_cam",
        ),
        (
            ["model.backbone=googlenet", "model.init=classifier", "classifier.conv=1024"],
            ["model.backbone=googlenet", "model.init=classifier"],
            "model.init = classifier: classifier.conv and head = acol cut googlenet's last layers off",
        ),
        (
            ["retrain.warmup=10", "supervised.iterations=10"],
            ["retrain.warmup=9", "supervised.iterations=10"],
            "retrain.warmup (10) must be below supervised.iterations (10)",
        ),
        *(
            (
                [f"{stride}={cells}", f"{section}.size={size}", *others],
                [f"{stride}={cells}", f"{section}.size={right}", *others],
                f"{section}.size = {size} is off the grid of {stride} = {cells}, which has sizes of {cells} n + 1; "
                f"choose {below} or {above}.",
            )
            for section, stride, others in (
                ("classifier", "classifier.output_stride", ["model.backbone=resnet18"]),
                ("dsrg", "model.output_stride", []),
                ("retrain", "model.output_stride", []),
            )
            for cells, size, below, above, right in (
                (8, 320, 313, 321, 321),
                (16, 224, 209, 225, 225),
                (16, 329, 321, 337, 321),
                (32, 256, 225, 257, 257),
                (32, 34, 33, 65, 33),
            )
        ),
        (
            ["dsrg.iterations=10", "grow.warmup=10"],
            ["dsrg.iterations=10", "grow.warmup=10", "grow.enabled=false"],
            "grow.warmup (10) must be below dsrg.iterations (10)",
        ),
    ],
)
def test_settings_that_contradict_each_other(write: Write, wrong: list[str], right: list[str], message: str) -> None:
    path = write("")
    assert message in refusal(path, *wrong)
    config.load(path, right)


def test_a_power_background_needs_no_background_threshold(write: Write) -> None:
    loaded = config.load(write("seeds: {background: power, background_threshold: 0.9}"))
    assert loaded.seeds.background_threshold == 0.9


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_vgg16_and_alexnet_have_no_batch_norm_to_freeze(write: Write, name: str) -> None:
    assert config.load(write(f"model: {{backbone: {name}, weights: null}}")).model.freeze_batch_norm
    with torch.device("meta"):
        layers = list(build_backbone(name, output_stride=16).modules())
    assert not any(isinstance(layer, _BatchNorm) for layer in layers)


def test_the_schema_and_the_networks_agree_on_the_backbones() -> None:
    for name, backbone in tables.BACKBONES.items():
        architecture = tables.part(backbone.place)
        assert backbone.cut == (architecture.cut_channels is not None), name
        assert backbone.own_head == (architecture.hidden is not None) == (architecture.published is not None), name
        layers = architecture.make().modules()
        assert backbone.batch_norm == any(isinstance(layer, _BatchNorm) for layer in layers), name
    assert get_args(schema.Classifier.model_fields["head"].annotation) == HEADS


def test_every_head_has_maps_of_its_own_and_those_that_any_has() -> None:
    every = ["grad_cam", "grad_cam_pp", "saliency", "saliency_cut"]
    assert tables.maps_of("gap") == ["cam", *every]
    assert tables.maps_of("acol") == ["acol", *every]
    assert tables.maps_of("own") == every  # fully connected layers have no map of their own
    assert {maps.head for maps in tables.MAPS.values()} == {None, *HEADS} - {"own"}


def test_crf_positions_are_divided_by_the_scale_and_colours_are_not() -> None:
    crf = schema.Crf()
    full, grid = crf.arguments(), crf.on_grid(crf.train_scale)
    assert grid["bilateral_sxy"] == pytest.approx(80 / 12)
    assert grid["gaussian_sxy"] == pytest.approx(3 / 12)
    unscaled = full.keys() - {"bilateral_sxy", "gaussian_sxy"}
    assert {key: full[key] for key in unscaled} == {key: grid[key] for key in unscaled}
    assert (full["bilateral_sxy"], full["gaussian_sxy"], full["bilateral_srgb"]) == (80, 3, 13)


def test_crf_positions_grow_with_the_photograph_where_its_long_side_is_given() -> None:
    crf = schema.Crf(long_side=500)
    assert crf.arguments() == schema.Crf().arguments() | {"long_side": 500}
    assert crf.on_grid(4, (750, 1000)) == schema.Crf().on_grid(2)
    assert crf.on_grid(4, (375, 500)) == schema.Crf().on_grid(4, (750, 1000)) == schema.Crf().on_grid(4)
    assert crf.on_grid(crf.train_scale) == schema.Crf().on_grid(crf.train_scale)
