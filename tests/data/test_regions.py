"""Regions are painted as pycocotools decodes them, and broken ones are refused."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from coco_files import CATEGORIES, HEIGHT, WIDTH, image, runs
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO

from dsrg.data.regions import Region, paint, unpack_runs
from dsrg.errors import InputError

# pycocotools 2 with NumPy 2, at each decoding
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


coordinate = st.floats(0, WIDTH, width=32)


polygon = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=6).map(
    lambda points: [min(value, HEIGHT) if k % 2 else value for k, value in enumerate(sum(points, ()))]
)


thing = st.tuples(st.sampled_from([3, 7]), st.booleans(), st.lists(polygon, min_size=1, max_size=3))


@given(st.lists(thing, min_size=1, max_size=5))
def test_any_polygons_are_painted_as_pycocotools_does(things: list[Any]) -> None:
    annotations = [
        {"id": k, "image_id": 1, "category_id": category, "iscrowd": int(crowd), "segmentation": polygons}
        for k, (category, crowd, polygons) in enumerate(things, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [image(1)], "annotations": annotations, "categories": CATEGORIES}
        coco.createIndex()
    shown = np.stack([coco.annToMask(row) for row in annotations]).astype(bool)
    areas = np.where([crowd for _, crowd, _ in things], WIDTH * HEIGHT + 1, shown.sum((1, 2)))
    best = np.where(shown, areas[:, None, None], WIDTH * HEIGHT + 2)[::-1].argmin(0)  # of equal ones the later
    values = np.array([255 if crowd else {3: 1, 7: 2}[category] for category, crowd, _ in things])[::-1]
    regions = [
        Region(255 if crowd else {3: 1, 7: 2}[category], [np.array(one) for one in polygons], crowd)
        for category, crowd, polygons in things
    ]
    np.testing.assert_array_equal(paint(regions, (WIDTH, HEIGHT)), np.where(shown.any(0), values[best], 0))


@given(st.integers(1, 40), st.integers(1, 90), st.floats(0, 1), st.integers(0, 9))
def test_packed_run_lengths_are_unpacked(height: int, width: int, share: float, seed: int) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    packed = rle_masks.encode(np.asfortranarray(mask))["counts"]
    assert unpack_runs(packed).tolist() == unpack_runs(packed.decode()).tolist() == runs(mask)["counts"]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [3, 3], "counts": [9]},
        {"size": [HEIGHT, WIDTH], "counts": [5]},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH + 5, -5]},
        {"size": [HEIGHT, WIDTH], "counts": ["x"]},
        {"size": [HEIGHT, WIDTH], "counts": [0.5] * (2 * HEIGHT * WIDTH)},
        {"size": [HEIGHT, WIDTH], "counts": "zzzz"},
        {"size": [HEIGHT, WIDTH], "counts": "Pn20"},
        {"size": [HEIGHT, WIDTH], "counts": "PPPPPPPPPPPPPPPPP"},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        {"size": [HEIGHT, WIDTH], "counts": "k\u00e4se"},
        {"size": [HEIGHT, WIDTH], "counts": None},
    ],
)
def test_broken_run_lengths_are_refused(segmentation: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"a\.json \(image 1\): a segmentation cannot be decoded"):
        paint([Region(1, segmentation)], (WIDTH, HEIGHT), "a.json (image 1)")
