"""Heat maps of a run's photographs: which are chosen, what is said of them, and what is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Tool, check_refusal, make_voc
from PIL import Image
from sure_run import CONFIG, make_run, words

from dsrg import explain
from dsrg.data.voc import Photo
from dsrg.draw import heatmap, tiles
from dsrg.run import networks
from dsrg.study.show_cams import TILE, VERDICTS, View, _row, show_cams

LABELS = {"t0": "cat", "t1": "dog", "v0": "cat", "v1": "dog", "v2": "cat dog", "v3": "traffic light;"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": ("t0", "t1"), "val": ("v0", "v1", "v2", "v3")}
    return make_voc(tmp_path_factory.mktemp("data"), splits, size=(60, 45), labels=LABELS)


def test_verdicts_tell_what_was_predicted_and_what_is_true() -> None:
    scores = np.array([0.1, 0.9, 0.6, 0.2, 0.3, 0.4, 0.05])
    photo = Photo("a", Path("a"), np.ones(8, bool))
    several = View(photo, frozenset({2, 6, 5}), scores, several=True)
    assert several.guesses == [1, 2, 5, 4, 3]
    assert several.others == [6]
    assert [several.verdict(label) for label in range(7)] == ["", "wrong", "right", "", "", "missed", "missed"]
    assert several.right is False
    one = View(photo, frozenset({1}), scores, several=False)
    assert (one.right, one.verdict(1), one.verdict(2)) == (True, "right", "")
    unknown = View(photo, None, scores, several=True)
    assert (unknown.right, unknown.verdict(1), unknown.others) == (None, "", [])


def test_photographs_are_spread_over_the_split_with_fewer_classes_than_five(
    data: Path, tmp_path: Path, tool: Tool
) -> None:
    make_run(data, tmp_path)
    code, out, _ = tool("show_cams", "--cfg", CONFIG, "--count", 2, *words(data, tmp_path))
    assert code == 0
    told = json.loads((tmp_path / "explain/cams-cam.json").read_text())
    assert [shown["id"] for shown in told["shown"]] == ["v0", "v3"]
    assert (told["method"], told["scored"], told["wrong"]) == ("cam", 2, 1)
    first, last = told["shown"]
    assert (first["labels"], first["right"]) == (["cat"], True)
    assert [guess["label"] for guess in last["guesses"]] == ["cat", "dog", "traffic light"]
    assert [guess["verdict"] for guess in last["guesses"]] == ["wrong", "wrong", "missed"]
    assert (last["right"], last["other_labels"]) == (False, [])
    assert "1 of 2 labelled photographs wrong" in out
    picture = Image.open(tmp_path / "explain/cams-cam.png")
    assert picture.width == 5 * (TILE + tiles.GAP) + tiles.GAP  # photograph, scores, three maps


def test_only_wrong_ones_the_surest_first(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path)
    told = show_cams(run, method="grad_cam", wrong=True)
    assert {shown["id"] for shown in told["shown"]} == {"v1", "v3"}
    scores = [shown["guesses"][0]["score"] for shown in told["shown"]]
    assert scores == sorted(scores, reverse=True)
    assert (told["scored"], told["wrong"]) == (4, 2)
    assert [shown["id"] for shown in show_cams(run, method="grad_cam", count=1, wrong=True)["shown"]] == [
        told["shown"][0]["id"]
    ]
    assert (tmp_path / "explain/cams-grad_cam-wrong.png").is_file()


def test_nothing_wrong_leaves_no_picture(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path)
    (tmp_path / "explain").mkdir()
    (tmp_path / "explain/cams-cam-wrong-files.png").write_bytes(b"of an earlier call")
    told = show_cams(run, [str(data / "JPEGImages/v0.jpg")], wrong=True)
    assert (told["shown"], told["wrong"]) == ([], 0)
    assert [path.name for path in (tmp_path / "explain").iterdir()] == ["cams-cam-wrong-files.json"]


def test_files_of_a_split_have_labels_and_others_none(data: Path, tmp_path: Path, tool: Tool) -> None:
    make_run(data, tmp_path)
    stranger = tmp_path / "stranger.png"
    Image.new("RGB", (50, 30), (200, 10, 10)).save(stranger)
    call = ("show_cams", "--cfg", CONFIG, data / "JPEGImages/t1.jpg", stranger)
    assert tool(*call, *words(data, tmp_path))[0] == 0
    known, unknown = json.loads((tmp_path / "explain/cams-cam-files.json").read_text())["shown"]
    assert (known["labels"], known["right"]) == (["dog"], False)
    assert (unknown["labels"], unknown["right"], unknown["file"]) == (None, None, str(stranger))
    assert {guess["verdict"] for guess in unknown["guesses"]} == {""}
    check_refusal(tool(*call, "--wrong", *words(data, tmp_path)), stranger, "leave out --wrong")
    check_refusal(tool(*call, tmp_path / "none.jpg", *words(data, tmp_path)), tmp_path / "none.jpg", "does not exist")
    stranger.write_bytes(b"broken")
    check_refusal(tool(*call, *words(data, tmp_path)), stranger, "cannot be decoded")


def test_the_tiles_show_the_maps_and_the_verdicts(data: Path, tmp_path: Path) -> None:
    run = make_run(data, tmp_path, "localize.size=null")
    model = networks.trained_classifier(run)
    photo = run.val[1]
    view = View(photo, frozenset({1}), np.array([0.95, 0.7, 0.1]), several=True)
    row = _row(run, model, view, "cam")
    assert len(row) == 5
    pixels = torch.from_numpy(np.array(Image.open(photo.path))).permute(2, 0, 1)
    (images,) = networks.inference.pyramid(model, pixels, (1.0,), None, False)
    for place, (label, verdict) in enumerate([(0, "wrong"), (1, "right"), (2, "")], 2):
        raw = explain.cam(model, images, torch.tensor([[label]]))[0, 0].clamp(min=0).numpy()
        expected = tiles.fit(heatmap.paint(pixels.permute(1, 2, 0).numpy(), raw / (raw.max() or 1)), TILE)
        height, width = expected.shape[:2]
        assert np.array_equal(row[place][4 : height - 4, 4 : width - 4], expected[4:-4, 4:-4])
        assert (row[place][0, :width] == VERDICTS[verdict]).all()


@pytest.mark.parametrize("method", ["cam", "grad_cam", "grad_cam_pp", "saliency"])
def test_every_method_draws(data: Path, tmp_path: Path, method: str) -> None:
    show_cams(make_run(data, tmp_path), method=method, count=1)
    assert Image.open(tmp_path / f"explain/cams-{method}.png").width > 5 * TILE


def test_acol_is_the_method_of_its_head(data: Path, tmp_path: Path, tool: Tool) -> None:
    assert show_cams(make_run(data, tmp_path, "classifier.head=acol", "seeds.source=acol"), count=1)["method"] == "acol"
    overrides = words(data, tmp_path, "classifier.head=acol", "seeds.source=acol")
    call = ("show_cams", "--cfg", CONFIG, "--method", "cam", *overrides)
    check_refusal(tool(*call), "--method cam", "classifier.head = gap", "grad_cam")


def test_what_is_missing_is_one_sentence(data: Path, tmp_path: Path, tool: Tool) -> None:
    call = ("show_cams", "--cfg", CONFIG, *words(data, tmp_path))
    check_refusal(tool(*call), tmp_path / "classifier")
    check_refusal(tool(*call, "--count", 0), "--count 0")
    check_refusal(tool(*call, "--method", "acol"), "--method acol", "classifier.head = acol")
    assert not (tmp_path / "explain").exists()
