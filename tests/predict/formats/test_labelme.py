"""LabelMe JSON: what LabelMe's own reader asks for, and polygons that its rasteriser turns back into the mask."""

import json
from pathlib import Path

import numpy as np
import pytest
from format_oracles import blobs, check_labelme, paint, rasterise
from PIL import Image
from scipy import ndimage

from dsrg.predict.formats import labelme, outlines

CLASSES = ("background", "cat", "dog")


@pytest.mark.parametrize("seed", range(40))
def test_exact_polygons_give_the_mask_back(seed: int) -> None:
    mask = blobs(seed)
    content = labelme.document(mask, CLASSES, "a.jpg", tolerance=0)
    assert np.array_equal(paint(content, CLASSES), mask)
    parts = sum(ndimage.label(mask == index, np.ones((3, 3)))[1] for index in (1, 2))
    assert len(content["shapes"]) == parts


@pytest.mark.parametrize("tolerance", [1.0, 2.0])
def test_simpler_polygons_are_wrong_near_the_contour_alone(tolerance: float) -> None:
    points, exact = 0, 0
    for seed in range(20):
        part = blobs(seed) > 0
        painted = np.zeros_like(part)
        for polygon in outlines.polygons(part, tolerance):
            painted |= rasterise(part.shape, polygon.tolist())
            points += len(polygon)
        exact += sum(map(len, outlines.polygons(part, 0)))
        inside = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
        outside = ndimage.distance_transform_edt(np.pad(~part, 1, constant_values=True))[1:-1, 1:-1]
        wrong = painted != part
        assert np.maximum(inside, outside)[wrong].max(initial=0) <= tolerance + 1.5  # of rounding to pixels twice
    assert points < exact


def test_a_hole_is_cut_to_the_outline_the_shortest_way() -> None:
    part = np.ones((9, 20), bool)
    part[3:6, 14:16] = False
    (polygon,) = outlines.polygons(part, 0)
    steps = np.diff(np.concatenate([polygon, polygon[:1]]), axis=0)
    cuts = [tuple(step) for step in steps.tolist()]
    assert (0, 2) in cuts, "two pixels down from the upper edge, not fourteen from the left"
    assert (0, -2) in cuts
    assert np.array_equal(rasterise(part.shape, polygon.tolist()), part)


def test_lone_pixels_have_three_points() -> None:
    part = np.zeros((4, 5), bool)
    part[1, 1] = part[3, 3] = part[3, 4] = True
    found = outlines.polygons(part)
    assert [len(polygon) for polygon in found] == [3, 3]
    assert np.array_equal(np.any([rasterise(part.shape, polygon.tolist()) for polygon in found], axis=0), part)


def test_unlabelled_pixels_and_background_have_no_polygon() -> None:
    content = labelme.document(np.array([[0, 255], [255, 0]], np.uint8), CLASSES, "a.jpg")
    assert content["shapes"] == []


def test_file_is_what_the_reader_wants(tmp_path: Path) -> None:
    mask = blobs(3)
    Image.fromarray(mask).save(tmp_path / "a.png")
    (tmp_path / "labelme").mkdir()
    path = tmp_path / "labelme/a.json"
    path.write_text(json.dumps(labelme.document(mask, CLASSES, "../a.png")))
    assert {shape["label"] for shape in check_labelme(path)["shapes"]} == {"cat", "dog"}
