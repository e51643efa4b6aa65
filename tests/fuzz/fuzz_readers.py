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
import yaml
from coco_files import plan_json
from helpers import NAMES, make_voc, quadrants
from imagenet_files import photo_name, write_boxes, write_kit, write_photos, write_words
from PIL import Image
from pycocotools import mask as rle_masks
from trained_run import make_trained_run

from dsrg import config, segments
from dsrg.app.uploads import read_upload
from dsrg.data import cues, imagenet, labelled, own, sources, vqa, vqa_rules
from dsrg.data import segments as segment_files
from dsrg.data.annotations import read_boxes_for, read_drawn
from dsrg.data.checked import Checked
from dsrg.data.classes import read_classes
from dsrg.data.corrections import read_corrections
from dsrg.data.doors.recognise import Choice, plan_any
from dsrg.data.labelme import read_labelme
from dsrg.data.mask_folders import compare_folders
from dsrg.data.voc import Photo, VocFolder
from dsrg.files import disk, pictures, storage
from dsrg.labels import Classes
from dsrg.models.backbone import build_backbone
from dsrg.page import record
from dsrg.predict import loading
from dsrg.predict.export import export
from dsrg.predict.formats import video
from dsrg.run.folder import Run
from dsrg.study.ibowimg import Layer

ALL = Classes(NAMES, "classes.txt")


@dataclass(frozen=True)
class Reader:
    """One way by which somebody else's file comes in."""

    name: str
    path: str
    """The file, in the folder that `make_world` fills."""
    read: Callable[[Path, Path], object]
    """From the file and that folder to a value, or InputError."""
    form: form.Form | None = form.TEXT
    slow: bool = False
    """Whether a reading takes tenths of a second: then there are fewer examples."""


def folder(world: Path, **paths: str) -> VocFolder:
    return VocFolder(world / "data", **paths)


def run(file: Path, world: Path) -> Run:
    del file
    return Run(config.load(world / "run.yaml", [f"run_dir={world / 'run'}", f"data.root={world / 'data'}"]))


def boxes(file: Path, world: Path) -> object:
    data = folder(world)
    photo = data.photos("train")[0]
    return read_boxes_for(data.annotation_path(photo), (16, 12), data.classes, photo.path)


def plan(file: Path, world: Path) -> object:
    """The planned data set with its masks painted."""
    planned = plan_json(file, world / "photos")
    return [item.mask() if callable(item.mask) else item.mask for item in planned.items]


def ilsvrc(file: Path, world: Path) -> object:
    """The planned data set of ImageNet with its annotations."""
    planned = imagenet.plan_imagenet(world / "imagenet", threads=1)
    return [item.annotation() if callable(item.annotation) else item.labels for item in planned.items]


def door(file: Path, world: Path) -> object:
    """What another tool has exported, planned, with its masks painted and its boxes written."""
    source = file.parent if file.parent.name in ("labelme", "xml") else file
    planned = plan_any(world / "photos", source, Choice(0.1, "leave-out", 1))
    made = [item.mask() if callable(item.mask) else item.mask for item in planned.items]
    return made, [item.annotation() if callable(item.annotation) else None for item in planned.items]


def yolo(file: Path, world: Path) -> object:
    """The same of YOLO's folder, in which the file lies."""
    planned = plan_any(world / "photos", file.parent / "data.yaml", Choice(0.1, "leave-out", 1))
    return [item.mask() if callable(item.mask) else item.mask for item in planned.items]


def layout(file: Path, world: Path) -> object:
    """The same of a folder in VOC's layout, in which the file lies."""
    planned = plan_any(world / "layout", None, Choice(0.1, "leave-out", 1))
    return [item.mask() if callable(item.mask) else item.mask for item in planned.items]


def corrected(file: Path, world: Path) -> object:
    """Corrected masks of the data set, painted."""
    found = read_corrections(world / file.relative_to(world).parts[0], folder(world))
    return [one.mask() for one in found.masks if one.size in (None, (16, 12))]


def tags(file: Path, world: Path) -> object:
    found, _ = sources.find_sources([world / "photos"], recursive=False, without=None)
    return sources.read_tags(file, found, ALL)


def stage(file: Path, world: Path) -> object:
    made = run(file, world).stage("classifier")
    return made.finished and (made.figures, made.seconds)


def weights(file: Path, world: Path) -> object:
    return build_backbone("resnet18", output_stride=32, weights=file)


def of(read: Callable[..., object], *arguments: object, **more: object) -> Callable[[Path, Path], object]:
    """A reader that needs the file alone."""
    return lambda file, world: read(file, *arguments, **more)


def photos(**paths: str) -> Callable[[Path, Path], object]:
    return lambda file, world: folder(world, **paths).photos("train")


def network(file: Path, world: Path) -> object:
    return loading.load(world / "trained" if "trained" in file.parts else file, "cpu")


def log(file: Path, world: Path) -> object:
    return record.read_log(run(file, world).stage("classifier"))


def questions(file: Path, world: Path) -> object:
    """The two files of questions, of which one is spoilt."""
    del file
    return vqa.read_questions(world / "vqa/questions.json", world / "vqa/annotations.json", world / "photos")


PHONES = [form for form in ("HEIC", "AVIF") if form not in pictures.LACKING]
TABLE = "labels.csv"
_BITS = f"{768:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + "".join(f"110{255:08b}{value:08b}" for value in (0, 255, 0))
BRUSH = [int(_BITS[start : start + 8].ljust(8, "0"), 2) for start in range(0, len(_BITS), 8)]
"""Label Studio's code of a mask (12, 16), as three runs."""
NETWORK = "trained/retrain/checkpoint.pt"
KIT = "imagenet/ILSVRC2012_devkit_t12/data"


def pairs(file: Path, world: Path) -> object:
    """Measure a folder of one mask."""
    return compare_folders(file.parent, world / "true", ALL, ["a"])


def voted(file: Path, world: Path) -> object:
    """A mask on which the segments of one photograph have voted."""
    photo = Photo(file.stem, world / "photos/a.jpg", np.array([True, True]))
    return segments.vote(quadrants(16, 12, 0), segment_files.read_for(file.parent, photo, (16, 12)), region_share=0.85)


READERS = (
    Reader("configuration", "run.yaml", run, form.YAML),
    Reader("class list", "data/classes.txt", of(read_classes)),
    Reader("split list", "data/ImageSets/Segmentation/train.txt", photos()),
    Reader("labels of a data set", "data/image_labels.csv", photos()),
    Reader("XML labels", "data/Annotations/a.xml", photos(labels="Annotations")),
    Reader("XML boxes", "data/Annotations/a.xml", boxes),
    Reader("XML boxes for prepare-data", "data/Annotations/a.xml", of(read_drawn)),
    Reader("LabelMe's boxes", "labelme/a.json", of(read_labelme), form.JSON),
    Reader("LabelMe's folder", "labelme/a.json", door, form.JSON),
    Reader("YOLO's objects", "yolo/a.txt", yolo),
    Reader("YOLO's names", "yolo/data.yaml", yolo),
    Reader("folder of XML", "xml/a.xml", door),
    Reader("table for prepare-data", TABLE, lambda file, world: own.read_table(world / "photos", file)),
    Reader("table for probe", TABLE, lambda file, world: labelled.read_labelled(file, world / "photos")),
    Reader("table for predict", TABLE, tags),
    Reader("COCO annotations", "coco.json", plan, form.JSON),
    Reader("VQA questions", "vqa/questions.json", questions, form.JSON),
    Reader("VQA annotations", "vqa/annotations.json", questions, form.JSON),
    Reader("groups for VQA", "vqa/groups.txt", of(vqa_rules.read_groups, ALL)),
    Reader("VQA layer", "vqa/layer.npz", of(Layer.read), form.ARRAYS),
    Reader("ImageNet's synsets", "imagenet/LOC_synset_mapping.txt", ilsvrc),
    Reader("ImageNet's numbers", f"{KIT}/ILSVRC2012_validation_ground_truth.txt", ilsvrc),
    Reader("ImageNet's development kit", f"{KIT}/meta.mat", ilsvrc),
    Reader("ImageNet's boxes", f"imagenet/ILSVRC2012_bbox_val_v3/val/{photo_name(1)}.xml", ilsvrc),
    Reader("Label Studio's JSON", "tasks.json", door, form.JSON),
    Reader("Label Studio's JSON-MIN", "tasks_min.json", door, form.JSON),
    Reader("Label Studio's CSV", "tasks.csv", door),
    Reader("CVAT's XML", "cvat.xml", door),
    Reader("Open Images' CSV", "open_images.csv", door),
    Reader("LabelMe's JSON", "labelme/a.json", corrected, form.JSON),
    Reader("class list of masks", "listed/class_names.txt", corrected),
    Reader("Hugging Face's metadata", "metadata.jsonl", door, form.LINES),
    Reader("labelmap.txt", "layout/labelmap.txt", layout),
    Reader("masks in colour", "layout/SegmentationClass/a.png", layout),
    Reader("photograph", "photos/a.jpg", of(pictures.read_image)),
    Reader("photograph, upright", "photos/b.png", of(pictures.read_upright)),
    *(Reader(name, f"phone.{name.lower()}", of(pictures.read_image)) for name in PHONES),
    Reader("upload", "photos/a.jpg", of(read_upload, long_side=64)),
    Reader("mask", "masks/a.png", of(pictures.read_mask, len(NAMES))),
    Reader("label map of segments", "segments/a.png", voted),
    Reader("SAM's masks", "segments/b.json", voted, form.JSON),
    Reader("masks to compare", "masks/a.png", pairs),
    Reader("CAMs", "a.npz", of(storage.read_cams), form.ARRAYS),
    Reader("checkpoint", "small.pt", of(storage.load_checkpoint), form.TORCH),
    Reader("weights", "weights.pth", weights, form.TORCH, slow=True),
    Reader("trained run", NETWORK, network, form.TORCH, slow=True),
    Reader("trained run's configuration", "trained/config.yaml", network, form.YAML, slow=True),
    Reader("safetensors", "model.safetensors", network, form.SAFETENSORS, slow=True),
    Reader("stage.json", "run/classifier/stage.json", stage, form.JSON),
    Reader("metrics.jsonl", "run/classifier/metrics.jsonl", log, form.LINES),
    Reader("environment.json", "run/environment.json", lambda *at: record.environment(run(*at)), form.JSON),
    Reader("checked.bin", "checked.bin", of(Checked), form.TEXT),
    Reader("cues", "cues.pickle", of(cues.read_cues, ALL), form.PICKLE),
    Reader("list of the cues' images", "cues.txt", of(cues.read_list)),
    Reader("video", "clip.mp4", lambda file, world: sum(1 for _ in video.frames(file))),
)


def make_world(world: Path) -> None:
    """A valid file for each reader."""
    make_voc(world / "data")
    (world / "data/Annotations").mkdir()
    for name in ("a", "b", "c"):
        box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
        objects = "".join(f"<object><name>{label}</name>{box}</object>" for label in ("cat", "dog"))
        (world / f"data/Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    model = {"backbone": "resnet18", "weights": None, "freeze_batch_norm": False}
    values = {"workers": 0, "device": "cpu", "model": model, "cam": {"scales": [1, 2]}}
    (world / "run.yaml").write_text(yaml.safe_dump(values))
    checked = Checked(world / "checked.bin")
    checked.remember(b"sixteen bytes...", True)
    checked.write()
    (world / "photos").mkdir()
    for name in ("a.jpg", "b.png"):
        cv2.imwrite(str(world / "photos" / name), np.arange(16 * 12 * 3, dtype=np.uint8).reshape(12, 16, 3))
    (world / "labels.csv").write_text("image,labels\na,cat dog\nb,cat\n")
    for place in ("masks", "true"):
        pictures.write_mask(world / place / "a.png", quadrants(16, 12, 0))
    (world / "coco.json").write_text(json.dumps(coco_values()))
    _make_segments(world / "segments")
    _make_vqa(world / "vqa")
    for write in (write_photos, write_words, write_kit, write_boxes):
        write(world / "imagenet")
    _make_exports(world)
    _make_phones(world)
    shapes = [
        {"label": "cat", "points": [[1, 2], [9.5, 8]], "shape_type": "rectangle", "group_id": None},
        {"label": "dog", "points": [[1, 2], [9, 8], [3, 4]], "shape_type": "polygon", "group_id": 1},
    ]
    for name in ("a", "b"):
        labelme = {"shapes": shapes, "imagePath": f"{name}.jpg", "imageHeight": 12, "imageWidth": 16}
        disk.write_json(world / f"labelme/{name}.json", labelme)
        disk.write_text(world / f"xml/{name}.xml", (world / f"data/Annotations/{name}.xml").read_text())
    storage.write_cams(world / "a.npz", [1, 2], np.random.default_rng(0).random((2, 3, 4)).astype(np.float32))
    _make_networks(world)
    made = run(world, world).stage("classifier")
    made.begin()
    made.finish({"classifier_map": 0.5})
    lines = [{"iteration": 20 * n, "loss": 1 / n, "lr": 0.1} for n in range(1, 4)]
    disk.write_text(world / "run/classifier/metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    arrays = {"0_labels": np.array([1, 2]), "0_cues": np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]])}
    (world / "cues.pickle").write_bytes(pickle.dumps(arrays, 2))
    (world / "cues.txt").write_text("a 0\nb 1\n")
    with video.write_video(world / "clip.mp4", 25) as write:
        for shade in range(0, 80, 10):
            write(np.full((32, 48, 3), shade, np.uint8))


def _make_segments(folder: Path) -> None:
    folder.mkdir()
    labels = np.arange(12 * 16).reshape(12, 16) // 30
    Image.fromarray(labels.astype(np.uint16)).save(folder / "a.png")
    packed = [rle_masks.encode(np.asfortranarray(labels == number, np.uint8)) for number in (1, 2)]
    counts = [*(one["counts"].decode() for one in packed), [50, 60, 82]]
    rows = [{"segmentation": {"size": [12, 16], "counts": own}, "area": 30, "predicted_iou": 0.9} for own in counts]
    image = {"width": 16, "height": 12, "file_name": "b.jpg"}
    disk.write_json(folder / "b.json", {"image": image, "annotations": rows})


def _make_vqa(folder: Path) -> None:
    made = [
        vqa.Made(name, f"is there a {label}?", "is there", "yes/no", "yes")
        for name, label in (("a.jpg", "cat"), ("b.png", "dog"))
    ]
    vqa.write_questions(made, "train", folder / "questions.json", folder / "annotations.json")
    (folder / "groups.txt").write_text("animal: cat, dog\nthing: traffic light, cat\n")
    weights = (np.ones(shape, np.float32) for shape in ((3, 2), (2, 4), (2,)))
    Layer(("is", "there", "a"), ("yes", "no"), *weights, features="classifier:0").write(folder / "layer.npz")


def coco_values() -> dict[str, object]:
    """Two photographs with polygons and a crowd in runs."""
    shapes: list[tuple[int, int, int, object]] = [
        (1, 7, 0, [[1, 1, 6, 1, 6, 6, 1, 6]]),
        (2, 3, 1, {"size": [12, 16], "counts": [10, 20, 162]}),
        (2, 7, 0, [[1, 1, 6, 1, 6, 6]]),
    ]
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.png"}]
    return {
        "images": [image | {"width": 16, "height": 12} for image in images],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "iscrowd": crowd,
                "area": 9,
                "bbox": [1, 1, 5, 5],
                "segmentation": shape,
            }
            for number, (image, category, crowd, shape) in enumerate(shapes, 1)
        ],
    }


def _make_phones(world: Path) -> None:
    """Photographs of telephones."""
    pixels = Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3))
    for name in PHONES:
        if name == "AVIF":
            pixels.save(world / "phone.avif")
        else:
            import pillow_heif  # an extra

            pillow_heif.from_pillow(pixels).save(world / "phone.heic")


def _make_exports(world: Path) -> None:
    """Of other annotation tools."""
    sizes = {"original_width": 16, "original_height": 12, "image_rotation": 0}
    shapes = [
        ("polygonlabels", {"points": [[0, 0], [50, 0], [50, 50]], "closed": True}),
        ("rectanglelabels", {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 30}),
        ("brushlabels", {"format": "rle", "rle": BRUSH}),
        ("ellipselabels", {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 0}),
    ]
    results = [
        {"type": kind, "from_name": "label", **sizes, "value": {kind: ["cat"], **value}} for kind, value in shapes
    ]
    names = ("/data/upload/1/0a1b2c3d-a.jpg", "/data/upload/1/0a1b2c3d-b.png")
    tasks = [{"id": k, "data": {"image": name}, "annotations": [{"result": results}]} for k, name in enumerate(names)]
    (world / "tasks.json").write_text(json.dumps(tasks))
    flat = [
        {"image": name, "id": k, "choice": "cat", "annotation_id": k, "lead_time": 1} for k, name in enumerate(names)
    ]
    flat[1]["choice"] = {"choices": ["cat", "dog"]}
    (world / "tasks_min.json").write_text(json.dumps(flat))
    rows = [f'{k},cat,{k},"{name}",1.5' for k, name in enumerate(names)]
    (world / "tasks.csv").write_text("\n".join(("annotation_id,choice,id,image,lead_time", *rows)))
    inside = (
        '<polygon label="cat" points="0,0;6,0;6,8" z_order="1"/><box label="dog" xtl="1" ytl="1" xbr="5" ybr="5"/>'
        '<mask label="dog" rle="1, 2, 1" left="2" top="3" width="2" height="2"/><tag label="cat"/>'
    )
    images = [f'<image id="0" name="{name}" width="16" height="12">{inside}</image>' for name in ("a.jpg", "b.png")]
    (world / "cvat.xml").write_text(f"<annotations>{''.join(images)}</annotations>")
    rows = ["a,verification,/m/01,1", "a,verification,/m/02,0", "b,verification,/m/02,1"]
    (world / "open_images.csv").write_text("\n".join(("ImageID,Source,LabelName,Confidence", *rows)))
    lines = [{"file_name": "a.jpg", "labels": ["cat"]}, {"file_name": "b.png", "objects": {"category": ["dog"]}}]
    (world / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    drawn = [("polygon", [[1, 1], [9, 1], [9, 9]]), ("rectangle", [[1, 1], [5, 5]]), ("circle", [[5, 5], [7, 7]])]
    parts = [{"label": "cat", "shape_type": kind, "points": points, "group_id": None} for kind, points in drawn]
    content = {"version": "5.5.0", "imagePath": "a.jpg", "imageWidth": 16, "imageHeight": 12, "shapes": parts}
    (world / "labelme").mkdir()
    (world / "labelme/a.json").write_text(json.dumps(content))
    (world / "yolo").mkdir()
    (world / "yolo/data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    for name in "ab":
        (world / f"yolo/{name}.txt").write_text("0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.5 0.1 0.5 0.5\n")
    pictures.write_mask(world / "listed/SegmentationClass/a.png", quadrants(16, 12, 0) % 3)
    (world / "listed/class_names.txt").write_text("_background_\ndog\ncat\n")
    (world / "layout/SegmentationClass").mkdir(parents=True)
    (world / "layout/JPEGImages").mkdir()
    (world / "layout/labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3::\n")
    for name in "ab":
        picture = np.zeros((12, 16, 3), np.uint8)
        cv2.imwrite(str(world / f"layout/JPEGImages/{name}.jpg"), picture)
        picture[2:6, 2:6] = (3, 2, 1)
        cv2.imwrite(str(world / f"layout/SegmentationClass/{name}.png"), picture)


def _make_networks(world: Path) -> None:
    make_trained_run(world / "trained")
    export(loading.load(world / "trained", "cpu"), world / "exported", ["safetensors"])
    (world / "exported/model.safetensors").rename(world / "model.safetensors")
    state = torchvision.models.resnet18(weights=None).state_dict()
    storage.save_checkpoint(world / "weights.pth", state)
    part = state["conv1.weight"][:2]
    state = {"model": {"a": part}, "iteration": 3, "random": [{"cpu": part[0]}]}
    storage.save_checkpoint(world / "small.pt", state)
