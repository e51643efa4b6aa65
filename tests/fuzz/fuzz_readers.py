"""Every public reader, one a line: the file that is spoilt, how it is read, and how it holds its values."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import fuzz_inputs as form
import numpy as np
import torchvision
from helpers import NAMES, make_voc, quadrants
from trained_run import make_trained_run

from dsrg import config, disk, loading, storage
from dsrg.data import coco, cues, labelled, own, sources
from dsrg.data.voc import VocFolder
from dsrg.formats import video
from dsrg.labels import Classes, read_classes
from dsrg.models.backbone import build_backbone
from dsrg.report_page import record
from dsrg.run import Run
from dsrg.stages.evaluate import compare_folders
from dsrg.stages.export import export
from dsrg.uploads import read_upload

CLASSES = Classes(NAMES, "classes.txt")


@dataclass(frozen=True)
class Reader:
    """One way by which somebody else's file comes in."""

    name: str
    path: str
    """The file, in the folder that `make_world` fills."""
    read: Callable[[Path], object]
    """From that folder to a value, or InputError."""
    form: form.Form | None = form.TEXT
    slow: bool = False
    """Whether a reading takes tenths of a second: then there are fewer examples."""
    waits: str = ""
    """What is still to be mended, where examples fail."""


def folder(world: Path, **paths: str) -> VocFolder:
    return VocFolder(world / "data", **paths)


def run(world: Path) -> Run:
    return Run(config.load(world / "run.yaml", [f"run_dir={world / 'run'}", f"data.root={world / 'data'}"]))


def boxes(world: Path) -> object:
    data = folder(world)
    return data.boxes(data.photos("train")[0], (16, 12))


def plan(world: Path) -> object:
    """The planned data set with its masks painted."""
    planned = coco.plan_json(world / "coco.json", world / "photos")
    return [item.mask() if callable(item.mask) else item.mask for item in planned.items]


def tags(world: Path) -> object:
    found, _ = sources.find_sources([world / "photos"], recursive=False, without=None)
    return sources.read_tags(world / "labels.csv", found, CLASSES)


def stage(world: Path) -> object:
    made = run(world).stage("classifier")
    return made.finished and (made.figures, made.seconds)


def weights(world: Path) -> object:
    return build_backbone("resnet18", output_stride=32, weights=world / "weights.pth")


READERS = (
    Reader("configuration", "run.yaml", run, form.YAML),
    Reader("class list", "data/classes.txt", lambda world: read_classes(world / "data/classes.txt")),
    Reader("split list", "data/ImageSets/Segmentation/train.txt", lambda world: folder(world).photos("train")),
    Reader("labels of a data set", "data/image_labels.csv", lambda world: folder(world).photos("train")),
    Reader("XML labels", "data/Annotations/a.xml", lambda world: folder(world, labels="Annotations").photos("train")),
    Reader("XML boxes", "data/Annotations/a.xml", boxes),
    Reader("table for prepare-data", "labels.csv", lambda world: own.read_table(world / "photos", world / "labels.csv")),
    Reader("table for probe", "labels.csv", lambda world: labelled.read_labelled(world / "labels.csv", world / "photos")),
    Reader("table for predict", "labels.csv", tags),
    Reader("COCO annotations", "coco.json", plan, form.JSON),
    Reader("photograph", "photos/a.jpg", lambda world: storage.read_image(world / "photos/a.jpg")),
    Reader("photograph, upright", "photos/b.png", lambda world: storage.read_upright(world / "photos/b.png")),
    Reader("upload", "photos/a.jpg", lambda world: read_upload(world / "photos/a.jpg", long_side=64)),
    Reader("mask", "masks/a.png", lambda world: storage.read_mask(world / "masks/a.png", len(NAMES))),
    Reader("masks to compare", "masks/a.png", lambda world: compare_folders(world / "masks", world / "true", CLASSES)),
    Reader("CAMs", "a.npz", lambda world: storage.read_cams(world / "a.npz"), form.ARRAYS),
    Reader("checkpoint", "small.pt", lambda world: storage.load_checkpoint(world / "small.pt"), form.TORCH),
    Reader("weights", "weights.pth", weights, form.TORCH, slow=True),
    Reader("trained run", "trained/retrain/checkpoint.pt", lambda world: loading.load(world / "trained", "cpu"), form.TORCH, slow=True),
    Reader("trained run's configuration", "trained/config.yaml", lambda world: loading.load(world / "trained", "cpu"), form.YAML, slow=True),
    Reader("safetensors", "model.safetensors", lambda world: loading.load(world / "model.safetensors", "cpu"), form.SAFETENSORS, slow=True, waits="metadata is not validated yet"),
    Reader("stage.json", "run/classifier/stage.json", stage, form.JSON, waits="the record is not validated yet"),
    Reader("metrics.jsonl", "run/classifier/metrics.jsonl", lambda world: record.read_log(run(world).stage("classifier")), form.LINES, waits="the log is not read through disk yet"),
    Reader("environment.json", "run/environment.json", lambda world: record.environment(run(world)), form.JSON),
    Reader("cues", "cues.pickle", lambda world: cues.read_cues(world / "cues.pickle", CLASSES), form.PICKLE),
    Reader("list of the cues' images", "cues.txt", lambda world: cues.read_list(world / "cues.txt")),
    Reader("video", "clip.mp4", lambda world: sum(1 for _ in video.frames(world / "clip.mp4"))),
)  # fmt: skip


def make_world(world: Path) -> None:
    """A valid file for each reader."""
    make_voc(world / "data")
    (world / "data/Annotations").mkdir()
    for name in ("a", "b", "c"):
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>"
            for label in ("cat", "dog")
        )
        (world / f"data/Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    config_values = {"backbone": "resnet18", "weights": None, "freeze_batch_norm": False}
    (world / "run.yaml").write_text(f"workers: 0\ndevice: cpu\nmodel: {json.dumps(config_values)}\ncam: {{scales: [1, 2]}}\n")
    (world / "photos").mkdir()
    for name in ("a.jpg", "b.png"):
        cv2.imwrite(str(world / "photos" / name), np.arange(16 * 12 * 3, dtype=np.uint8).reshape(12, 16, 3))
    (world / "labels.csv").write_text("image,labels\na,cat dog\nb,cat\n")
    for place in ("masks", "true"):
        storage.write_mask(world / place / "a.png", quadrants(16, 12, 0))
    (world / "coco.json").write_text(json.dumps(coco_values()))
    storage.write_cams(world / "a.npz", [1, 2], np.random.default_rng(0).random((2, 3, 4)).astype(np.float32))
    _make_networks(world)
    made = run(world).stage("classifier")
    made.begin()
    made.finish({"classifier_map": 0.5})
    lines = [{"iteration": 20 * n, "loss": 1 / n, "lr": 0.1} for n in range(1, 4)]
    disk.write_text(world / "run/classifier/metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    values = {"0_labels": np.array([1, 2]), "0_cues": np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])}
    (world / "cues.pickle").write_bytes(pickle.dumps(values, 2))
    (world / "cues.txt").write_text("a 0\nb 1\n")
    with video.VideoWriter(world / "clip.mp4", 25) as writer:
        for shade in range(0, 80, 10):
            writer.write(np.full((32, 48, 3), shade, np.uint8))


def coco_values() -> dict[str, object]:
    runs = {"size": [12, 16], "counts": [10, 20, 162]}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 16, "height": 12}, {"id": 2, "file_name": "b.png", "width": 16, "height": 12}],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "iscrowd": 0, "area": 9, "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]},
            {"id": 2, "image_id": 2, "category_id": 3, "iscrowd": 1, "area": 9, "bbox": [1, 1, 5, 5], "segmentation": runs},
            {"id": 3, "image_id": 2, "category_id": 7, "iscrowd": 0, "area": 9, "bbox": [1, 1, 5, 5], "segmentation": [[1, 1, 6, 1, 6, 6]]},
        ],
    }  # fmt: skip


def _make_networks(world: Path) -> None:
    make_trained_run(world / "trained")
    export(loading.load(world / "trained", "cpu"), world / "exported", ["safetensors"])
    (world / "exported/model.safetensors").rename(world / "model.safetensors")
    network = torchvision.models.resnet18(weights=None)
    storage.save_checkpoint(world / "weights.pth", network.state_dict())
    state = {"model": {"a": network.conv1.weight.data[:2]}, "iteration": 3, "random": [{"cpu": network.conv1.weight.data[0]}]}
    storage.save_checkpoint(world / "small.pt", state)
