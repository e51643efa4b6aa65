"""A finished run knows its data by what they are: moved data are the same, changed ones are told without a loss."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import content, make_data, make_run

from dsrg import config, pipeline
from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.pipeline import run_pipeline
from dsrg.run.folder import Run
from dsrg.stages import retrain as segment
from dsrg.study.comparison import check_comparable

TRAININGS = ("classifier", "dsrg", "retrain", "supervised")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set data/ and its finished run run/."""
    folder = tmp_path_factory.mktemp("moved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_show", lambda run: [])
        run_pipeline(make_run(make_data(folder / "data"), folder / "run"))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which nothing may train."""
    monkeypatch.setattr(pipeline, "_show", lambda run: [])
    return Path(shutil.copytree(made, tmp_path / "copy"))


def training_is_over(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "run" / name / "checkpoint.pt").read_bytes() for name in TRAININGS}


@pytest.mark.parametrize("way", ["moved", "relative", "linked", "other folders", "preset's name"])
def test_data_at_another_path_are_the_same_data(copy: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    overrides: list[str] = []
    root = copy / "data"
    if way == "moved":
        root = Path(shutil.move(root, copy / "elsewhere"))
    elif way == "relative":
        monkeypatch.chdir(copy)
        root = Path("./run/../data")
    elif way == "linked":
        (copy / "link").symlink_to(root)
        root = copy / "link"
    elif way == "other folders":
        (root / "JPEGImages").rename(root / "photos")
        (root / "image_labels.csv").rename(root / "labels.csv")
        overrides = ["data.images=photos", "data.labels=labels.csv"]
    else:
        (root / "ImageSets/Segmentation/train.txt").rename(root / "ImageSets/Segmentation/all.txt")
        overrides = ["data.train_split=all"]
    before = content(copy / "run")
    before.pop("results.json")
    run_pipeline(make_run(root, copy / "run", *overrides))
    after = content(copy / "run")
    after.pop("results.json")
    assert after == before


def relabel(data: Path) -> None:
    path = data / "image_labels.csv"
    lines = path.read_text().splitlines()
    first, second = lines[1].split(",", 1), lines[2].split(",", 1)
    words = {"circle", "square", "cat", "dog"}
    assert words
    lines[1] = f"{first[0]},{second[1]}" if first[1] != second[1] else f"{first[0]},{lines[3].split(',', 1)[1]}"
    path.write_text("\n".join(lines) + "\n")


def shorten(data: Path) -> None:
    path = data / "ImageSets/Segmentation/train.txt"
    path.write_text("\n".join(path.read_text().split()[1:]) + "\n")


def repaint(data: Path) -> None:
    name = (data / "ImageSets/Segmentation/train.txt").read_text().split()[0]
    path = next((data / "JPEGImages").glob(f"{name}.*"))
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(path)


def rename_class(data: Path) -> None:
    path = data / "classes.txt"
    last = path.read_text().split("\n")[-2]
    for file in (path, data / "image_labels.csv"):
        file.write_text(file.read_text().replace(last, "zebra"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (relabel, "the image-level labels;"),
        (shorten, r"the list of photographs \(6 then, 5 now\);"),
        (repaint, r"the photographs \(some have another size in bytes\);"),
        (rename_class, r"the class list \(background, .* then, background, .*zebra now\);"),
    ],
)
def test_changed_data_are_told_and_no_advice_costs_the_training(copy: Path, change: object, told: str) -> None:
    before = training_is_over(copy)
    change(copy / "data")  # type: ignore[operator]
    with pytest.raises(InputError, match=rf"run/classifier: the data have changed .*: {told}") as caught:
        run_pipeline(make_run(copy / "data", copy / "run"))
    assert "delete" not in str(caught.value)
    assert "what is trained here stays" in str(caught.value)
    assert training_is_over(copy) == before


def test_a_changed_validation_split_is_measured_and_predicted_anew_without_training(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy / "data/ImageSets/Segmentation/val.txt"
    path.write_text("\n".join(path.read_text().split()[1:]) + "\n")
    before, trained = disk.read_object(copy / "run/classifier/stage.json"), training_is_over(copy)
    with pytest.raises(InputError, match=r"predictions/val: the data have changed .* delete this folder alone"):
        run_pipeline(make_run(copy / "data", copy / "run"))
    for network in ("dsrg/predictions", "predictions", "supervised/predictions"):
        shutil.rmtree(copy / "run" / network)
    run = make_run(copy / "data", copy / "run")
    run_pipeline(run)
    assert training_is_over(copy) == trained
    assert len(list((copy / "run/predictions/val").glob("*.png"))) == 2
    after = disk.read_object(copy / "run/classifier/stage.json")
    assert after["measured_on"] != before["measured_on"]
    assert after["contents"] == before["contents"]
    assert run.stage("classifier").finished


@pytest.mark.parametrize("key", ["model.weights", "seeds.saliency_dir"])
def test_weights_and_saliency_maps_are_known_by_content(copy: Path, key: str) -> None:
    folder = copy / "first"
    folder.mkdir()
    run = make_run(copy / "data", copy / "new")
    if key == "model.weights":
        torch.save({"a": torch.ones(3)}, folder / "weights.pth")
        words = lambda place: [f"model.weights={place / 'weights.pth'}"]  # noqa: E731
        victim = "weights.pth"
    else:
        for photo in run.train:
            Image.fromarray(np.full((48, 48), 9, np.uint8)).save(folder / f"{photo.id}.png")
        words = lambda place: ["seeds.background=saliency", f"seeds.saliency_dir={place}"]  # noqa: E731
        victim = f"{run.train[0].id}.png"
    stage = make_run(copy / "data", copy / "new", *words(folder)).stage("seeds")
    stage.begin()
    stage.finish({})
    for photo in run.train:
        shutil.copy(copy / "run/seeds" / f"{photo.id}.png", copy / "new/seeds")
    moved = Path(shutil.move(folder, copy / "second"))
    assert make_run(copy / "data", copy / "new", *words(moved)).stage("seeds").finished
    (moved / victim).write_bytes((moved / victim).read_bytes() + b"1")
    with pytest.raises(InputError, match="the data have changed"):
        _ = make_run(copy / "data", copy / "new", *words(moved)).stage("seeds").finished
    (moved / victim).unlink()  # a finished stage needs them no more
    assert make_run(copy / "data", copy / "new", *words(moved)).stage("seeds").finished


def test_records_from_before_contents_were_kept_still_count(copy: Path) -> None:
    for path in (copy / "run").rglob("stage.json"):
        record = json.loads(path.read_text())
        del record["contents"], record["measured_on"]
        path.write_text(json.dumps(record))
    shutil.move(copy / "data", copy / "elsewhere")
    before = content(copy / "run")
    before.pop("results.json")
    run_pipeline(make_run(copy / "elsewhere", copy / "run"))
    after = content(copy / "run")
    after.pop("results.json")
    assert after == before


def test_two_copies_of_a_data_set_can_be_compared(copy: Path) -> None:
    shutil.copytree(copy / "data", copy / "twin")
    runs = [make_run(copy / "data", copy / "run"), make_run(copy / "twin", copy / "other")]
    check_comparable(runs)
    repaint(copy / "twin")
    with pytest.raises(InputError, match="has other data than"):
        check_comparable([runs[0], Run(config.change(runs[1].cfg, {}))])


@pytest.mark.parametrize(
    "name", ["cams", "seeds", "masks", "predictions/val", "dsrg/predictions/val", "supervised/predictions/val"]
)
@pytest.mark.parametrize("damage", ["half", "empty", "flip"])
def test_a_broken_file_of_a_finished_stage_is_found_where_the_stage_is_relied_on(
    copy: Path, name: str, damage: str
) -> None:
    path = min((copy / "run" / name).glob("*.npz" if name == "cams" else "*.png"))
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    path.write_bytes({"half": whole[:middle], "empty": b"", "flip": flipped}[damage])
    with pytest.raises(InputError, match=rf"{path.name}: .* delete it"):
        run_pipeline(make_run(copy / "data", copy / "run"))
    path.unlink()
    run_pipeline(make_run(copy / "data", copy / "run"))
    assert path.read_bytes() == whole or name == "cams"
    assert storage.read_cams(path)[1].any() if name == "cams" else True


@pytest.mark.parametrize("name", TRAININGS)
def test_a_damaged_checkpoint_of_a_finished_training_is_found_though_nothing_loads_it(
    copy: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy / "run" / name / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(segment, "train", None)
    with pytest.raises(InputError, match=rf"{name}/checkpoint\.pt: .* damaged"):
        run_pipeline(make_run(copy / "data", copy / "run"))
