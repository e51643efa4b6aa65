"""test.gate in a run: what the classifier sees, its predictions, what they depend on, and what runs need it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Tool, check_refusal, make_voc
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import dsrg
from dsrg import config
from dsrg.app.studio import Studio
from dsrg.errors import InputError
from dsrg.files import pictures, storage
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.run.gating import Gate
from dsrg.schema import Classifier
from dsrg.stages.order import planned
from dsrg.stages.predictions import evaluate
from dsrg.study.ablate import Ablation
from dsrg.study.examples import examples

PRESET = Path(__file__).parents[2] / "configs/demo/resnet18.yaml"
GATED = "test.gate=true"
LABELS = {"a": "cat", "b": "dog;traffic light", "c": "cat dog", "d": "dog"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": ("a", "b"), "val": ("c", "d")}
    return make_voc(tmp_path_factory.mktemp("data"), splits, size=(60, 45), labels=LABELS)


def start(data: Path, run_dir: Path, *overrides: str) -> Run:
    return Run(config.load(PRESET, [f"data.root={data}", f"run_dir={run_dir}", "workers=0", "device=cpu", *overrides]))


def make_run(data: Path, run_dir: Path, *overrides: str, trained: tuple[str, ...] = ("dsrg",)) -> Run:
    """A run of random networks whose classifier sees little of the first class and nothing of the second."""
    run = start(data, run_dir, "test.crf=false", *overrides)
    torch.manual_seed(0)
    classifier = networks.new_classifier(run)
    with torch.no_grad():
        classifier.linear.bias += torch.tensor([-1.0, -9.0, 5.0])
    storage.save_checkpoint(run_dir / "classifier/checkpoint.pt", {"model": classifier.state_dict()})
    for name in trained:
        model = networks.new_deeplab(run)
        for layer in model.last_layers:
            layer.weight.data *= 3
        storage.save_checkpoint(run_dir / name / "checkpoint.pt", {"model": model.state_dict()})
    return run


class Corner(nn.Module):
    """Logits of three classes that tell the input's size and its first pixel apart from the mirror image's."""

    output_stride = 16

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, 0, 0, 0]
        return torch.stack([first, 0 * first + images.shape[2] / 100, 0 * first - images.shape[3] / 100], dim=1)


@pytest.mark.parametrize("loss", ["multi_label", "single_label"])
@pytest.mark.parametrize(
    ("resize", "shape", "seen"),
    [
        ("warp", (45, 60), (97, 97)),
        ("crop", (45, 60), (81, 97)),  # 72.75 + 1, on the grid of 16 n + 1
        ("crop", (300, 200), (97, 65)),
        ("crop", (10, 400), (33, 97)),  # no side is shorter than two cells of the coarsest grid
    ],
)
def test_the_classifier_sees_the_photograph_and_its_mirror_image_as_its_training_did(
    loss: str, resize: str, shape: tuple[int, int], seen: tuple[int, int]
) -> None:
    settings = Classifier.model_validate({"size": 97, "resize": resize, "loss": loss})
    photo = torch.randint(0, 256, (1, 3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = Gate(Corner(), settings).class_probs(photo)
    small = functional.interpolate(photo.float(), seen, mode="bilinear", antialias=True)[0]
    expected = []
    for corner in (small[0, 0, 0], small[0, 0, -1]):
        logits = np.array([(corner / 255 - 0.485) / 0.229, seen[0] / 100, -seen[1] / 100], np.float64)
        powers = np.exp(logits)
        expected.append(powers / powers.sum() if loss == "single_label" else powers / (1 + powers))
    assert np.allclose(found[0].numpy(), np.mean(expected, axis=0), atol=1e-6)


def gated_mask(run: Run, path: Path, stage: str) -> np.ndarray:
    """The mask by hand: the network's probabilities at one scale times the factors, then argmax."""
    photo = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).contiguous()
    model, classifier = networks.trained_deeplab(run, stage), networks.trained_classifier(run)
    probs = inference.predict_probs(model, photo, scales=(1.0,), size=97, mirror=True).numpy()
    square = functional.interpolate(photo[None].float(), (97, 97), mode="bilinear", antialias=True)
    with torch.no_grad():
        sides = [classifier(inference.normalise(image)).sigmoid()[0] for image in (square, square.flip(-1))]
    factors = np.minimum(1, torch.stack(sides).mean(dim=0).numpy() / 0.5)
    assert factors[1] < 0.01 < factors[0] < factors[2] == 1
    return np.asarray((probs * np.concatenate([[1], factors])[:, None, None]).argmax(axis=0))


SOME = ("cam.output_stride=16",)  # the classifier's own, so that trained_classifier serves gated_mask


def test_predictions_are_the_argmax_of_the_gated_probabilities_everywhere(
    data: Path, tmp_path: Path, tool: Tool
) -> None:
    run = make_run(data, tmp_path / "run", GATED, *SOME)
    evaluate(run, "dsrg")
    folder = tmp_path / "run/dsrg/predictions/val"
    made = {photo.id: pictures.read_mask(folder / f"{photo.id}.png") for photo in run.val}
    used, segmenter = Studio(run), dsrg.load(tmp_path / "run", "cpu")
    photos = {photo.id: np.array(Image.open(photo.path)) for photo in run.val}
    for photo in run.val:
        assert np.array_equal(gated_mask(run, photo.path, "dsrg"), made[photo.id])
        assert np.array_equal(used.mask(photos[photo.id], None, crf=False), made[photo.id])
        assert np.array_equal(segmenter.predict(photo.path).mask, made[photo.id])
    for one, found in zip(run.val, segmenter.predict([photo.path for photo in run.val]), strict=True):  # as a batch
        assert np.array_equal(found.mask, made[one.id])
    assert examples(run, 1)[0].prediction is not None
    paths = [photo.path for photo in run.val]
    assert tool("predict", *paths, "--model", tmp_path / "run", "--out", tmp_path / "out", "--workers", 0)[0] == 0
    for name, mask in made.items():
        assert np.array_equal(pictures.read_mask(tmp_path / "out/masks" / f"{name}.png"), mask)
    # and it makes a difference
    text = (tmp_path / "run/config.yaml").read_text()
    (tmp_path / "run/config.yaml").write_text(text.replace("gate: true", "gate: false"))
    plain = dsrg.load(tmp_path / "run", "cpu")
    assert plain.gate is None
    assert any(not np.array_equal(plain.predict(photo.path).mask, made[photo.id]) for photo in run.val)
    again = tool("predict", *paths, "--model", tmp_path / "run", "--out", tmp_path / "out", "--workers", 0)
    check_refusal(again, "was made with")


def test_the_crf_refines_gated_probabilities(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path, GATED, "test.crf=true", "crf.engine=exact", "crf.iterations=2")
    evaluate(run, "dsrg")
    probs_of = networks.predictor(run, "dsrg")
    for photo in run.val:
        pixels = inference.read_pixels(photo)
        mask = inference.to_mask(probs_of(pixels), pixels, crf=run.cfg.crf.arguments())
        assert np.array_equal(pictures.read_mask(tmp_path / f"dsrg/predictions/val/{photo.id}.png"), mask.numpy())


def test_gated_predictions_know_the_classifier_and_others_do_not(data: Path, tmp_path: Path) -> None:
    """Full supervision has the classifier nowhere else: random weights here, and every stage after it of its own."""
    words = ("model.init=weights", "supervised.enabled=true")
    plain, gated = start(data, tmp_path, *words), start(data, tmp_path, GATED, *words)
    assert "classifier.size" not in plain.stage("supervised predictions").settings
    assert gated.stage("supervised predictions").settings["classifier.size"] == 97
    for name in ("dsrg predictions", "predictions", "supervised predictions"):
        assert plain.stage(name).settings["test.gate"] is False
        assert gated.stage(name).settings["test.gate"] is True
    for name in ("dsrg", "masks", "retrain", "supervised"):
        assert plain.stage(name).settings == gated.stage(name).settings


def test_predictions_made_without_the_gate_are_not_taken_for_gated_ones(data: Path, tmp_path: Path) -> None:
    evaluate(make_run(data, tmp_path), "dsrg")
    with pytest.raises(InputError, match=r"test\.gate = False, which is now True"):
        evaluate(start(data, tmp_path, "test.crf=false", GATED), "dsrg")


def test_somebodys_seeds_leave_out_the_classifier_only_without_a_gate(data: Path, tmp_path: Path) -> None:
    words = ("model.init=weights", "supervised.enabled=false")
    for photo in start(data, tmp_path).train:
        pictures.write_mask(tmp_path / "seeds" / f"{photo.id}.png", np.zeros((45, 60), np.uint8))
    assert "classifier" not in planned(start(data, tmp_path, *words))
    plan = planned(start(data, tmp_path, GATED, *words))
    assert plan[0] == "classifier"
    assert "cams" not in plan


@pytest.mark.parametrize("command", ["train-dsrg", "retrain", "train-supervised"])
def test_a_training_is_not_begun_whose_predictions_could_not_be_made(
    data: Path, tmp_path: Path, tool: Tool, command: str
) -> None:
    words = [f"data.root={data}", f"run_dir={tmp_path}", "workers=0", "model.init=weights", GATED]
    check_refusal(tool(command, "--cfg", PRESET, *words), "classifier: is not finished; run dsrg train-classifier")
    assert not list(tmp_path.rglob("stage.json"))


def without(folder: Path) -> None:
    shutil.rmtree(folder / "classifier")


def unfinished(folder: Path) -> None:
    (folder / "classifier/stage.json").write_text('{"finished": false, "seconds": 0.0, "figures": {}, "settings": {}}')


@pytest.mark.parametrize("spoil", [without, unfinished])
def test_a_gate_without_its_classifier_is_one_sentence(
    data: Path, tmp_path: Path, tool: Tool, spoil: Callable[[Path], None]
) -> None:
    evaluate(make_run(data, tmp_path / "run", GATED), "dsrg")
    spoil(tmp_path / "run")
    for command in (("predict", data / "JPEGImages/c.jpg"), ("export",)):
        result = tool(*command, "--model", tmp_path / "run", "--out", tmp_path / "out")
        check_refusal(result, tmp_path / "run/classifier/checkpoint.pt", "test.gate = true needs it")
    with pytest.raises(InputError, match="run/classifier: "):
        networks.predictor(start(data, tmp_path / "run", GATED), "dsrg")


def test_the_classifier_of_a_run_that_shares_it(data: Path, tmp_path: Path) -> None:
    make_run(data, tmp_path / "base", trained=())
    run = make_run(data, tmp_path / "run", GATED, f"shared={tmp_path / 'base'}")
    shutil.rmtree(tmp_path / "run/classifier")
    evaluate(run, "dsrg")
    found = dsrg.load(tmp_path / "run", "cpu").predict(run.val[0].path).mask
    assert np.array_equal(pictures.read_mask(tmp_path / "run/dsrg/predictions/val/c.png"), found)
    assert run.stage("supervised predictions").settings["test.gate"] is True


def test_the_rows_of_an_ablation_are_gated_as_the_run_is(data: Path, tmp_path: Path) -> None:
    base = make_run(data, tmp_path, GATED, trained=())
    rows = Ablation(base, (0,)).runs.values()
    assert all(run.cfg.test.gate for runs in rows for run in runs)
    assert "The classifier gates" in Ablation(base, (0,)).table()
    assert "gates" not in Ablation(start(data, tmp_path), (0,)).table()
