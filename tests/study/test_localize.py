"""Boxes from the maps of every source, what is measured on them, and the table that compares them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifier_runs import KINDS, TRAIN, VAL, copy_run, make_classifiers, make_run
from demo_run import make_demo_data
from helpers import Tool, check_refusal
from PIL import Image

from dsrg import config, tables
from dsrg.boxes import map_boxes
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.labels import IGNORE
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.study.compare_seeds import source_table
from dsrg.study.localize import HEURISTIC, Localizer, Measures, Truth, localize
from dsrg.study.localize_tables import CLASSIFICATION, LOCALIZATION
from dsrg.study.localize_tables import tables as localize_tables

METHODS = tuple(tables.MAPS)
OWN = {"gap": METHODS[:5], "gmp": METHODS[:5], "acol": METHODS[1:]}
"""The methods that each classifier has."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=TRAIN, val=VAL)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifiers(data, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def boxed(data: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Run], dict[str, Any]]:
    """Three runs, all of whose boxes of the validation photographs are made; and the table's content."""
    folder = tmp_path_factory.mktemp("boxed")
    runs = [copy_run(data, trained, kind, folder / kind) for kind in KINDS]
    return runs, localize(runs, pictures=2)


def true_boxes(run: Run, photo: Photo) -> dict[str, list[int]]:
    mask = np.array(Image.open(run.folder.mask_path(photo)))
    found = {}
    for label in np.flatnonzero(photo.tags)[1:]:
        rows, columns = np.nonzero(mask == label)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        found[run.classes.names[label]] = [int(edge) for edge in box]
    return found


def overlap(one: list[int], other: list[int]) -> float:
    cells = [{(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (one, other)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


def test_the_table_has_a_row_for_each_network_and_method(boxed: tuple[list[Run], dict[str, Any]]) -> None:
    runs, results = boxed
    expected = [(f"mobilenet_v2-{kind}", method) for kind, own in zip(("GAP", "GMP", "ACoL"), OWN.values(), strict=True)
                for method in own]  # fmt: skip
    assert [(row["network"], row["method"]) for row in results["rows"]] == expected
    missing = "top5_classification_error"  # of five classes, which the guesses exhaust
    columns = {*CLASSIFICATION, *LOCALIZATION, HEURISTIC} - {missing}
    for row in results["rows"]:
        assert all(0 <= row[column] <= 1 for column in columns), row
        assert row["top1_classification_error"] <= row["top1_localization_error"]
        assert row["top5_localization_error"] <= row["top1_localization_error"]
        assert missing not in row
        assert row["measured"] == VAL
    assert len({row["top1_classification_error"] for row in results["rows"][:5]}) == 1
    folder = runs[0].directory / "localize" / "val"
    assert disk.read_json(folder / "localize.json") == json.loads(json.dumps(results))
    lines = (folder / "localize.md").read_text().splitlines()
    table = [line.count("|") for line in lines if line.startswith("|")]
    assert table == [4] * (2 + len(KINDS)) + [3 + len(LOCALIZATION)] * (2 + len(expected)) + [5] * (2 + len(expected))
    assert lines[-1] == localize_tables(results).splitlines()[-1]
    assert f"{VAL} of the {VAL} photographs" in lines[-1]
    assert "With 5 classes the top 5 are all of them." in lines[-1]


@pytest.mark.parametrize("number", range(3))
def test_boxes_are_those_of_the_maps_one_class_at_a_time(boxed: tuple[list[Run], dict[str, Any]], number: int) -> None:
    run = boxed[0][number]
    model = networks.trained_classifier(run)
    for method in OWN[list(KINDS)[number]]:
        content = disk.read_json(run.directory / "localize" / "val" / method / "boxes.json")
        assert (content["method"], content["split"], content["threshold"]) == (method, "val", 0.2)
        assert [entry["image"] for entry in content["photographs"]] == [photo.id for photo in run.val]
        for photo, entry in list(zip(run.val, content["photographs"], strict=True))[::2]:
            (image,) = inference.pyramid(model, inference.read_pixels(photo), (1.0,), None, mirror=False)
            with torch.no_grad():
                probs = model(image)[0].sigmoid().numpy()
            assert (entry["width"], entry["height"]) == (64, 64)
            assert [found["score"] for found in entry["predicted"]] == pytest.approx(sorted(probs)[::-1], abs=2e-6)
            tagged = [run.classes.names[label] for label in np.flatnonzero(photo.tags)[1:]]
            assert [found["label"] for found in entry["own"]] == tagged
            for place, found in enumerate(entry["predicted"] + entry["own"]):
                column = run.classes.foreground.index(found["label"])
                assert found["score"] == pytest.approx(probs[column], abs=2e-6)
                if method == "acol" and place >= len(entry["predicted"]):
                    tags = torch.from_numpy(photo.tags)[None]
                    with torch.no_grad():
                        maps = model.activation_maps(image, tags)[:, column]  # type: ignore[call-arg]
                else:
                    maps = tables.part(tables.MAPS[method].place)(model, image, torch.tensor([[column]]))[0]
                if method == "acol":
                    maps = maps - maps.min()
                np.testing.assert_allclose(found["box"], map_boxes(maps, (64, 64), 0.2)[0], atol=1)
                if place < 2:
                    both = entry["heuristic"][2 * place : 2 * place + 2]
                    assert [one["label"] for one in both] == [found["label"]] * 2
                    assert both[0] == found
                    np.testing.assert_allclose(both[1]["box"], map_boxes(maps, (64, 64), 0.4)[0], atol=1)
            assert entry["heuristic"][4:] == entry["predicted"][2:3]


def test_errors_are_those_of_the_written_boxes(boxed: tuple[list[Run], dict[str, Any]]) -> None:
    runs, results = boxed
    rows = iter(results["rows"])
    for run, own in zip(runs, OWN.values(), strict=True):
        for method in own:
            wrong, known = {"top1": 0, "top5": 0, "class": 0, "heuristic": 0}, []
            entries = disk.read_json(run.directory / "localize" / "val" / method / "boxes.json")["photographs"]
            for photo, entry in zip(run.val, entries, strict=True):
                truth = true_boxes(run, photo)
                right, five = (
                    [found["label"] in truth and overlap(found["box"], truth[found["label"]]) >= 0.5 for found in boxes]
                    for boxes in (entry["predicted"], entry["heuristic"])
                )
                wrong["heuristic"] += not any(five)
                wrong["top1"] += not right[0]
                wrong["top5"] += not any(right)
                wrong["class"] += entry["predicted"][0]["label"] not in truth
                known += [overlap(found["box"], truth[found["label"]]) >= 0.5 for found in entry["own"]]
            row = next(rows)
            assert row["top1_localization_error"] == pytest.approx(wrong["top1"] / VAL)
            assert row["top5_localization_error"] == pytest.approx(wrong["top5"] / VAL)
            assert row["top1_classification_error"] == pytest.approx(wrong["class"] / VAL)
            assert row[HEURISTIC] == pytest.approx(wrong["heuristic"] / VAL)
            assert row["gt_known_accuracy"] == pytest.approx(np.mean(known))


def test_pictures_are_drawn_where_they_are_missing_and_finished_boxes_stay(
    boxed: tuple[list[Run], dict[str, Any]],
) -> None:
    run = boxed[0][0]
    folder = run.directory / "localize" / "val" / "cam"
    names = [f"{photo.id}.png" for photo in run.val]
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == names[:2]
    with Image.open(folder / "pictures" / names[0]) as picture:
        assert picture.size == (64, 64)
        plain = inference.read_pixels(run.val[0]).permute(1, 2, 0).numpy()
        assert (np.array(picture.convert("RGB")) != plain).any()
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}
    assert localize([run], ["cam"], pictures=3)["rows"] == boxed[1]["rows"][:1]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == names[:3]


def test_boxes_of_before_the_heuristic_are_measured_anew(data: Path, trained: Path, tmp_path: Path) -> None:
    run = copy_run(data, trained, "gap", tmp_path / "run")
    first = localize([run], ["cam"], pictures=0)
    record = run.directory / "localize/val/cam/stage.json"
    content = disk.read_json(record)
    del content["figures"][HEURISTIC], content["settings"]["localize.tight_threshold"]
    disk.write_json(record, content)
    assert localize([make_run(data, run.directory)], ["cam"], pictures=0) == first


def test_other_settings_are_refused_and_the_blur_is_of_saliency_alone(
    data: Path, boxed: tuple[list[Run], dict[str, Any]]
) -> None:
    folder = boxed[0][0].directory
    with pytest.raises(InputError, match=r"cam: was made with localize\.threshold = 0\.2, which is now 0\.3"):
        localize([make_run(data, folder, "localize.threshold=0.3")], ["cam"])
    blurred = make_run(data, folder, "localize.saliency_blur=4")
    with pytest.raises(InputError, match=r"localize\.saliency_blur = 0\.0, which is now 4"):
        localize([blurred], ["grad_cam", "saliency"])
    assert localize([blurred], ["grad_cam"], pictures=0)["rows"] == boxed[1]["rows"][1:2]
    raw, smooth = (Localizer(run, "saliency")(run.val[0]).maps for run in (boxed[0][0], blurred))
    steps = [float((maps[:, 1:] - maps[:, :-1]).abs().mean() / maps.mean()) for maps in (raw, smooth)]
    assert steps[1] < 0.3 * steps[0]
    torch.testing.assert_close(smooth.mean(), raw.mean(), rtol=0.05, atol=0)


def test_the_tool_measures_on_xml_boxes_and_takes_another_split(
    data: Path, trained: Path, tmp_path: Path, tool: Tool
) -> None:
    root, annotations = tmp_path / "data", tmp_path / "data" / "Boxes"
    shutil.copytree(data, root)
    shutil.rmtree(root / "SegmentationClass")
    kinds = ("gap", "acol")
    runs = [copy_run(root, trained, kind, tmp_path / kind, "data.annotations=Boxes") for kind in kinds]
    files = [tmp_path / f"{kind}.yaml" for kind in kinds]
    for run, file in zip(runs, files, strict=True):
        file.write_text(config.dump(run.cfg))
    command = ("localize", "--cfg", files[0], "--also", files[1], "--split", "train", "--pictures", 1)
    command += ("--methods", "grad_cam", "acol")
    code, out, _ = tool(*command)
    assert code == 0
    assert "without masks or annotations nothing is measured" in out
    folder = tmp_path / "gap/localize/train"
    boxes = disk.read_json(folder / "grad_cam/boxes.json")["photographs"]
    assert len(boxes) == TRAIN
    annotations.mkdir()
    for entry in boxes:  # the truth is what the first network says, counted from 1
        objects = ""
        for found in entry["own"]:
            left, top, right, bottom = found["box"]
            edges = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
            body = "".join(f"<{name}>{edge}</{name}>" for name, edge in edges.items())
            objects += f"<object><name>{found['label']}</name><bndbox>{body}</bndbox></object>"
        (annotations / f"{entry['image']}.xml").write_text(f"<annotation>{objects}</annotation>")
    code, out, _ = tool(*command, "localize.size=64")  # which those of before were not
    check_refusal((code, out, _), "localize.size = None, which is now 64")
    code, out, _ = tool(*command)
    assert code == 0
    assert f"{TRAIN} of the {TRAIN} photographs of the split train have a true box (XML annotations)." in out
    assert "PxAP needs masks." in out
    rows = disk.read_json(folder / "localize.json")["rows"]
    assert [(row["network"], row["method"]) for row in rows] == [
        ("mobilenet_v2-GAP", "grad_cam"),
        ("mobilenet_v2-ACoL", "grad_cam"),
        ("mobilenet_v2-ACoL", "acol"),
    ]
    assert rows[0]["gt_known_accuracy"] == 1
    assert rows[0]["top1_localization_error"] == rows[0]["top1_classification_error"]
    assert all(row["pxap"] is None for row in rows)
    assert disk.read_json(folder / "grad_cam/boxes.json")["photographs"] == boxes
    (annotations / f"{boxes[0]['image']}.xml").write_text("<annotation>")
    check_refusal(tool(*command), annotations / f"{boxes[0]['image']}.xml", "not valid XML")


def test_a_photograph_whose_mask_is_void_is_left_out(data: Path, trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    run = copy_run(root, trained, "gap", tmp_path / "run")
    pictures.write_mask(run.folder.mask_path(run.val[0]), np.full((64, 64), IGNORE, np.uint8))
    results = localize([run], ["cam"], pictures=1)
    assert results["rows"][0]["measured"] == VAL - 1
    assert f"{VAL - 1} of the {VAL} photographs" in (run.directory / "localize/val/localize.md").read_text()


def test_measures_of_two_processes_add_up(boxed: tuple[list[Run], dict[str, Any]]) -> None:
    run = boxed[0][1]
    truth, localizer = Truth(run, "val"), Localizer(run, "cam")
    parts = [Measures(len(run.classes)) for _ in range(3)]
    for number, photo in enumerate(run.val):
        answer = localizer(photo)
        true = truth.boxes(photo, answer.size)
        assert true is not None
        for part in (parts[0], parts[1 + number % 2]):
            part.update(answer, answer.boxes(run.cfg.localize), true, truth.mask(photo, answer.size))
    parts[1] += parts[2]
    assert parts[1].result() == parts[0].result()
    row = next(row for row in boxed[1]["rows"] if row["network"] == "mobilenet_v2-GMP")
    for name, value in parts[0].result().items():
        assert row[name] == pytest.approx(value) or math.isnan(value)


def test_what_does_not_go_together_is_refused(data: Path, trained: Path, tmp_path: Path) -> None:
    gap, gmp, acol = (make_run(data, trained / kind, *settings) for kind, settings in KINDS.items())
    before = sorted(trained.rglob("*"))

    def refusal(runs: list[Run], methods: list[str], **options: int) -> str:
        with pytest.raises(InputError) as caught:
            localize(runs, methods, **options)  # type: ignore[arg-type]
        return str(caught.value)

    assert refusal([gap], ["cam", "lime"]) == (
        "--methods lime: no such method; name some of cam, grad_cam, grad_cam_pp, saliency, saliency_cut, acol."
    )
    assert "--methods acol: needs a classifier with classifier.head = acol" in refusal([gap, gmp], ["cam", "acol"])
    assert "its classifier, mobilenet_v2-ACoL, has no maps by cam" in refusal([gap, acol], ["cam"])
    assert "is the run_dir of two of the configurations" in refusal([gap, gmp, gap], ["cam"])
    assert "--pictures -1" in refusal([gap], ["cam"], pictures=-1)
    other = Run(config.change(gmp.cfg, {"data.masks": "Masks"}))
    assert f"data.masks = Masks, but {gap.directory} has SegmentationClass" in refusal([gap, other], ["cam"])
    empty = make_run(data, tmp_path / "empty")
    assert "empty/classifier: is not finished; run dsrg train-classifier" in refusal([gap, empty], [])
    with pytest.raises(InputError, match=r"nowhere\.txt: the split does not exist"):
        localize([gap], ["cam"], split="nowhere")
    with pytest.raises(InputError, match="--sources saliency: no such method"):
        source_table([gap], ["saliency"])
    with pytest.raises(InputError, match="--sources acol: needs a classifier"):
        source_table([gap], ["acol"])
    with pytest.raises(InputError, match="--every 0"):
        source_table([gap], ["cam"], 0)
    assert sorted(trained.rglob("*")) == before
    assert not empty.directory.exists()
