"""Features of frozen stages, computed once: what they are, how a training on them goes, and what damages them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data, start_demo_run
from torch import nn

from dsrg import config
from dsrg.errors import InputError
from dsrg.files import storage
from dsrg.models.backbone import Backbone
from dsrg.models.build import build_classifier, build_deeplab, load_backbone_from
from dsrg.run import features, networks
from dsrg.run.features import Features, frozen_features
from dsrg.run.folder import Run
from dsrg.run.inference import normalise
from dsrg.stages.classifier import classify
from dsrg.stages.retrain import retrain

CACHED = (
    *("model.cache_features=true", "model.freeze_batch_norm=false", "model.init=weights", "classifier.size=65"),
    *("classifier.iterations=6", "classifier.batch=4", "classifier.warmup=0", "classifier.checkpoint_every=3"),
    *(f"{section}.{key}" for section in ("classifier", "dsrg", "retrain") for key in ("resize=warp", "colour=0")),
)
Start = Callable[..., Run]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=5, val=2)


@pytest.fixture
def start(demo: Path, tmp_path: Path) -> Start:
    def begin(*overrides: str, name: str = "run") -> Run:
        return start_demo_run(demo, tmp_path / name, *CACHED, "model.freeze_stages=3", *overrides)

    return begin


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2", "vgg16"])
@pytest.mark.parametrize("stages", [0, 1, 4, 5])
@pytest.mark.parametrize("neck", [True, False])
def test_what_is_cached_continues_to_the_same_output(backbone: str, stages: int, neck: bool) -> None:
    torch.manual_seed(0)
    model = build_deeplab(
        backbone=backbone, num_classes=3, output_stride=16, rates=(1,), channels=8, neck=neck, freeze_stages=stages
    ).eval()
    images = torch.randn(2, 3, 33, 65)
    cached = model.backbone.frozen_features(images)  # type: ignore[operator]
    assert not cached.requires_grad
    assert torch.equal(model(cached, cached=True), model(images))


def test_only_what_is_not_frozen_learns_from_cached_features() -> None:
    torch.manual_seed(0)
    model = build_deeplab(
        backbone="mobilenet_v2", num_classes=3, output_stride=16, rates=(1,), channels=8, freeze_stages=5
    )
    backbone = model.backbone
    assert isinstance(backbone, Backbone) and backbone.neck == 1
    model(backbone.frozen_features(torch.randn(2, 3, 33, 33)), cached=True).sum().backward()
    assert all(parameter.grad is None for parameter in backbone.parameters())
    assert all(parameter.grad is not None for branch in model.branches for parameter in branch.parameters())


def test_a_network_without_its_neck_takes_the_classifiers_backbone() -> None:
    torch.manual_seed(0)
    classifier = build_classifier(backbone="mobilenet_v2", num_classes=3)
    model = build_deeplab(backbone="mobilenet_v2", num_classes=3, output_stride=16, neck=False)
    load_backbone_from(model, classifier.state_dict())
    images = torch.randn(1, 3, 65, 65)
    layers = [*classifier.backbone.stages[:4], classifier.backbone.stages[4][:-1]]  # type: ignore[index]
    expected = nn.Sequential(*layers).eval()(images)  # type: ignore[arg-type]
    found = model.backbone.eval()(images)
    assert found.shape[1] == 320
    assert torch.equal(found, expected)


def test_another_backbones_layers_are_not_dropped_as_a_neck() -> None:
    model = build_deeplab(backbone="mobilenet_v2", num_classes=3, output_stride=16, neck=False)
    state = build_classifier(backbone="mobilenet_v2", num_classes=3).state_dict()
    state["backbone.stages.4.6.0.weight"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"stages\.4\.6\.0\.weight"):
        load_backbone_from(model, state)


def test_the_file_holds_each_photograph_and_its_mirror_image(start: Start) -> None:
    run = start()
    model = networks.new_deeplab(run).to(run.device)
    found = frozen_features(run, model, 65)
    from dsrg.data.training import TrainingSet, joint_transform

    still = joint_transform(size=65, resize="warp", scale=(1, 1), mirror=False, colour=0)
    samples = TrainingSet(run.train, None, still, 0)
    for index in range(len(run.train)):
        pixels = samples[0, index]["images"][None]
        for mirrored, images in enumerate((pixels, pixels.flip(-1))):
            expected = model.backbone.eval().frozen_features(normalise(images))[0]  # type: ignore[operator]
            torch.testing.assert_close(found.of(index, bool(mirrored)).float(), expected, rtol=2e-3, atol=2e-3)


def test_a_file_that_was_begun_is_ended_with_the_same_bytes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start()
    model = networks.new_deeplab(run).to(run.device)
    whole = frozen_features(run, model, 65)
    other = start(name="other")

    calls = 0
    original = features._frozen

    def dying(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:  # the first call asks for the shape
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(features, "_frozen", dying)
        frozen_features(other, model, 65)
    again = frozen_features(other, model, 65)
    assert again.directory != whole.directory
    assert again.directory.name == whole.directory.name
    assert np.array_equal(again.values, whole.values) and np.array_equal(again.checks, whole.checks)


def test_runs_share_a_folder_of_features_and_other_sizes_have_their_own(start: Start, tmp_path: Path) -> None:
    shared = f"features_dir={tmp_path / 'shared'}"
    first, second = start(shared), start(shared, name="second")
    directories = [
        frozen_features(run, networks.new_deeplab(run).to(run.device), 65).directory for run in (first, second)
    ]
    assert directories[0] != directories[1]  # random weights: another network
    network = networks.new_deeplab(first)
    assert frozen_features(first, network, 65).directory == frozen_features(second, network, 65).directory
    assert frozen_features(first, network, 33).directory not in directories


@pytest.mark.parametrize("name", ["features.npy", "checks.npy"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "garbage", "empty"])
def test_damaged_features_are_refused(start: Start, name: str, damage: str) -> None:
    run = start()
    network = networks.new_deeplab(run)
    directory = frozen_features(run, network, 65).directory
    path = directory / name
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1] ^= 4
    changed = {
        "flipped": bytes(content),
        "cut": bytes(content[: len(content) // 2]),
        "garbage": b"x" * 99,
        "empty": b"",
    }
    path.write_bytes(changed[damage])
    with pytest.raises(InputError, match=r"delete this folder"):
        frozen_features(run, network, 65).of(len(run.train) - 1, True)


def test_pickled_features_map_the_file_anew(start: Start) -> None:
    import pickle

    run = start()
    found = frozen_features(run, networks.new_deeplab(run), 65)
    sent = pickle.dumps(found)
    assert len(sent) < 1000
    received = pickle.loads(sent)
    assert isinstance(received, Features)
    assert torch.equal(received.of(1, True), found.of(1, True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_on_features_that_is_interrupted_ends_with_the_same_bits(
    start: Start, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, torn = (start(f"workers={workers}", name=name) for name in ("through", "torn"))
    classify(through)
    from dsrg.run import engine

    save = engine._save

    def saving(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "_save", saving)
        classify(torn)
    classify(torn)
    networks_of = [storage.load_network(run.directory_of("classifier") / "checkpoint.pt") for run in (through, torn)]
    assert all(torch.equal(networks_of[0][key], networks_of[1][key]) for key in networks_of[0])


def test_epochs_become_iterations(start: Start) -> None:
    run = start("classifier.epochs=6", "retrain.epochs=0.01", "retrain.warmup=0")
    assert run.cfg.classifier.iterations == round(6 * 5 / 4)
    assert run.cfg.retrain.iterations == 1
    with pytest.raises(InputError, match=r"warmup"):
        start("classifier.epochs=1", "classifier.warmup=3")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.freeze_stages=0", "freeze_stages"),
        ("retrain.freeze_stages=0", "retrain.freeze_stages"),
        ("retrain.freeze_stages=4", "must not be above model.freeze_stages"),
        ("dsrg.resize=crop", "dsrg.resize"),
        ("retrain.colour=0.1", "retrain.colour"),
    ],
)
def test_settings_that_do_not_fit_are_named(start: Start, override: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        start(override)


def test_retraining_may_train_more_stages(start: Start, demo: Path, tmp_path: Path) -> None:
    run = start("retrain.freeze_stages=2", "retrain.start=fresh", "retrain.warmup=0", "retrain.iterations=2")
    shutil.copytree(demo / "SegmentationClass", run.directory / "masks")
    retrain(run)
    torch.manual_seed(run.cfg.seed)  # as each stage begins
    before = networks.new_deeplab(run).state_dict()
    after = storage.load_checkpoint(run.directory / "retrain/checkpoint.pt")["model"]
    changed = {name.split(".")[2] for name in before if "stages" in name and not torch.equal(before[name], after[name])}
    assert changed == {"2", "3", "4"}


def test_a_finer_grid_than_the_networks(demo: Path, tmp_path: Path) -> None:
    from dsrg.stages.dsrg import DsrgStep

    run = start_demo_run(demo, tmp_path, "model.init=weights", "model.output_stride=16", "dsrg.grid=8", "dsrg.size=65")
    model = networks.new_deeplab(run)
    batch = {"images": torch.zeros(1, 3, 65, 65, dtype=torch.uint8)}
    assert DsrgStep(run.cfg).probabilities(model, batch).shape[-2:] == (9, 9)
    with pytest.raises(InputError, match=r"dsrg\.grid"):
        config.change(run.cfg, {"dsrg.grid": 32})
