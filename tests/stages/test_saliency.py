"""Saliency maps by tiny ONNX graphs made here, and seeds cut by them; no network is trained."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_run
import torch
from demo_run import make_demo_data, start_demo_run
from helpers import Tool, check_refusal
from onnx import TensorProto, helper
from PIL import Image
from torch.nn import functional

from dsrg import cam, config, tables
from dsrg.errors import InputError
from dsrg.files import disk, pictures, storage
from dsrg.models.saliency import SaliencyNetwork
from dsrg.run import results
from dsrg.run.folder import Run
from dsrg.stages.masks import weigher
from dsrg.stages.order import planned
from dsrg.stages.retrain import retrain
from dsrg.stages.saliency import make_saliency
from dsrg.stages.seeds import make_seeds

SIZE = 48


def write_onnx(
    path: Path,
    shape: tuple[int | str, ...] = (1, 3, 320, 320),
    kind: int = TensorProto.FLOAT,
    op: str = "ReduceMean",
    **attributes: object,
) -> Path:
    """A graph of one operation, by default the mean of the three planes; its second output is the input."""
    attributes = attributes or ({"axes": [1], "keepdims": 1} if op == "ReduceMean" else {})
    nodes = [helper.make_node(op, ["photo"], ["map"], **attributes), helper.make_node("Identity", ["photo"], ["more"])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("photo", kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in ("map", "more")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo_data(tmp_path_factory, train=5, val=1, size=SIZE)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "mean.onnx")


def make_run(data: Path, run_dir: Path, *overrides: object) -> Run:
    fixed = ("seeds.thresholds=fixed", "seeds.crf=false", "seeds.background=auto")
    return start_demo_run(data, run_dir, *fixed, *map(str, overrides))


def put_cams(run: Run) -> None:
    """CAMs of the user's, which rise from left to right."""
    for photo in run.train:
        ramp = np.linspace(0, 1, 12, dtype=np.float32)[None, None, :]
        storage.write_cams(
            run.directory / f"cams/{photo.id}.npz", photo.own, ramp.repeat(12, 1).repeat(len(photo.own), 0)
        )


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.png")}


@pytest.mark.parametrize("name", ["u2netp", "isnet"])
def test_maps_are_the_first_output_brought_to_the_photograph(tmp_path: Path, name: str) -> None:
    sees = tables.SALIENCY[name].sees
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 200, (6, 9, 3)).astype(np.uint8)
    picture = np.array(Image.fromarray(colours).resize((450, 300), Image.Resampling.BICUBIC))
    found = SaliencyNetwork(write_onnx(tmp_path / "a.onnx", (1, 3, sees.size, sees.size)))(picture)
    # The authors' own steps, on torch's antialiased resize in place of Pillow's.
    images = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    small = functional.interpolate(images, (sees.size, sees.size), mode="bilinear", antialias=True)
    if name == "isnet":
        values = (small / 255 - 0.5).mean(dim=1, keepdim=True)
    else:
        mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        values = ((small / small.max() - mean) / deviation).mean(dim=1, keepdim=True)
    values = (values - values.min()) / (values.max() - values.min())
    expected = 255 * functional.interpolate(values, (300, 450), mode="bilinear", antialias=True)[0, 0].numpy()
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() < 3  # Pillow rounds the small picture to whole greys
    assert found.min() <= 3 and found.max() >= 252


def test_a_map_that_is_the_same_everywhere_is_empty(network: Path) -> None:
    assert not SaliencyNetwork(network)(np.full((5, 7, 3), 90, np.uint8)).any()


def test_the_stage_writes_a_grey_map_for_each_training_photograph(data: Path, tmp_path: Path, network: Path) -> None:
    run = make_run(data, tmp_path / "run", f"saliency.weights={network}", "workers=3")
    stage = make_saliency(run)
    assert stage.finished
    assert sorted(files(stage.directory)) == sorted(f"{photo.id}.png" for photo in run.train)
    for photo in run.train:
        image = Image.open(stage.directory / f"{photo.id}.png")
        assert (image.mode, image.size) == ("L", pictures.read_size(photo.path))
        expected = SaliencyNetwork(network)(np.array(pictures.read_image(photo.path)))
        np.testing.assert_array_equal(np.array(image), expected)


def test_an_interrupted_stage_makes_what_is_missing(data: Path, tmp_path: Path, network: Path) -> None:
    run = make_run(data, tmp_path / "run", f"saliency.weights={network}")
    stage = make_saliency(run)
    before = files(stage.directory)
    make_saliency(run)
    assert files(stage.directory) == before
    lost, *kept = sorted(before)
    (stage.directory / lost).unlink()
    make_saliency(run)
    after = files(stage.directory)
    assert after[lost][0] == before[lost][0]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_it_depends_on_photographs_and_the_network_alone(data: Path, tmp_path: Path, network: Path) -> None:
    make_saliency(make_run(data, tmp_path / "run", f"saliency.weights={network}"))
    moved = shutil.move(network, tmp_path / "moved.onnx")
    other = (f"saliency.weights={moved}", "seed=5", "model.aspp_channels=8", "classifier.iterations=77", "amp=true")
    assert make_run(data, tmp_path / "run", *other).stage("saliency").finished
    write_onnx(Path(moved), op="ReduceMax", axes=[1], keepdims=1)
    with pytest.raises(InputError, match=r"the file of saliency\.weights; put the data back"):
        _ = make_run(data, tmp_path / "run", *other).stage("saliency").finished
    with pytest.raises(InputError, match=r"saliency\.weights = .*mean\.onnx, which is now isnet"):
        _ = make_run(data, tmp_path / "run", "saliency.weights=isnet").stage("saliency").finished


def garbage(path: Path) -> None:
    path.write_bytes(b"\x08\x07" + bytes(range(256)) * 9)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (garbage, "not a readable ONNX file"),
    "empty": (Path.touch, "not a readable ONNX file"),
    "cut off": (lambda path: path.write_bytes(write_onnx(path).read_bytes()[:90]), "not a readable ONNX file"),
    "another size": (lambda path: write_onnx(path, (1, 3, 256, 256)), r"\[1, 3, 256, 256\] in place of one photograph"),
    "any size": (lambda path: write_onnx(path, (1, 3, "h", "w")), "in place of one photograph"),
    "grey": (lambda path: write_onnx(path, (1, 1, 320, 320)), "in place of one photograph"),
    "doubles": (lambda path: write_onnx(path, kind=TensorProto.DOUBLE), r"tensor\(double\)"),
    "colours out": (lambda path: write_onnx(path, op="Relu"), r"gives \(1, 3, 320, 320\) in place of one map"),
    "a number out": (lambda path: write_onnx(path, axes=[1, 2, 3], keepdims=0), r"gives \(1,\) in place of one map"),
    "two photographs": (lambda path: write_onnx(path, (2, 3, 320, 320)), "fails on a photograph"),
    "no numbers": (lambda path: write_onnx(path, op="ReduceLogSum", axes=[1], keepdims=1), "are no numbers"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_are_no_network_of_saliency_are_refused(data: Path, tmp_path: Path, name: str) -> None:
    make, message = HOSTILE[name]
    path = tmp_path / "hostile.onnx"
    make(path)
    with pytest.raises(InputError, match=message) as refused:
        make_saliency(make_run(data, tmp_path / "run", f"saliency.weights={path}"))
    assert str(refused.value).startswith(f"{path}: ")
    assert not (tmp_path / "run").exists()


def test_what_is_no_file_is_refused(data: Path, tmp_path: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    for word in (tmp_path / "fifo", tmp_path, "u2nett"):
        with pytest.raises(InputError, match="there is no such file, and the names are u2net, u2netp, isnet"):
            make_saliency(make_run(data, tmp_path / "run", f"saliency.weights={word}"))
    places = ("--cfg", "demo/resnet18", f"data.root={data}", f"run_dir={tmp_path / 'run'}")
    check_refusal(tool("make-saliency", *places), "saliency.weights is null; name the network")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    path = write_onnx(tmp_path / "mean.onnx")
    result = tool("make-saliency", *places, f"saliency.weights={path}")
    check_refusal(result, "needs onnxruntime", "pip install 'dsrg[saliency]'")
    assert not (tmp_path / "run").exists()


def test_one_preset_serves_both_kinds_of_supervision(data: Path, tmp_path: Path, network: Path) -> None:
    alone, both = make_run(data, tmp_path / "a"), make_run(data, tmp_path / "b", f"saliency.weights={network}")
    assert "saliency" not in planned(alone)
    assert planned(both).index("saliency") < planned(both).index("seeds")
    figures = []
    for run in (alone, both):
        put_cams(run)
        if run is both:
            with pytest.raises(InputError, match="saliency: is not finished; run dsrg make-saliency first"):
                make_seeds(run)
            make_saliency(run)
        figures.append(make_seeds(run).figures)
    assert [results.column(found) for found in figures] == ["tags", "tags and saliency"]
    assert results.table(figures[1]).startswith("| figure | tags and saliency |")
    # Tags alone are what the cue cam is, whose runs stay finished under auto and the other way round.
    assert make_run(data, tmp_path / "a", "seeds.background=cam").stage("seeds").finished
    # The keys of the other regime make no difference to either.
    assert make_run(data, tmp_path / "a", "seeds.cam_foreground=0.9").stage("seeds").finished
    otsu = (f"saliency.weights={network}", "seeds.thresholds=otsu", "seeds.crf=true", "crf.iterations=3")
    assert make_run(data, tmp_path / "b", *otsu).stage("seeds").finished
    with pytest.raises(InputError, match=r"seeds: was made with seeds\.background = cam, which is now cam_saliency"):
        _ = make_run(data, tmp_path / "a", f"saliency.weights={network}").stage("seeds").finished
    with pytest.raises(InputError, match=r"seeds: was made with seeds\.background = cam_saliency, which is now cam"):
        _ = make_run(data, tmp_path / "b", "seeds.thresholds=otsu", "seeds.crf=true").stage("seeds").finished


@pytest.mark.usefixtures("one_thread")
def test_with_somebodys_own_seeds_saliency_still_weighs_masks_and_teacher(
    data: Path, tmp_path: Path, network: Path
) -> None:
    words = ("model.init=weights", "test.crf=false", "masks.crf=false", "supervised.enabled=false")
    by_maps = (f"saliency.weights={network}", "seeds.background=auto", "masks.saliency=1", "retrain.distill=0.5")
    run = tiny_run.make_run(data, tmp_path / "run", *words, *by_maps)
    tiny_run.finish_run(run, data / "SegmentationClass")
    assert "saliency" in planned(run) and run.stage("saliency").finished and run.stage("retrain").finished
    assert "saliency" not in planned(tiny_run.make_run(data, tmp_path / "run", *words, *by_maps, "masks.saliency=0"))

    # A teacher that is weighed teaches something else than one that is not.
    again = shutil.copytree(tmp_path / "run", tmp_path / "again", ignore=shutil.ignore_patterns("retrain"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dsrg.stages.retrain._taught_saliency", lambda run: None)
        retrain(tiny_run.make_run(data, again, *words, *by_maps))
    weighed, plain = (storage.load_network(place / "retrain/checkpoint.pt") for place in (tmp_path / "run", again))
    assert any(not torch.equal(weighed[name], plain[name]) for name in weighed)

    # Maps that are gone are noticed before anything is written; masks of somebody else's were made without them.
    shutil.rmtree(again / "retrain")
    shutil.rmtree(again / "saliency")
    run = tiny_run.make_run(data, again, *words, *by_maps)
    with pytest.raises(InputError, match="saliency: is not finished; run dsrg make-saliency first"):
        retrain(run)
    assert not (again / "retrain").exists()
    (again / "masks/stage.json").unlink()
    assert retrain(run).finished


def test_seeds_by_anybodys_maps(data: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    run = make_run(data, tmp_path / "run", f"seeds.saliency_dir={maps}")
    assert "saliency" not in planned(run)
    put_cams(run)
    with pytest.raises(InputError, match="the saliency map does not exist; add it"):
        make_seeds(run)
    for photo in run.train:  # the upper half is salient, in between it is in doubt
        grey = np.full((SIZE, SIZE), 20, np.uint8)
        grey[: SIZE // 2], grey[SIZE // 2 : SIZE // 2 + 4] = 230, 120
        Image.fromarray(grey).save(maps / f"{photo.id}.png")
    figures = make_seeds(run).figures
    assert figures["saliency_thresholds"] == "otsu"
    assert 20 / 255 < figures["saliency_background"] <= 120 / 255 <= figures["saliency_foreground"] < 230 / 255
    ramp = np.linspace(0, 1, SIZE)
    for photo in run.train:
        seeds = pictures.read_mask(run.directory / "seeds" / f"{photo.id}.png")
        assert np.array_equal(seeds[0] == 255, ramp <= 0.15)  # salient: background nowhere
        assert np.array_equal(seeds[-1] == 255, ramp >= 0.1)
        assert set(seeds[0][ramp > 0.15].tolist()) <= set(photo.own.tolist())
        assert not (seeds[-1] != 0)[ramp < 0.1].any()
        assert (seeds[SIZE // 2 + 1] == 255).all()


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        ({"saliency_foreground": 0.6, "saliency_background": 0.2}, (0.2, 0.6)),
        ({"saliency_foreground": 0.002}, (0.002, 0.002)),
        ({"saliency_background": 0.99}, (0.99, 0.99)),
    ],
)
def test_thresholds_may_be_fixed_both_or_one(
    data: Path, tmp_path: Path, fixed: dict[str, float], expected: tuple[float, float]
) -> None:
    words = [f"seeds.{key}={value}" for key, value in fixed.items()]
    run = make_run(data, tmp_path / "run", f"seeds.saliency_dir={tmp_path}", *words)
    put_cams(run)
    for photo in run.train:
        Image.fromarray(np.array([[0, 100], [200, 255]], np.uint8)).save(tmp_path / f"{photo.id}.png")
    figures = make_seeds(run).figures
    assert (figures["saliency_background"], figures["saliency_foreground"]) == expected
    assert figures["saliency_thresholds"] == ("fixed" if len(fixed) == 2 else "otsu")


@pytest.mark.parametrize("grey", [0, 255])
def test_maps_of_one_grey_say_the_same_of_every_pixel(grey: int) -> None:
    counts = np.zeros(256)
    counts[grey] = 1
    low, high = cam.otsu_thresholds(counts)
    assert (grey / 255 < low) == (grey == 0)
    assert (grey / 255 > high) == (grey == 255)


def test_saliency_speaks_in_the_masks_where_it_cuts_the_seeds(data: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    run = make_run(data, tmp_path / "run", f"seeds.saliency_dir={maps}", "masks.saliency=2")
    photo = run.train[0]
    for own in run.train:
        grey = np.full((SIZE, SIZE), 255, np.uint8)
        grey[:, : SIZE // 2] = 0
        maps.mkdir(exist_ok=True)
        Image.fromarray(grey).save(maps / f"{own.id}.png")
    weigh = weigher(run)
    assert weigh is not None
    probs = torch.full((len(run.classes), SIZE, SIZE), 0.5 / (len(run.classes) - 1))
    probs[0] = 0.5
    found = weigh(photo, probs)
    # even odds, times (0.95 / 0.05)^2 left of the middle and its inverse right of it
    assert found[0, :, 2].tolist() == pytest.approx([19**2 / (19**2 + 1)] * SIZE)
    assert found[0, :, -3].tolist() == pytest.approx([1 / (19**2 + 1)] * SIZE)
    odd = weigher(
        make_run(data, tmp_path / "odd", f"seeds.saliency_dir={maps}", "masks.saliency=2", "masks.saliency_odds=0.1")
    )
    assert odd is not None
    assert odd(photo, probs)[0, :, 2].tolist() == pytest.approx([19**2 / (19**2 + 10)] * SIZE)
    assert weigher(make_run(data, tmp_path / "tags", "masks.saliency=2")) is None
    assert weigher(make_run(data, tmp_path / "off", f"seeds.saliency_dir={maps}")) is None


@pytest.mark.parametrize(("installed", "expected"), [(object(), "u2netp"), (None, None)])
def test_automatic_saliency_is_decided_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: object, expected: str | None
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed)
    cfg = config.load(None, ["saliency.weights=auto"])
    assert cfg.saliency.weights == expected
    written = tmp_path / "config.yaml"
    written.write_text(config.dump(cfg), encoding="utf-8")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if installed else object())
    assert config.load(written).saliency.weights == expected


def test_another_run_lends_its_maps(data: Path, tmp_path: Path, network: Path) -> None:
    lender = make_run(data, tmp_path / "lender", f"saliency.weights={network}")
    make_saliency(lender)
    put_cams(lender)
    make_seeds(lender)
    taker = make_run(data, tmp_path / "taker", f"saliency.weights={network}", f"shared={lender.directory}", "seed=4")
    assert taker.stage("saliency").finished
    assert taker.stage("seeds").finished
    assert "seed" not in disk.read_json(lender.directory / "saliency/stage.json")["settings"]


def test_the_known_file_finds_the_objects(shared: Path) -> None:
    path = shared / "weights/u2netp.onnx"
    network = SaliencyNetwork(path)
    for name in ("2007_000549", "2007_000876"):
        root = shared / "data/voc6"
        saliency = network(np.array(pictures.read_image(root / f"JPEGImages/{name}.jpg")))
        truth = pictures.read_mask(root / f"SegmentationClass/{name}.png")
        found, there = saliency[truth != 255] > 127, truth[truth != 255] > 0
        assert (found & there).sum() / (found | there).sum() > 0.7
