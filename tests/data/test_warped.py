"""Batches of squeezed photographs and crops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from dsrg.data.training import TrainingSet, joint_transform
from dsrg.data.voc import Photo
from dsrg.data.warped import warped
from dsrg.errors import InputError


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    made = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 31, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        made.append(Photo(str(number), path, np.array([True, False])))
    return made


def test_photographs_come_in_order_as_the_classifier_is_measured_on_them(photos: list[Photo]) -> None:
    batches = list(warped(photos, 17, batch=2))
    assert [len(images) for images, _ in batches] == [2, 2, 1]
    assert [size for _, sizes in batches for size in sizes] == [(20 + number, 31) for number in range(5)]
    still = joint_transform(size=17, resize="warp", scale=(1, 1), mirror=False, colour=0)
    samples = TrainingSet(photos, None, still, 0)
    expected = torch.stack([samples[0, index]["images"] for index in range(5)])
    assert torch.equal(torch.cat([images for images, _ in batches]), expected)


def test_boxes_are_cut_out_before_they_are_squeezed(photos: list[Photo]) -> None:
    boxes = np.array([[0, 0, 31, 20 + number] for number in range(5)])
    boxes[3] = [4, 2, 20, 11]
    images = torch.cat([batch for batch, _ in warped(photos, 8, batch=3, boxes=boxes)])
    whole = torch.cat([batch for batch, _ in warped(photos, 8, batch=3)])
    assert torch.equal(images[[0, 1, 2, 4]], whole[[0, 1, 2, 4]])
    pixels = torch.from_numpy(np.array(Image.open(photos[3].path))).permute(2, 0, 1)
    assert torch.equal(images[3], v2.functional.resize(pixels[:, 2:11, 4:20], [8, 8], antialias=True))


def test_a_broken_file_is_named(photos: list[Photo]) -> None:
    photos[3].path.write_bytes(b"no photograph")
    with pytest.raises(InputError, match=r"3\.png"):
        list(warped(photos, 8, batch=2))


def test_no_photographs_no_batches() -> None:
    assert list(warped([], 8, batch=2)) == []
