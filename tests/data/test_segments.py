"""The files of segments: label maps and SAM's masks, read whole or refused in a sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_voc
from PIL import Image
from pycocotools import mask as rle_masks

from dsrg.data import segments
from dsrg.data.check import check_data
from dsrg.data.voc import Photo, VocFolder
from dsrg.errors import InputError

WIDTH, HEIGHT = 16, 12


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    return Photo("a", tmp_path / "a.jpg", np.array([True, True]))


def read(folder: Path, photo: Photo) -> list[list[int]]:
    return [own.tolist() for own in segments.read_for(folder, photo, (WIDTH, HEIGHT))]


def flags(seed: int, count: int = 3) -> np.ndarray:
    """Masks that overlap, (count, H, W) bool."""
    return np.random.default_rng(seed).random((count, HEIGHT, WIDTH)) < 0.4


def coco_rle(own: np.ndarray) -> dict[str, Any]:
    """As SamAutomaticMaskGenerator gives it with output_mode = coco_rle."""
    encoded = rle_masks.encode(np.asfortranarray(own.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def sam_rows(masks: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "segmentation": coco_rle(own),
            "area": int(own.sum()),
            "bbox": [0, 0, WIDTH, HEIGHT],
            "predicted_iou": 0.98,
            "point_coords": [[3.0, 4.0]],
            "stability_score": 0.97,
            "crop_box": [0, 0, WIDTH, HEIGHT],
        }
        for own in masks
    ]


@pytest.mark.parametrize(
    ("mode", "labels"),
    [
        ("P", np.arange(WIDTH * HEIGHT) % 256),
        ("L", np.arange(WIDTH * HEIGHT) // 50),
        ("I;16", np.arange(WIDTH * HEIGHT) * 300),
    ],
)
def test_label_maps_of_8_and_16_bits(tmp_path: Path, photo: Photo, mode: str, labels: np.ndarray) -> None:
    labels = labels.reshape(HEIGHT, WIDTH)
    image = Image.fromarray(labels.astype(np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / "a.png")
    flat = labels.ravel().tolist()
    expected = [[place for place, found in enumerate(flat) if found == number] for number in sorted({*flat} - {0})]
    assert read(tmp_path, photo) == expected


@pytest.mark.parametrize("layout", ["list", "SA-1B", "uncompressed"])
def test_sams_masks_are_what_pycocotools_wrote(tmp_path: Path, photo: Photo, layout: str) -> None:
    masks = flags(3)
    rows: Any = sam_rows(masks)
    if layout == "SA-1B":
        rows = {
            "image": {"image_id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "sa_1.jpg"},
            "annotations": rows,
        }
    if layout == "uncompressed":
        for row, own in zip(rows, masks, strict=True):
            columns = own.ravel(order="F")
            edges = np.flatnonzero(np.diff(np.concatenate([[False], columns]))).tolist()
            row["segmentation"]["counts"] = np.diff([0, *edges, columns.size]).tolist()
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = segments.read_for(tmp_path, photo, (WIDTH, HEIGHT))
    assert len(found) == 3
    for own, places in zip(masks, found, strict=True):
        assert np.array_equal(np.flatnonzero(own.ravel()), places)
    assert [own.tolist() for own in found[1:]] == [own.tolist() for own in found][1:]


def spoilt(change: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    rows = sam_rows(flags(0))
    change(rows[1])
    return rows


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"images": []}, r"a\.json: holds neither a list of masks nor SA-1B's 'annotations'"),
        (3, r"a\.json: holds neither a list of masks"),
        (spoilt(lambda row: row.pop("segmentation")), r"segment 1\): has no 'segmentation' with 'size' and 'counts'"),
        (spoilt(lambda row: row.update(segmentation=[[True]])), r"output_mode='coco_rle'"),
        ([5], r"segment 0\): has no 'segmentation'"),
        (
            spoilt(lambda row: row["segmentation"].update(size=[16, 12])),
            r"a\.json: the segments are 12 x 16 pixels, but its photograph .*a\.jpg is 16 x 12; make them equal",
        ),
        (spoilt(lambda row: row["segmentation"].update(size="12")), r"segment 1\): a segmentation cannot be decoded"),
        (spoilt(lambda row: row["segmentation"].update(counts="zz")), r"segment 1\): a segmentation cannot be decoded"),
        (spoilt(lambda row: row["segmentation"].update(counts=[5])), r"do not add up to the photograph's pixels"),
        (spoilt(lambda row: row["segmentation"].update(counts=None)), r"segment 1\): a segmentation cannot be decoded"),
    ],
)
def test_broken_masks_are_refused(tmp_path: Path, photo: Photo, content: object, sentence: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence):
        read(tmp_path, photo)


def test_more_segments_than_can_be_decoded_are_refused(
    tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "MOST_WORK", 2 * WIDTH * HEIGHT)
    (tmp_path / "a.json").write_text(json.dumps(sam_rows(flags(0))))
    with pytest.raises(InputError, match=r"holds 3 segments, and of a photograph of 16 x 12 pixels 2 are read"):
        read(tmp_path, photo)


def test_label_maps_must_fit_and_be_no_pictures(tmp_path: Path, photo: Photo) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: a label map of segments must be .* 8 or 16 bits, not RGB"):
        read(tmp_path, photo)
    Image.fromarray(np.zeros((WIDTH, HEIGHT), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: the label map is 12 x 16 pixels, but its photograph .* is 16 x 12"):
        read(tmp_path, photo)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"a\.json: a\.png is there too, and one of them must vote; remove the other"):
        read(tmp_path, photo)
    (tmp_path / "a.png").unlink()
    assert read(tmp_path, photo) == []


def test_photographs_without_segments_are_counted(tmp_path: Path, photo: Photo) -> None:
    photos = [Photo(name, photo.path, photo.tags) for name in "abc"]
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(
        InputError, match=r"a\.png: neither this file nor a\.json exists: 2 of the 3 training photographs"
    ):
        segments.require(tmp_path, photos)
    Image.new("RGB", (WIDTH, HEIGHT)).save(photo.path)
    for name in "ac":
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(tmp_path / f"{name}.PNG")
    segments.require(tmp_path, photos)
    (tmp_path / "b.json").write_text("[0]")
    with pytest.raises(InputError, match=r"b\.json \(segment 0\)"):
        segments.require(tmp_path, photos)


def test_check_data_reads_them_all(tmp_path: Path) -> None:
    make_voc(tmp_path / "data")
    folder, place = VocFolder(tmp_path / "data"), tmp_path / "segments"
    place.mkdir()
    photos = folder.photos("train")
    assert len(photos) > 1
    (place / f"{photos[0].id}.json").write_text("[1]")
    found = check_data(folder, "train", "val", segments=place).faults
    before = check_data(folder, "train", "val").faults
    told = [fault for fault in found if fault not in before]
    assert [fault.photo for fault in told] == [photo.id for photo in photos]
    assert told[0].file == place / f"{photos[0].id}.json"
    assert "has no 'segmentation'" in told[0].message
    assert f"{photos[1].id}.png: the label map of segments does not exist" in told[1].message
