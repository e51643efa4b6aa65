"""What dsrg predict writes for other tools, read by these tools' own libraries where they are installed."""

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from format_oracles import blobs
from helpers import NAMES, Tool, check_refusal
from PIL import Image
from trained_run import make_photos, make_trained_run

from dsrg import tables
from dsrg.commands import import_masks, predict, prepare_data
from dsrg.data.doors import brush
from dsrg.data.doors.legend import read_legend, read_mask
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.predict.formats import Album, Drawn, Named, cvat, label_studio, video

PHOTOS = ("a.jpg", "b.png", "c.jpg")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs in every format that other tools read; their own are in photos/ beside it."""
    folder = tmp_path_factory.mktemp("out")
    run = make_trained_run(folder / "run")
    make_photos(folder / "photos", *PHOTOS)
    formats = [name for name in tables.FORMATS if name != "overlay"]
    words = [folder / "photos", "--model", run, "--out", folder / "predicted", "--recursive", "--workers", "0"]
    words += ["--device", "cpu", "--tolerance", "0", "--formats", *formats]
    assert predict.main([*map(str, words)]) == 0
    return folder / "predicted"


def masks(predicted: Path) -> dict[str, np.ndarray]:
    """The masks by the names of their photographs, without ending."""
    names = [Path(name).with_suffix("").as_posix() for name in PHOTOS]
    return {name: pictures.read_mask(predicted / "masks" / f"{name}.png") for name in names}


def check_items(dataset: Any, wanted: dict[str, np.ndarray], names: list[str]) -> None:
    """That painting the masks of a Datumaro data set gives these; background may or may not be among them."""
    assert [item.name for item in dataset.categories()[next(iter(dataset.categories()))].items] == names
    assert sorted(item.id for item in dataset) == sorted(wanted)
    for item in dataset:
        painted = np.zeros_like(wanted[item.id])
        for one in item.annotations:
            if one.type.name == "mask" and names[one.label] != "background":
                painted[np.asarray(one.image, bool)] = NAMES.index(names[one.label])
        assert np.array_equal(painted, wanted[item.id])


def test_datumaro_reads_its_layout_with_the_photographs(predicted: Path) -> None:
    datumaro = pytest.importorskip("datumaro")
    dataset = datumaro.Dataset.import_from(str(predicted / "datumaro"), "coco_instances")
    check_items(dataset, masks(predicted), list(NAMES[1:]))
    assert list(dataset.subsets()) == ["default"]
    for name in PHOTOS:
        copy = predicted / "datumaro/images/default" / name
        assert copy.read_bytes() == (predicted.parent / "photos" / name).read_bytes()
        item = dataset.get(Path(name).with_suffix("").as_posix(), "default")
        assert Path(item.media.path) == copy
        assert item.media.size == (48, 64)


def test_cvats_layout_is_read_by_datumaro(predicted: Path) -> None:
    datumaro = pytest.importorskip("datumaro")
    dataset = datumaro.Dataset.import_from(str(predicted / "cvat"), "voc_segmentation")
    check_items(dataset, masks(predicted), list(NAMES))
    assert list(dataset.subsets()) == ["default"]


@pytest.fixture(scope="module")
def prepared(predicted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set that dsrg prepare-data makes of CVAT's layout."""
    root = tmp_path_factory.mktemp("prepared") / "own"
    words = ["--photos", predicted.parent / "photos", "--labels", predicted / "cvat", "--root", root, "--val", "0.5"]
    assert prepare_data.main([*map(str, words)]) == 0
    return root


def check_set(root: Path, wanted: dict[str, np.ndarray]) -> None:
    """That a data set has these masks; its classes may have other numbers."""
    names = (root / "classes.txt").read_text().splitlines()
    files = {path.stem: path for path in (root / "SegmentationClass").rglob("*.png")}
    assert sorted(files) == sorted(Path(name).name for name in wanted)
    for name, mask in wanted.items():
        found = pictures.read_mask(files[Path(name).name])
        assert np.array_equal(np.array(names)[found], np.array(NAMES)[mask])


def test_cvats_layout_comes_back_as_a_data_set(predicted: Path, prepared: Path) -> None:
    check_set(prepared, masks(predicted))


@pytest.mark.parametrize(
    "file", ["annotations.json", "annotations-polygons.json", "datumaro/annotations/instances_default.json", "cvat"]
)
def test_corrections_come_back(predicted: Path, prepared: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(prepared, tmp_path / "own")
    shutil.rmtree(tmp_path / "own/SegmentationClass")
    assert import_masks.main(["--root", str(tmp_path / "own"), "--masks", str(predicted / file)]) == 0
    check_set(tmp_path / "own", masks(predicted))


def test_label_studios_brush_is_its_own_librarys(predicted: Path) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    tasks = json.loads((predicted / "label-studio/tasks.json").read_text())
    wanted = masks(predicted)
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d={name}" for name in ("a.jpg", "b.png", "c.jpg")
    ]
    for task, mask in zip(tasks, wanted.values(), strict=True):
        (prediction,) = task["predictions"]
        layers = brush.decode_from_annotation("tag", [one | one["value"] for one in prediction["result"]])
        painted = np.zeros_like(mask)
        for one, layer in zip(prediction["result"], layers.values(), strict=True):
            (label,) = one["value"]["brushlabels"]
            painted[layer > 0] = NAMES.index(label)
            own = np.where(mask == NAMES.index(label), 255, 0).astype(np.uint8)
            assert one["value"]["rle"] == brush.mask2rle(own)
        assert np.array_equal(painted, mask)


def test_label_studios_configuration_has_the_controls_of_the_tasks(predicted: Path) -> None:
    config = (predicted / "label-studio/config.xml").read_text()
    root = ElementTree.fromstring(config)
    brushes = root.find("BrushLabels")
    assert brushes is not None
    assert [label.get("value") for label in brushes] == list(NAMES[1:])
    assert brushes[0].get("background") == "#800000"
    (image,) = root.iter("Image")
    for task in json.loads((predicted / "label-studio/tasks.json").read_text()):
        assert image.get("value") == f"${next(iter(task['data']))}"
        for one in task["predictions"][0]["result"]:
            assert one["from_name"] == brushes.get("name")
            assert one["to_name"] == brushes.get("toName") == image.get("name")
    interface = pytest.importorskip("label_studio_sdk.label_interface")
    assert interface.LabelInterface(config).validate_prediction(task["predictions"][0])


def test_predictions_that_a_person_took_over_come_back(predicted: Path, prepared: Path, tmp_path: Path) -> None:
    """Label Studio exports them as annotations, and its server's names of the photographs."""
    tasks = json.loads((predicted / "label-studio/tasks.json").read_text())
    done = [{"id": n, "data": task["data"], "annotations": task["predictions"]} for n, task in enumerate(tasks)]
    (tmp_path / "export.json").write_text(json.dumps(done))
    shutil.copytree(prepared, tmp_path / "own")
    shutil.rmtree(tmp_path / "own/SegmentationClass")
    assert import_masks.main(["--root", str(tmp_path / "own"), "--masks", str(tmp_path / "export.json")]) == 0
    check_set(tmp_path / "own", masks(predicted))


def test_names_in_label_studios_addresses_are_quoted() -> None:
    named = Named("a/b c", "a/b c&1.jpg", np.zeros((2, 2), np.uint8))
    (task,) = json.loads(label_studio.content(Album(NAMES, [named], image_url="https://photos.org/")))
    assert task["data"] == {"image": "https://photos.org/a/b%20c%261.jpg"}
    assert task["predictions"][0]["result"] == []


@pytest.mark.parametrize("seed", range(12))
def test_any_brush_is_packed_as_the_library_packs_it(seed: int) -> None:
    mask = blobs(seed) > 0
    code = brush.pack(mask)
    runs = brush.unpack(code, mask.size)
    again = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(mask.shape)
    assert np.array_equal(again, mask)
    theirs = pytest.importorskip("label_studio_sdk.converter.brush")
    assert list(code) == theirs.mask2rle(mask.astype(np.uint8) * 255)


def test_long_runs_are_divided() -> None:
    """A count has 16 bits at most: 2^18 values are four runs, one more pixel a fifth."""
    for pixels, counts in ((2**16, 4), (2**16 + 1, 5)):
        code = brush.pack(np.ones((1, pixels), bool))
        assert brush.unpack(code, pixels).tolist() == [0, pixels]
        assert 8 * len(code) - 53 - counts * (1 + 2 + 16 + 8) in range(-12, 9)


def test_void_has_a_line_of_its_own_in_cvats_table(tmp_path: Path) -> None:
    mask = np.array([[0, 2, 255], [3, 3, 2]], np.uint8)
    drawn = Drawn(np.zeros((2, 3, 3), np.uint8), mask, NAMES, "a.jpg", 0, None)
    for folder, content in (("SegmentationClass", cvat.class_mask), ("SegmentationObject", cvat.object_mask)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(content(drawn))
    table = cvat.labelmap(Album(NAMES, [Named("a", "a.jpg", mask)])).decode()
    assert table.splitlines()[1:] == [
        "background:0,0,0::",
        "cat:128,0,0::",
        "dog:0,128,0::",
        "traffic light:128,128,0::",
        "ignored:224,224,192::",
    ]
    (tmp_path / "labelmap.txt").write_text(table)
    objects = np.asarray(Image.open(tmp_path / "SegmentationObject/a.png"))
    assert objects[0].tolist() == [[0, 0, 0], [128, 0, 0], [224, 224, 192]]
    assert objects[1].tolist() == [[0, 128, 0], [0, 128, 0], [128, 0, 0]]
    legend = read_legend(tmp_path / "labelmap.txt")
    found = read_mask(tmp_path / "SegmentationClass/a.png", legend, NAMES.index)
    assert np.array_equal(found, mask)


@pytest.mark.parametrize("name", ["cat: black", "#1", "ignored"])
def test_a_name_that_cvats_table_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"class '{name}': CVAT's labelmap.txt .* rename the class"):
        cvat.labelmap(Album(("background", name), []))


def test_it_is_refused_before_the_work(predicted: Path, tmp_path: Path, tool: Tool) -> None:
    run = shutil.copytree(predicted.parent / "run", tmp_path / "run")
    (run / "classes.txt").write_text("background\ncat: black\ndog\nbird\n")
    make_photos(tmp_path, "a.jpg")
    result = tool("predict", tmp_path / "a.jpg", "--model", run, "--out", tmp_path / "out", "--formats", "cvat")
    check_refusal(result, "class 'cat: black'", "labelmap.txt")
    assert not (tmp_path / "out").exists()


def test_frames_are_in_datumaros_layout_too(predicted: Path, tmp_path: Path) -> None:
    with video.write_video(tmp_path / "v.mp4", 5.0) as write:
        write(np.full((48, 64, 3), 90, np.uint8))
    words = [
        tmp_path / "v.mp4",
        "--model",
        predicted.parent / "run",
        "--out",
        tmp_path / "out",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    assert predict.main([*map(str, words), "--formats", "datumaro"]) == 0
    layout = tmp_path / "out/datumaro"
    (image,) = json.loads((layout / "annotations/instances_default.json").read_text())["images"]
    assert pictures.read_size(layout / "images/default" / image["file_name"]) == (64, 48)
