"""dsrg prepare-data: every source by its flags, and each wrong use in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Tool, check_refusal, make_voc
from PIL import Image

from dsrg.data import download
from dsrg.data.voc import VocFolder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for k, name in enumerate(("dog/a.jpg", "dog/b.jpg", "cat/c.jpg", "cat/d.jpg")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 10, 3), 50 * k, np.uint8)).save(path)
    return tmp_path / "photos"


def test_one_folder_a_class(tool: Tool, photos: Path, tmp_path: Path) -> None:
    code, out, err = tool("prepare_data", "--photos", photos, "--root", tmp_path / "mine")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        *("cat                  2 photographs", "dog                  2 photographs"),
        *("split train          3 photographs", "split val            1 photographs"),
    ]
    assert len(VocFolder(tmp_path / "mine").photos("train")) == 3


def test_a_table(tool: Tool, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,labels\na,dog\nb,dog cat\nc,cat\nd,cat\n")
    code, out, _ = tool(
        "prepare_data", "--photos", photos, "--labels", table, "--root", tmp_path / "mine", "--val", "0.5", "--link"
    )
    assert code == 0
    assert "dog                  2 photographs" in out
    assert len(VocFolder(tmp_path / "mine").photos("val")) == 2
    assert (tmp_path / "mine/JPEGImages/a.jpg").stat().st_ino == (photos / "dog/a.jpg").stat().st_ino


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
def test_any_annotations_in_coco_s_format(tool: Tool, photos: Path, tmp_path: Path) -> None:
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.jpg"))]
    images = [{"id": k, "file_name": name, "width": 10, "height": 8} for k, name in enumerate(names)]
    square = [[1, 1, 5, 1, 5, 5, 1, 5]]
    rows = [{"id": k, "image_id": k, "category_id": 4, "segmentation": square} for k in range(3)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 4, "name": "thing"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    code, out, _ = tool(
        "prepare_data", "--coco-json", tmp_path / "a.json", "--photos", photos, "--root", tmp_path / "mine"
    )
    assert code == 0
    assert f"note: {tmp_path / 'a.json'}: 1 of 4 photographs show no object and were left out.\n" in out
    folder = VocFolder(tmp_path / "mine")
    assert folder.has_masks(folder.photos("train") + folder.photos("val"))


def test_voc_is_downloaded_where_it_is_not_there(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fetch(directory: Path) -> None:
        fetched.append(directory)
        make_voc(directory / "VOCdevkit/VOC2012", labels={"a": "cat dog"})

    monkeypatch.setattr(download, "download_voc", fetch)
    arguments = ("prepare_data", "--voc", tmp_path / "voc", "--label-source", "masks", "--root")
    check_refusal(tool(*arguments, tmp_path / "set"), tmp_path / "voc", "add --download")
    for name in ("set", "again"):
        code, out, err = tool(*arguments, tmp_path / name, "--download")
        assert (code, err) == (0, "")
        assert "split train          2 photographs" in out
    assert fetched == [tmp_path / "voc"]


def test_a_broken_download_is_one_sentence(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(download, "VOCSegmentation", fail)
    code, _, err = tool("prepare_data", "--voc", tmp_path / "voc", "--download", "--root", tmp_path / "set")
    assert code == 2
    assert err.count("\n") == 1
    assert "VOC 2012 could not be downloaded (File not found or corrupted.)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name what to prepare: --photos, --voc, --coco, --coco-json or --imagenet"),
        (("--labels", "x.csv"), "name what to prepare"),
        (("--photos", "x", "--voc", "y"), "--photos: does not go with --voc"),
        (("--coco", "x", "--voc", "y", "--year", "2014"), "--voc: does not go with --coco"),
        (("--coco", "x"), "--coco: needs --year 2014 or --year 2017"),
        (("--coco", "x", "--year", "2014", "--val", "0.2"), "--val: does not go with --coco"),
        (("--photos", "x", "--download"), "--download: does not go with --photos"),
        (("--coco-json", "x", "--labels", "y"), "--labels: does not go with --coco-json"),
        (("--photos", "x", "--threads", "0"), "--threads 0: must be 1 or more"),
        (("--photos", "ghost"), "ghost: the folder of photographs does not exist; check --photos"),
        (("--coco-json", "ghost.json"), "ghost.json: the annotation file does not exist"),
        (("--voc", "ghost"), "ghost: holds no VOCdevkit/VOC2012"),
        (("--coco", "ghost", "--year", "2017"), "train2017: does not exist; unpack train2017.zip"),
    ],
)
def test_wrong_uses_are_refused(tool: Tool, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    check_refusal(tool("prepare_data", "--root", tmp_path / "set", *arguments), message)
    assert not (tmp_path / "set").exists()


def test_a_share_of_everything_is_refused(tool: Tool, photos: Path, tmp_path: Path) -> None:
    check_refusal(tool("prepare_data", "--photos", photos, "--val", "1", "--root", tmp_path / "set"), "--val 1")


def test_help_shows_every_source(tool: Tool) -> None:
    code, out, _ = tool("prepare_data", "--help")
    assert code == 0
    for words in ("own photographs:", "PASCAL VOC 2012:", "COCO:", "--download", "train_aug"):
        assert words in out
