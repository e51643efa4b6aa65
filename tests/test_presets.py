"""The presets of the published settings: networks, one DSRG step at 321 x 321, optimiser and schedule."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from dsrg import config, losses, schema
from dsrg.data.classes import read_classes
from dsrg.labels import BACKGROUND, IGNORE
from dsrg.models.deeplab import DeepLab
from dsrg.run import inference, networks, trainer
from dsrg.run.folder import Run
from dsrg.stages.dsrg import DsrgStep
from dsrg.study.comparison import network_name

CONFIGS = Path(__file__).parents[1] / "configs"
CLASSES = {"voc12/vgg16_official": 21, "voc12/resnet101": 21, "coco14/vgg16": 81}
SIZE, GRID = 321, 41
OWN = (1, 7)
"""The foreground classes of the made photograph."""


def load(name: str, *overrides: str) -> schema.Config:
    return config.load(CONFIGS / f"{name}.yaml", overrides)


def wiring(cfg: schema.Config) -> Run:
    """What dsrg.run.networks needs of a run; there is no data folder behind it."""
    return cast(Run, SimpleNamespace(cfg=cfg, classes=read_classes(cfg.data.classes)))


def unweighted(name: str) -> Run:
    """The preset as it is, frozen batch norm included, but with nothing to download."""
    cfg = load(name)
    return wiring(cfg.model_copy(update={"model": cfg.model.model_copy(update={"weights": None})}))


def made_batch(num_classes: int) -> dict[str, Tensor]:
    """A photograph of two fields with a few seeds in each and at the border."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 40, (1, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    images[..., : SIZE // 2] += 150
    masks = torch.full((1, SIZE, SIZE), IGNORE, dtype=torch.uint8)
    masks[:, 120:180, 60:120], masks[:, 120:180, 200:260], masks[:, :24] = *OWN, BACKGROUND
    tags = torch.zeros(1, num_classes, dtype=torch.bool)
    tags[:, [BACKGROUND, *OWN]] = True
    return {"images": images, "tags": tags, "masks": masks}


def one_step(name: str) -> tuple[DeepLab, dict[str, Tensor], Tensor, schema.Config]:
    """An untrained network, its first step's scalars, its logits and the configuration."""
    cfg = load(name, "model.weights=null", "model.freeze_batch_norm=false")
    torch.manual_seed(0)
    model = networks.new_deeplab(wiring(cfg)).train()
    logits: list[Tensor] = []
    model.register_forward_hook(lambda module, inputs, output: logits.append(output.detach()))
    scalars = DsrgStep(cfg)(model, made_batch(CLASSES[name]), 0)
    return model, scalars, logits[0], cfg


def check_step(name: str, scalars: dict[str, Tensor], logits: Tensor, cfg: schema.Config) -> None:
    assert logits.shape == (1, CLASSES[name], GRID, GRID)
    assert all(torch.isfinite(value) for value in scalars.values())
    assert scalars["seed_loss"] > 0
    batch = made_batch(CLASSES[name])
    seeds, grown, refined = DsrgStep(cfg).supervision(losses.floored_softmax(logits), batch, 0)
    assert torch.equal(seeds, batch["masks"][:, ::8, ::8])  # 321 = 8 * 40 + 1: cell i of the grid lies on pixel 8 i
    assert grown.shape == (1, GRID, GRID)
    assert torch.equal(grown[seeds != IGNORE], seeds[seeds != IGNORE])
    assert set(grown.unique().tolist()) <= {BACKGROUND, *OWN, IGNORE}
    assert refined.shape == logits.shape
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(1, GRID, GRID))
    # All classes in the CRF: an untrained network's even map stays even, and nothing grows on it.
    assert (grown != IGNORE).float().mean() < 1.2 * (seeds != IGNORE).float().mean()


@pytest.mark.parametrize("name", ["voc12/vgg16_official", "voc12/resnet101"])
def test_one_step_with_gradient(name: str) -> None:
    model, scalars, logits, cfg = one_step(name)
    check_step(name, scalars, logits, cfg)
    scalars["loss"].backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@torch.no_grad()
def test_one_step_on_coco() -> None:
    name = "coco14/vgg16"
    _, scalars, logits, cfg = one_step(name)
    check_step(name, scalars, logits, cfg)


def test_only_own_classes_in_the_crf_flood_an_untrained_network() -> None:
    """Where the settings differ that docs/reproduction.md says it of; the map is even but for a tenth of a nat."""
    name = "voc12/vgg16_official"
    coarse = torch.randn(1, CLASSES[name], 11, 11, generator=torch.Generator().manual_seed(0))
    probs = losses.floored_softmax(inference.enlarge(0.1 * coarse, (GRID, GRID)))
    coverage = {}
    for tags in ("false", "true"):
        step = DsrgStep(load(name, f"crf.tags={tags}"))
        seeds, grown, _ = step.supervision(probs, made_batch(CLASSES[name]), 0)
        coverage[tags] = float((grown != IGNORE).float().mean() / (seeds != IGNORE).float().mean())
    assert coverage["false"] < 1.2
    assert coverage["true"] > 3


@pytest.mark.parametrize("name", CLASSES)
def test_classifier_shapes(name: str) -> None:
    with torch.device("meta"):
        model = networks.new_classifier(unweighted(name))
        assert model(torch.empty(2, 3, SIZE, SIZE)).shape == (2, CLASSES[name] - 1)
        assert model.activation_maps(torch.empty(1, 3, SIZE, SIZE)).shape == (1, CLASSES[name] - 1, 21, 21)


TABLES = {
    # the network's name in the tables, the grid and the depth of what is pooled or read at 225 pixels, its parameters
    "alexnet": ("alexnet", (256, 6, 6), 61_100_840),
    "alexnet_gap": ("alexnet-GAP", (1024, 15, 15), 5_855_016),
    "alexnet_star_gap": ("alexnet*-GAP", (512, 15, 15), 6_522_664),
    "googlenet": ("googlenet", (1024, 8, 8), 6_624_904),
    "googlenet_gap": ("googlenet-GAP", (1024, 15, 15), 11_967_656),
    "googlenet_gmp": ("googlenet-GMP", (1024, 15, 15), 11_967_656),
    "nin": ("nin-GAP", (1024, 8, 8), 7_595_176),
    "vgg16": ("vgg16", (512, 7, 7), 138_357_544),
    "vgg16_gap": ("vgg16-GAP", (1024, 15, 15), 20_459_304),
}
"""The networks of the CAM paper's tables 1 and 2, by their presets in configs/imagenet."""


@pytest.mark.parametrize("name", TABLES)
def test_the_networks_of_the_cam_papers_tables(name: str) -> None:
    title, grid, parameters = TABLES[name]
    cfg = load(f"imagenet/{name}")
    assert network_name(cfg) == title
    assert (cfg.classifier.loss, cfg.classifier.size) == ("single_label", 225)
    model = cfg.model.model_copy(update={"weights": None})
    run = SimpleNamespace(cfg=cfg.model_copy(update={"model": model}), classes=range(1001))
    with torch.device("meta"):
        network = networks.new_classifier(cast(Run, run))
        images = torch.empty(2, 3, 225, 225)
        assert network.features(images).shape == (2, *grid)
        assert network(images).shape == (2, 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_every_preset_of_imagenet_is_a_network_of_the_tables() -> None:
    assert {name for name in config.presets() if name.startswith("imagenet/")} == {
        f"imagenet/{name}" for name in TABLES
    }


def test_parameter_counts() -> None:
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in networks.new_deeplab(unweighted(name)).parameters()) for name in CLASSES}
    assert counts["voc12/vgg16_official"] == 37_877_652
    assert counts["coco14/vgg16"] == 37_877_652 + 4 * (81 - 21) * (1024 + 1)  # four branches' fc8
    # torchvision's ResNet-101 without its head, and four 3 x 3 convolutions from its 2048 channels to the classes
    assert counts["voc12/resnet101"] == 44_549_160 - (2048 * 1000 + 1000) + 4 * (9 * 2048 * 21 + 21)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("stage", ["dsrg", "retrain"])
def test_learning_rates(name: str, stage: str) -> None:
    run = unweighted(name)
    settings: schema.Train = getattr(run.cfg, stage)
    with torch.device("meta"):
        model = networks.new_deeplab(run)
    optimizer, _ = trainer._optimiser(model, settings)
    last = {id(parameter) for layer in model.last_layers for parameter in layer.parameters()}
    rates = {
        id(parameter): (group["initial_lr"] / settings.lr, group["weight_decay"], group["momentum"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    trained = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(rates) == len(trained) > 8
    for key, parameter in trained.items():
        multiplier = (10 if id(parameter) in last else 1) * (2 if key.endswith("bias") else 1)
        decay = 0 if key.endswith("bias") else 5e-4
        assert rates[id(parameter)] == (pytest.approx(multiplier), decay, 0.9), key
    assert {rate for rate, *_ in rates.values()} >= {1, 10, 20}
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(not parameter.requires_grad for layer in norms for parameter in layer.parameters())
    assert bool(norms) == ("resnet" in name)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("voc12/vgg16_official", {0: 5e-4, 999: 5e-4, 1000: 1.65e-4, 2000: 5.445e-5, 7999: 5e-4 * 0.33**7}),
        ("voc12/resnet101", {0: 2.5e-4, 999: 2.5e-4, 1000: 8.25e-5, 2000: 2.7225e-5, 7999: 2.5e-4 * 0.33**7}),
        ("coco14/vgg16", {0: 5e-4, 3999: 5e-4, 4000: 1.65e-4, 8000: 5.445e-5, 31999: 5e-4 * 0.33**7}),
    ],
)
def test_schedules(name: str, rates: dict[int, float]) -> None:
    cfg = load(name)
    assert {at: rate(cfg.dsrg, at) for at in rates} == pytest.approx(rates)
    assert cfg.dsrg.iterations == max(rates) + 1
    end = cfg.retrain.iterations
    assert rate(cfg.retrain, 0) == cfg.retrain.lr
    assert rate(cfg.retrain, end // 2) == pytest.approx(cfg.retrain.lr * 0.5**0.9)
    assert rate(cfg.retrain, end) == 0


def rate(settings: schema.Train, iteration: int) -> float:
    """The learning rate of the weights at an iteration."""
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    model.last_layers = [model[1]]
    optimizer, scheduler = trainer._optimiser(model, settings)
    return optimizer.param_groups[0]["initial_lr"] * scheduler.lr_lambdas[0](iteration)


@pytest.mark.parametrize("name", CLASSES)
def test_own_seeds_are_cut_by_the_best_rule_that_no_mask_chooses(name: str) -> None:
    """As voc6 has it; its seeds are measured in docs/voc6.md."""
    cfg = load(name)
    assert (cfg.seeds.background, cfg.seeds.thresholds, cfg.seeds.crf) == ("cam", "otsu", True)
    assert cfg.seeds == load("voc6/mobilenet_v2").seeds
    saliency = ("seeds.background=saliency", "seeds.saliency_dir=maps", "seeds.thresholds=fixed", "seeds.crf=false")
    assert load(name, *saliency).seeds.saliency_threshold == 0.06  # DRFI, as docs/reproduction.md says it


def test_the_published_settings_and_those_on_frozen_features_merge_logits() -> None:
    for name in config.presets():
        cfg = load(name)
        logits = name in CLASSES or cfg.model.cache_features
        assert (cfg.masks.merge, cfg.test.merge) == (("logits",) * 2 if logits else ("probabilities",) * 2)


def test_inference_sizes() -> None:
    """On a photograph of 500 x 375: the long side of the authors' squares for the masks, its own size for the test."""
    cfg = load("voc12/vgg16_official")
    pixels = torch.zeros(3, 375, 500, dtype=torch.uint8)
    with torch.device("meta"):
        network = networks.new_deeplab(unweighted("voc12/vgg16_official"))
    sides = {}
    for name in ("masks", "test"):
        settings: schema.Inference = getattr(cfg, name)
        inputs = list(inference.pyramid(network, pixels, settings.scales, settings.size, settings.mirror))
        assert all(len(images) == 1 for images in inputs)  # no mirror image
        sides[name] = [images.shape[-1] for images in inputs]
    assert sides == {"masks": [241, 321, 401], "test": [377, 497, 625]}
