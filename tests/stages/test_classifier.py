"""The classifier's stage by itself: both losses, both heads, and what its figures and refusals say."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from demo_run import make_demo_data, start_demo_run
from helpers import Tool, check_refusal, read_log
from sklearn.metrics import top_k_accuracy_score
from torch import Tensor

from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.models.acol import ACoL
from dsrg.run import networks
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.classifier import _figures, classify, label_loss, top_error

ROOT = Path(__file__).parents[2]
QUICK = (
    *("workers=0", "cam.scales=[1.0]", "cam.output_stride=16", "classifier.acol_channels=8"),
    *(f"classifier.{setting}" for setting in ("iterations=2", "batch=4", "size=65", "log_every=1", "warmup=0")),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=8, val=4)


@pytest.fixture(scope="module")
def single(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photographs, each with the first of its labels alone."""
    root = tmp_path_factory.mktemp("single") / "demo"
    shutil.copytree(data, root)
    path = root / "image_labels.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *([name, labels.split()[0]] for name, labels in rows[1:])])
    return root


def settings(data: Path, run_dir: Path, *overrides: str) -> tuple[str, ...]:
    return (f"data.root={data}", f"run_dir={run_dir}", *QUICK, *overrides)


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return start_demo_run(data, run_dir, *QUICK, *overrides)


@pytest.mark.parametrize("loss", ["multi_label", "single_label"])
def test_acol_trains_and_its_maps_become_cams(data: Path, single: Path, tmp_path: Path, loss: str) -> None:
    root = single if loss == "single_label" else data
    run = make_run(root, tmp_path, "classifier.head=acol", "seeds.source=acol", f"classifier.loss={loss}")
    figures = classify(run).figures
    assert 0 <= figures["classifier_map"] <= 1
    assert ("classifier_top1_error" in figures) == (loss == "single_label")
    for line in read_log(tmp_path / "classifier"):
        assert line["loss"] == pytest.approx(line["loss_a"] + line["loss_b"], rel=1e-5)
    model = networks.trained_classifier(run)
    assert isinstance(model, ACoL)
    assert model.threshold == 0.6
    if loss == "multi_label":
        make_cams(run)
        for photo in run.train:
            classes, maps = storage.read_cams(tmp_path / "cams" / f"{photo.id}.npz")
            assert np.array_equal(classes, np.flatnonzero(photo.tags[1:]) + 1)
            assert maps.shape == (len(classes), 16, 16)
            assert maps.min() >= 0
            assert (maps.min(axis=(1, 2)) == 0).all()
            assert (maps.max(axis=(1, 2)) == 1).all()


def test_single_label_training_by_the_tool(single: Path, tmp_path: Path, tool: Tool) -> None:
    config_file = ROOT / "configs/demo/resnet18.yaml"
    overrides = settings(single, tmp_path, "classifier.loss=single_label", "classifier.conv=8")
    code, out, _ = tool("train_classifier", "--cfg", config_file, *overrides)
    assert code == 0
    figures = disk.read_json(tmp_path / "classifier" / "stage.json")["figures"]
    assert str(figures["classifier_top1_error"]) in out
    names = make_run(single, tmp_path).classes.foreground
    assert figures["classifier_ap"].keys() == set(names)
    assert ("classifier_top5_error" in figures) == (len(names) > 5)
    state = storage.load_checkpoint(tmp_path / "classifier" / "checkpoint.pt")["model"]
    assert state["conv.0.weight"].shape == (8, 512, 3, 3)


def test_single_label_refuses_a_photograph_with_two(data: Path, tmp_path: Path, tool: Tool) -> None:
    run = make_run(data, tmp_path / "run", "classifier.loss=single_label")
    first = next(photo for photo in run.train if photo.tags[1:].sum() > 1)
    names = ", ".join(np.array(run.classes.names)[1:][first.tags[1:]])
    overrides = settings(data, tmp_path / "run", "classifier.loss=single_label")
    refused = tool("train_classifier", "--cfg", ROOT / "configs/demo/resnet18.yaml", *overrides)
    check_refusal(refused, first.path, f"has the labels {names}", "classifier.loss=multi_label")
    assert not (tmp_path / "run").exists()


def test_single_label_refuses_a_validation_photograph_too(single: Path, tmp_path: Path) -> None:
    root = tmp_path / "demo"
    shutil.copytree(single, root)
    run = make_run(root, tmp_path / "run")
    name, labels = run.val[-1].id, run.classes.foreground[:2]
    path = root / "image_labels.csv"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(name)]
    path.write_text("\n".join([*lines, f"{name},{' '.join(labels)}", ""]))
    with pytest.raises(InputError, match=rf"{name}\.\w+: has the labels {', '.join(labels)}"):
        classify(make_run(root, tmp_path / "run", "classifier.loss=single_label"))


def test_a_run_from_before_the_new_keys_counts_as_made_with_their_defaults(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path)
    classify(run)
    path = tmp_path / "classifier" / "stage.json"
    record = disk.read_json(path)
    for key in ("head", "conv", "acol_channels", "acol_threshold", "loss"):
        del record["settings"][f"classifier.{key}"]
    disk.write_json(path, record)
    default = "classifier.acol_channels=1024"
    assert make_run(data, tmp_path, default).stage("classifier").finished
    with pytest.raises(InputError, match="was made with classifier.head = gap, which is now acol"):
        classify(make_run(data, tmp_path, default, "classifier.head=acol", "seeds.source=acol"))


def _scores(count: int, classes: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(count)
    logits = torch.randn(count, classes, generator=random, dtype=torch.float64) * 3
    labels = torch.randint(classes, (count,), generator=random)
    tags = torch.zeros(count, classes + 1, dtype=torch.bool)
    tags[:, 0] = True
    tags[torch.arange(count), labels + 1] = True
    return logits, tags


def test_single_label_loss_is_the_negative_log_of_the_softmax() -> None:
    logits, tags = _scores(9, 4)
    naive = [-np.log(np.exp(row[own]) / np.exp(row).sum()) for row, own in _rows(logits, tags)]
    assert float(label_loss(logits, tags, "single_label")) == pytest.approx(np.mean(naive), rel=1e-6)
    torch.testing.assert_close(
        label_loss(logits, tags, "single_label").double(),
        torch.nn.NLLLoss()(logits.log_softmax(dim=1), tags[:, 1:].nonzero()[:, 1]),
    )


def test_multi_label_loss_is_the_binary_cross_entropy_of_each_class() -> None:
    logits, tags = _scores(9, 4)
    tags[3, 1:] = True
    right = 1 / (1 + np.exp(-logits.numpy() * np.where(tags[:, 1:].numpy(), 1, -1)))
    assert float(label_loss(logits, tags, "multi_label")) == pytest.approx(-np.log(right).mean(), rel=1e-6)


@pytest.mark.parametrize("top", [1, 3, 5, 7])
def test_top_error_follows_scikit_learn(top: int) -> None:
    scores, tags = _scores(40, 8)
    labels = [own for _, own in _rows(scores, tags)]
    expected = 1 - top_k_accuracy_score(labels, scores.numpy(), k=top, labels=range(8))
    assert top_error(scores, tags[:, 1:], top) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [5, 6])
def test_the_top5_error_is_a_figure_where_it_can_be_wrong(classes: int) -> None:
    scores, tags = _scores(40, classes)
    names = [f"class {number}" for number in range(classes)]
    figures = _figures(scores, tags[:, 1:], names, "single_label")
    assert figures["classifier_top1_error"] == top_error(scores, tags[:, 1:], 1) > 0
    assert ("classifier_top5_error" in figures) == (classes > 5)
    if classes > 5:
        assert 0 < figures["classifier_top5_error"] < figures["classifier_top1_error"]
    assert _figures(scores, tags[:, 1:], names, "multi_label").keys() == {"classifier_map", "classifier_ap"}


def _rows(logits: Tensor, tags: Tensor) -> list[tuple[np.ndarray, int]]:
    return [(row, int(np.flatnonzero(own)[0])) for row, own in zip(logits.numpy(), tags[:, 1:].numpy(), strict=True)]
