"""Probing a network with new labels, end to end, against a second computation from the files that it leaves."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from helpers import Tool, check_refusal, make_voc
from PIL import Image
from torchvision.transforms import v2

from dsrg import config
from dsrg.boxes import box_iou, map_boxes
from dsrg.data.annotations import read_boxes_for
from dsrg.files import storage
from dsrg.labels import Classes
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.study import svm as probe
from dsrg.study.probe import Probe, run_probe

CONFIG = Path(__file__).parents[2] / "configs/demo/resnet18.yaml"
COLOURS = {"lime": (120, 230, 40), "navy": (20, 30, 120), "rust": (190, 70, 30)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a classifier that nobody trained, in run/; photographs of three colours, each a spot, in colours/."""
    root = tmp_path_factory.mktemp("probe")
    make_voc(root / "data", size=(40, 30))
    run = Run(config.load(CONFIG, words(root)))
    torch.manual_seed(0)
    storage.save_checkpoint(root / "run/classifier/checkpoint.pt", {"model": networks.new_classifier(run).state_dict()})
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / "colours" / name).mkdir(parents=True)
        for number in range(7):
            pixels = random.integers(90, 130, (40, 56, 3))
            top, left = random.integers(0, 20), random.integers(0, 30)
            pixels[top : top + 20, left : left + 24] = np.array(colour) + random.integers(-8, 8, (20, 24, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "colours" / name / f"{number}.png")
    return root


def words(place: Path) -> list[str]:
    small = ("workers=0", "device=cpu", "classifier.size=65", "cam.output_stride=16")
    return [f"data.root={place / 'data'}", f"run_dir={place / 'run'}", *small]


def test_everything_that_it_says_can_be_computed_again_from_its_files(place: Path, tmp_path: Path, tool: Tool) -> None:
    call = ("--cfg", CONFIG, "--labels", place / "colours", "--weights", "classifier", "--out", tmp_path)
    code, out, _ = tool("probe", *call, "--count", 4, "--c", 10, *words(place))
    assert code == 0
    told = json.loads((tmp_path / "probe.json").read_text())
    assert told["labels"] == dict.fromkeys(COLOURS, 7)
    assert told["photographs"] == {"train": 15, "held_out": 6}
    assert told["figures"]["full image"] == {"c": 10, "accuracy": 1, "mean_average_precision": 1}  # colours are easy
    assert "| full image | 1.000 | 1.000 | 10 |" in out
    assert "| crop by CAM |" in out
    assert Image.open(tmp_path / "maps.png").height > 4 * 100

    with np.load(tmp_path / "weights.npz", allow_pickle=False) as stored:
        weights = dict(stored)
    assert weights["names"].tolist() == sorted(COLOURS)
    model = networks.trained_classifier(Run(config.load(CONFIG, words(place))))

    def features(pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.features(inference.normalise(v2.functional.resize(pixels, [65, 65], antialias=True)[None]))

    right = 0
    for name, said in told["predictions"].items():
        pixels = torch.from_numpy(np.array(Image.open(place / "colours" / name))).permute(2, 0, 1)
        found = features(pixels)
        length = found.mean(dim=(2, 3)).norm()
        maps = torch.einsum("kd,dhw->khw", torch.from_numpy(weights["weight"]).float(), found[0]) / length
        decisions = maps.mean(dim=(1, 2)).numpy() + weights["bias"]
        best = int(decisions.argmax())
        assert said["full image"] == weights["names"][best]
        assert said["box"] == map_boxes(maps[best, None], (40, 56), 0.2)[0].tolist()
        x0, y0, x1, y1 = said["box"]
        pooled = features(pixels[:, y0:y1, x0:x1]).mean(dim=(2, 3)).numpy()
        second = probe.Svm(weights["crop_weight"], weights["crop_bias"], float(weights["crop_c"])).decide(pooled)
        assert said["crop by CAM"] == weights["names"][second.argmax()]
        right += said["crop by CAM"] == said["labels"][0]
    assert told["figures"]["crop by CAM"]["accuracy"] == pytest.approx(right / 6)


def test_several_labels_are_told_each_by_itself_without_a_second_round(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{name}/{number}.png,{name} {'odd' * (number % 2)}" for name in COLOURS for number in range(7)]
    labels = place / "colours/many.csv"
    labels.write_text("\n".join(["image,labels", *rows]) + "\n")
    cfg = config.load(CONFIG, words(place))
    told = run_probe(cfg, Probe(labels, weights="classifier", count=2, c=1.0))
    assert list(told["figures"]) == ["full image"]
    assert told["labels"] == {"lime": 7, "navy": 7, "odd": 9, "rust": 7}
    assert 0 < told["figures"]["full image"]["mean_average_precision"] <= 1
    assert "the second round, of crops, is left out" in capsys.readouterr().out
    written = place / "run/probe/many"
    assert sorted(path.name for path in written.iterdir()) == ["maps.png", "probe.json", "weights.npz"]


def test_negatives_are_mined_and_detections_are_boxed(place: Path, tmp_path: Path, tool: Tool) -> None:
    """One label, rows without it, and a folder of more: every figure again from what is written."""
    lime, others, boxes = place / "colours/lime", tmp_path / "others", tmp_path / "boxes"
    (tmp_path / "lime").mkdir()
    others.mkdir()
    boxes.mkdir()
    rows = ["image,labels"]
    for number in range(7):
        shutil.copy(lime / f"{number}.png", tmp_path / f"lime/lime{number}.png")
        shutil.copy(place / f"colours/navy/{number}.png", tmp_path / f"lime/navy{number}.png")
        shutil.copy(place / f"colours/rust/{number}.png", others / f"navy{number}.png")  # of another's name
        rows += [f"lime{number}.png,lime", f"navy{number}.png,"]
        pixels = np.array(Image.open(lime / f"{number}.png"), np.int64)
        ys, xs = np.nonzero(pixels[..., 1] > 200)  # the spot
        edges = {"xmin": xs.min() + 1, "ymin": ys.min() + 1, "xmax": xs.max() + 1, "ymax": ys.max() + 1}
        body = "".join(f"<{key}>{edge}</{key}>" for key, edge in edges.items())
        xml = f"<annotation><object><name>lime</name><bndbox>{body}</bndbox></object></annotation>"
        (boxes / f"lime{number}.xml").write_text(xml)
    (tmp_path / "lime.csv").write_text("\n".join(rows) + "\n")
    call = ("--cfg", CONFIG, "--labels", tmp_path / "lime.csv", "--photos", tmp_path / "lime", "--negatives", others)
    call += ("--weights", "classifier", "--out", tmp_path / "out", "--c", 10, "--mine", 2, "--annotations", boxes)
    code, out, _ = tool("probe", *call, "--count", 3, *words(place))
    assert code == 0
    told = json.loads((tmp_path / "out/probe.json").read_text())
    assert told["labels"] == {"lime": 7}
    assert told["photographs"] == {"train": 15, "held_out": 6}
    assert told["mining"]["lime"]["of"] == 10
    assert told["mining"]["lime"]["negatives"][0] == 2
    assert list(told["figures"]) == ["full image, before mining", "full image"]
    assert told["figures"]["full image"]["mean_average_precision"] == 1
    assert "the second round, of crops, is left out" in out
    assert "| full image, before mining |" in out
    assert "| GT-known |" in out
    held = told["predictions"]
    assert {*map(tuple, (said["labels"] for said in held.values()))} == {("lime",), ()}
    assert len(held) == 6  # two of one name stay two
    detected = [bool(said["detections"]) for said in held.values()]
    right = [bool(said["detections"]) and bool(said["labels"]) for said in held.values()]
    assert told["boxes"]["pairs"] == sum(bool(said["labels"]) for said in held.values()) == 2
    assert told["boxes"]["label_precision"] == sum(right) / sum(detected)
    assert told["boxes"]["label_recall"] == sum(right) / 2
    overlap = []
    for name, said in held.items():
        for found in said["detections"]:
            assert found["label"] == "lime"
            assert found["value"] > 0
            assert found["box"] == said["box"]
        if said["labels"]:
            truth = read_boxes_for(boxes / f"{Path(name).stem}.xml", (56, 40), Classes(("", "lime")), Path(name))
            overlap.append(box_iou(np.array([said["box"]]), truth.boxes).max() >= 0.5)
    assert told["boxes"]["gt_known_accuracy"] == np.mean(overlap)
    assert Image.open(tmp_path / "out/maps.png").height > 3 * 100
    check_refusal(tool("probe", *call[:-3], 0, *words(place)), "--mine 0")


def test_imagenet_weights_need_no_run_and_no_data(place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    others = ("workers=0", "device=cpu", "classifier.size=65", f"run_dir={tmp_path / 'run'}", "data.root=nowhere")
    cfg = config.load(CONFIG, [f"model.weights={tmp_path / 'resnet18.pth'}", *others])
    told = run_probe(cfg, Probe(place / "colours", count=1, c=10, crops=False))
    assert told["settings"]["weights"] == "imagenet"
    assert list(told["figures"]) == ["full image"]
    assert told["figures"]["full image"]["accuracy"] == 1
    assert (tmp_path / "run/probe/colours/weights.npz").is_file()


def test_what_is_wrong_is_one_sentence_and_nothing_is_written(place: Path, tmp_path: Path, tool: Tool) -> None:
    out = tmp_path / "out"

    def call(labels: Path, *options: object) -> tuple[int, str, str]:
        settings = ("--weights", "classifier", "--out", out, *options, *words(place))
        return tool("probe", "--cfg", CONFIG, "--labels", labels, *settings)

    check_refusal(call(place / "colours", "--held-out", 1.5), "--held-out 1.5")
    check_refusal(call(place / "colours", "--c", 0), "--c 0")
    check_refusal(call(place / "colours", "--count", 0), "--count 0")
    check_refusal(call(place / "colours", "--weights", "imagenet"), "model.weights = null", "--weights classifier")
    check_refusal(call(tmp_path / "none.csv"), tmp_path / "none.csv", "does not exist")
    rows = {
        "one.csv": (["lime/0.png,lime", "lime/1.png,lime", "navy/0.png,navy"], ("'navy'", "one photograph")),
        "all.csv": ([f"lime/{n}.png,lime x{n % 2}" for n in range(4)], ("'lime'", "some without it")),
    }
    for name, (lines, named) in rows.items():
        path = tmp_path / name
        path.write_text("\n".join(["image,labels", *lines]) + "\n")
        check_refusal(call(path, "--photos", place / "colours"), path, *named)
    for name in COLOURS:
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (20, 20), COLOURS[name]).save(tmp_path / "set" / name / f"{number}.png")
    broken = tmp_path / "set/navy/1.png"
    broken.write_bytes(b"no photograph")
    code, _, error = call(tmp_path / "set")
    assert code == 2
    assert str(broken) in error.splitlines()[-1]
    assert not out.exists()
