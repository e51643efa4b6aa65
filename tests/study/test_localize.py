"""Maps by every source, the seeds and boxes that are cut from them, and the tables that compare them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demo_run import make_demo_data, start_demo_run
from helpers import Tool, check_refusal
from PIL import Image

from dsrg import cam, config, tables
from dsrg.boxes import map_boxes
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.labels import IGNORE
from dsrg.models.acol import ACoL
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.stages.cams import make_cams
from dsrg.stages.seeds import make_seeds
from dsrg.study.compare_seeds import source_table
from dsrg.study.localize import HEURISTIC, Localizer, Measures, Truth, localize
from dsrg.study.localize_tables import CLASSIFICATION, LOCALIZATION
from dsrg.study.localize_tables import tables as localize_tables

ROOT = Path(__file__).parents[2]
QUICK = (
    *("workers=0", "model.backbone=mobilenet_v2", "classifier.acol_channels=8", "classifier.size=65"),
    *("cam.scales=[0.5, 1.0]", "cam.output_stride=16"),
)
KINDS = {
    "gap": (),
    "gmp": ("classifier.pooling=max",),
    "acol": ("classifier.head=acol", "seeds.source=acol"),
}
TRAIN, VAL = 5, 4
"""Photographs."""
METHODS = tuple(tables.MAPS)
OWN = {"gap": METHODS[:5], "gmp": METHODS[:5], "acol": METHODS[1:]}
"""The methods that each classifier has."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=TRAIN, val=VAL)


def make_run(data: Path, run_dir: Path, *overrides: str) -> Run:
    return start_demo_run(data, run_dir, *QUICK, *overrides)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs, gap/, gmp/, acol/, whose classifiers have random weights and logits of some size."""
    folder = tmp_path_factory.mktemp("runs")
    for kind, settings in KINDS.items():
        run = make_run(data, folder / kind, *settings)
        torch.manual_seed(2)
        model = networks.new_classifier(run).eval()
        heads = [model.branch_a[-1], model.branch_b[-1]] if isinstance(model, ACoL) else [model.linear]
        pixels = torch.stack([inference.read_pixels(photo) for photo in run.train])
        with torch.no_grad():
            spread = model(inference.normalise(pixels)).std()
            for head in heads:
                head.weight /= spread  # type: ignore[operator]  # a layer's tensor
        storage.save_checkpoint(folder / kind / "classifier" / "checkpoint.pt", {"model": model.state_dict()})
    return folder


def copy_run(data: Path, trained: Path, kind: str, run_dir: Path, *overrides: str) -> Run:
    """A run of its own with the same classifier."""
    shutil.copytree(trained / kind, run_dir)
    return make_run(data, run_dir, *KINDS[kind], *overrides)


def maps_of(run: Run, photo: Photo, source: str) -> torch.Tensor:
    settings = run.cfg.cam
    return inference.activation_maps(
        networks.trained_classifier(run),
        inference.read_pixels(photo),
        torch.from_numpy(photo.tags),
        source=source,
        scales=settings.scales,
        size=settings.size,
        mirror=settings.mirror,
    )


def raw_maps(run: Run, photo: Photo, source: str) -> list[torch.Tensor]:
    """The maps of all classes at each scale, of it and of its mirror image, mirrored back: (1, K, h, w) each."""
    model, settings = networks.trained_classifier(run), run.cfg.cam
    raw = []
    pixels = inference.read_pixels(photo)
    for pair in inference.pyramid(model, pixels, settings.scales, settings.size, settings.mirror):
        for number, image in enumerate(pair[:, None]):
            with torch.no_grad():
                if source == "acol":
                    maps = model.activation_maps(image, torch.from_numpy(photo.tags)[None])  # type: ignore[call-arg]
                else:
                    every = torch.arange(len(run.classes) - 1)[None]
                    maps = tables.part(tables.MAPS[source].place)(model, image, every)
            raw.append(maps.flip(-1) if number else maps)
    return raw


# --- seed sources


def test_cams_are_to_the_bit_what_they_were_before_there_were_sources(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    run = copy_run(data, trained, "gap", tmp_path / "run")
    make_cams(run)
    model, settings = networks.trained_classifier(run), run.cfg.cam
    for photo in run.train:
        raw, pixels = [], inference.read_pixels(photo)
        for images in inference.pyramid(model, pixels, settings.scales, settings.size, settings.mirror):
            with torch.no_grad():
                maps = model.activation_maps(images)
            raw += [maps[:1], maps[1:].flip(-1)]
        merged = cam.merge_scales(raw, (16, 16))
        tags = torch.from_numpy(photo.tags)
        expected = cam.normalise(merged, tags[None])[0, tags[1:]].numpy().astype(np.float16)
        classes, stored = storage.read_cams(run.directory / "cams" / f"{photo.id}.npz")
        assert np.array_equal(classes, np.flatnonzero(photo.tags[1:]) + 1)
        assert np.array_equal(stored, expected)
        assert stored.max() == 1


@pytest.mark.parametrize(
    ("kind", "source"), [("gap", "grad_cam"), ("gmp", "grad_cam_pp"), ("acol", "acol"), ("acol", "grad_cam")]
)
def test_every_source_makes_seeds(data: Path, trained: Path, tmp_path: Path, kind: str, source: str) -> None:
    run = copy_run(data, trained, kind, tmp_path / "run", f"seeds.source={source}")
    figures = make_cams(run).figures
    assert 0 <= figures["cam_miou"] <= 1
    for photo in run.train:
        classes, maps = storage.read_cams(run.directory / "cams" / f"{photo.id}.npz")
        assert np.array_equal(classes, np.flatnonzero(photo.tags[1:]) + 1)
        assert maps.shape == (len(classes), 16, 16)
        assert maps.min() >= 0
        assert (maps.max(axis=(1, 2)) == 1).all()
        assert (maps.min(axis=(1, 2)) == 0).all() or source != "acol"
    measured = {"supervision", "coverage", "foreground_precision", "background_precision"}
    assert make_seeds(run).figures["seeds"].keys() == measured
    for photo in run.train:
        seeds = pictures.read_mask(run.directory / "seeds" / f"{photo.id}.png", len(run.classes))
        assert photo.tags[seeds[seeds != IGNORE]].all()


@pytest.mark.parametrize(
    ("kind", "source"), [("gap", "grad_cam"), ("gap", "grad_cam_pp"), ("gmp", "grad_cam"), ("acol", "acol")]
)
def test_maps_merge_over_scales_and_mirror_as_a_plain_sum(data: Path, trained: Path, kind: str, source: str) -> None:
    run = make_run(data, trained / kind, *KINDS[kind])
    photo = max(run.train, key=lambda photo: photo.tags.sum())
    total = torch.zeros(1, len(run.classes) - 1, 16, 16)
    for raw in raw_maps(run, photo, source):
        cells = raw.shape[2] * raw.shape[3] if source == "grad_cam" else 1
        resized = torch.nn.functional.interpolate(raw.relu(), (16, 16), mode="bilinear", align_corners=True)
        total = total + cells * resized
    if source == "acol":
        total -= total.amin(dim=(2, 3), keepdim=True)
    expected = total[0] / total[0].amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    expected[~torch.from_numpy(photo.tags[1:])] = 0
    found = maps_of(run, photo, source)
    assert found.max() == 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gap", "gmp"])
def test_grad_cam_behind_global_pooling_gives_the_seeds_of_cam(data: Path, trained: Path, kind: str) -> None:
    run = make_run(data, trained / kind, *KINDS[kind])
    assert len(run.cfg.cam.scales) > 1  # one scale alone would hide how they are weighed
    for photo in run.train[:2]:
        torch.testing.assert_close(maps_of(run, photo, "grad_cam"), maps_of(run, photo, "cam"), rtol=1e-4, atol=1e-5)


def test_maps_of_another_source_are_refused_and_an_old_run_counts_as_cam(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    run = copy_run(data, trained, "gap", tmp_path / "run")
    make_cams(run)
    make_seeds(run)
    for stage in ("cams", "seeds"):
        path = run.directory / stage / "stage.json"
        record = disk.read_json(path)
        assert record["settings"].pop("seeds.source") == "cam"
        assert "data.annotations" not in record["settings"]  # localisation's alone
        disk.write_json(path, record)
    again = make_run(data, run.directory, "data.annotations=Boxes")
    assert all(again.stage(stage).finished for stage in ("cams", "seeds"))
    with pytest.raises(InputError, match=r"cams: was made with seeds\.source = cam, which is now grad_cam"):
        make_cams(make_run(data, run.directory, "seeds.source=grad_cam"))
    keys = make_run(data, run.directory, "seeds.source=grad_cam").stage("classifier").settings
    assert not [key for key in keys if key.startswith(("seeds.", "localize.", "data.annotations"))]


def test_source_table_measures_what_the_stages_would(data: Path, trained: Path, tmp_path: Path, tool: Tool) -> None:
    run, other = (copy_run(data, trained, kind, tmp_path / kind) for kind in ("gap", "acol"))
    files = [tmp_path / "gap.yaml", tmp_path / "acol.yaml"]
    for file, cfg in zip(files, (run.cfg, other.cfg), strict=True):
        file.write_text(config.dump(cfg))
    before = sorted(tmp_path.rglob("*"))
    sources = ("cam", "grad_cam_pp", "acol")
    code, out, _ = tool("compare_seeds", "--cfg", files[0], "--also", files[1], "--sources", *sources)
    assert code == 0
    written = [tmp_path / "gap" / f"source_table.{ending}" for ending in ("json", "md")]
    assert sorted({*before, *written}) == sorted(tmp_path.rglob("*"))
    rows = disk.read_json(written[0])["rows"]
    expected = [("gap", "cam"), ("gap", "grad_cam_pp"), ("acol", "grad_cam_pp"), ("acol", "acol")]
    assert [(Path(row["run_dir"]).name, row["source"]) for row in rows] == expected
    assert [row["network"] for row in rows] == ["mobilenet_v2-GAP"] * 2 + ["mobilenet_v2-ACoL"] * 2
    lines = out.splitlines()
    assert len(lines) == 2 + len(rows) + out.endswith("\n\n")
    assert len({line.count("|") for line in lines if line}) == 1
    for row in rows:
        assert 0 <= row["cam_miou"] <= 1
        assert 0 <= row["coverage"] <= 1
    figures = make_cams(run).figures | make_seeds(run).figures["seeds"]
    del figures["supervision"]
    assert {name: rows[0][name] for name in figures} == figures
    # Overrides that follow the sources hold for both runs, and run_dir for the first alone.
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(trained / "gap", elsewhere)
    words = ("--every", 2, "--sources", "grad_cam", f"run_dir={elsewhere}", "seeds.thresholds=otsu")
    assert tool("compare_seeds", "--cfg", files[0], "--also", files[1], *words)[0] == 0
    table = disk.read_json(elsewhere / "source_table.json")
    assert table["every"] == 2
    assert [Path(row["run_dir"]).name for row in table["rows"]] == ["elsewhere", "acol"]
    assert len({tuple(row["thresholds"]) for row in table["rows"]}) == 2  # Otsu's, each its own


# --- boxes and localisation


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
