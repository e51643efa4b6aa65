"""A thousand classes, as in ImageNet: they are learnt, explained and boxed; what makes masks refuses them in one
sentence, before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Tool, check_refusal, write_mask_file
from imagenet_files import photo_name, write_xml
from PIL import Image

from dsrg import config
from dsrg.data.imagenet import plan_imagenet
from dsrg.data.prepare import write_set
from dsrg.data.voc import VocFolder
from dsrg.files import disk, storage
from dsrg.run import networks
from dsrg.run.folder import Run

CLASSES, VAL = 1000, 4
SYNSETS = [f"n{number:08d}" for number in range(CLASSES)]
CONFIG = Path(__file__).parents[2] / "configs/demo/resnet18.yaml"
QUICK = (
    "workers=0",
    "device=cpu",
    "classifier.iterations=1",
    "classifier.batch=2",
    "classifier.size=33",
    "classifier.warmup=0",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet's folders with a photograph of each class and VAL to measure on, brought into a data folder."""
    root = tmp_path_factory.mktemp("imagenet")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    for number, synset in enumerate(SYNSETS):
        (root / "in/train" / synset).mkdir(parents=True)
        picture.rotate(number).save(root / "in/train" / synset / f"{synset}_1.JPEG")
    (root / "in/val").mkdir()
    for number in range(1, 1 + VAL):
        picture.rotate(-number).save(root / "in/val" / f"{photo_name(number)}.JPEG")
        box = (4, 2, 27, 21)
        write_xml(root / f"in/ILSVRC2012_bbox_val_v3/val/{photo_name(number)}.xml", [(SYNSETS[-number], box)], (32, 24))
    write_set(root / "out", plan_imagenet(root / "in"), link="hard")
    folder = VocFolder(root / "out")
    assert len(folder.classes) == 1 + CLASSES
    assert [photo.own.tolist() for photo in folder.photos("train")] == [[label] for label in range(1, 1 + CLASSES)]
    names = "".join(f"{synset}_1\n" for synset in SYNSETS[::250])
    (root / "out/ImageSets/Segmentation/few.txt").write_text(names)
    return root / "out"


def words(data: Path, run_dir: Path) -> list[str]:
    few = ("data.train_split=few", "classifier.loss=single_label")
    return [f"data.root={data}", f"run_dir={run_dir}", *few, *QUICK]


def test_a_classifier_is_trained_and_its_boxes_are_measured(data: Path, tmp_path: Path, tool: Tool) -> None:
    given = ("--cfg", CONFIG, *words(data, tmp_path / "run"))
    assert tool("train-classifier", *given)[0] == 0
    assert 0 <= disk.read_json(tmp_path / "run/classifier/stage.json")["figures"]["classifier_top5_error"] <= 1
    run = Run(config.load(CONFIG, words(data, tmp_path / "run")))
    model = networks.trained_classifier(run)
    assert model.linear.weight.shape == (CLASSES, 512)
    with torch.no_grad():  # the last of the classes is the likeliest everywhere: right for one photograph in four
        model.linear.bias[-1] += 100
    path = tmp_path / "run/classifier/checkpoint.pt"
    storage.save_checkpoint(path, storage.load_checkpoint(path) | {"model": model.state_dict()})
    assert tool("localize", *given, "--methods", "cam", "saliency_cut", "--pictures", 1)[0] == 0
    results = disk.read_json(tmp_path / "run/localize/val/localize.json")
    assert (results["classes"], results["truth"]) == (CLASSES, "annotations")
    for row in results["rows"]:
        assert row["measured"] == VAL
        assert row["top1_classification_error"] == 1 - 1 / VAL
        assert row["top1_classification_error"] <= row["top1_localization_error"] <= 1
        assert 0 <= row["top5_heuristic_error"] <= 1
    boxes = disk.read_json(tmp_path / "run/localize/val/cam/boxes.json")["photographs"]
    assert [entry["own"][0]["label"] for entry in boxes] == SYNSETS[-1:-5:-1]
    assert {entry["predicted"][0]["label"] for entry in boxes} == {SYNSETS[-1]}
    assert [len(entry["heuristic"]) for entry in boxes] == [5] * VAL
    assert tool("show-cams", *given, "--count", 1)[0] == 0


def test_what_makes_masks_is_refused_before_any_work(data: Path, tmp_path: Path, tool: Tool) -> None:
    given = ("--cfg", CONFIG, *words(data, tmp_path / "run"))
    for command in ("make-seeds", "train-dsrg", "make-masks", "retrain", "train-supervised", "run-pipeline"):
        check_refusal(tool(command, *given), data / "classes.txt", "names 1,000 classes, and the most that 8-bit masks")
    assert not (tmp_path / "run").exists()
    (tmp_path / "masks").mkdir()
    measured = ("--pred", tmp_path / "masks", "--gt", tmp_path / "masks", "--classes", data / "classes.txt")
    check_refusal(tool("eval-miou", *measured), "names 1,000 classes")


def test_masks_that_cannot_be_read_are_left_alone_and_told(data: Path, tmp_path: Path, tool: Tool) -> None:
    """A mask's 255 may be a class or void, so they are refused where they are asked for, and classifiers need none."""
    masks = tmp_path / "masks"
    for number in range(1, 1 + VAL):
        write_mask_file(masks / f"{photo_name(number)}.png", np.full((24, 32), 7))
    run = Run(config.load(CONFIG, [*words(data, tmp_path / "run"), f"data.masks={masks}"]))
    with pytest.warns(UserWarning, match="the masks are not read, for 8 bits do not hold 1,000 classes"):
        assert not run.folder.has_masks(run.val)
    code, out, _ = tool("check-data", "--cfg", CONFIG, *words(data, tmp_path / "run"), f"data.masks={masks}")
    assert code == 2
    assert "names 1,000 classes, and the most that 8-bit masks hold is 254 and background" in out
