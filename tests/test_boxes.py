"""Boxes against scipy's labelling, flood fill, torchvision and hand-worked cases; VOC's XML and its pixels from 1."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_voc
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from torch.nn import functional
from torchvision.ops import box_iou as torchvision_iou

from dsrg.boxes import box_iou, map_boxes, mask_boxes, object_boxes, threshold_boxes, whole_pixels
from dsrg.data.annotations import read_boxes_for
from dsrg.data.checked import check_files
from dsrg.data.voc import VocFolder
from dsrg.errors import InputError

EIGHT = ndimage.generate_binary_structure(2, 2)
# Few values, so that many pixels tie; eighths, so that every product with a fraction is exact.
MAPS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-4, 8).map(float))


def scipy_components(mask: np.ndarray) -> tuple[list[list[int]], int]:
    """Boxes of the components and the largest's index; scipy numbers them row by row, argmax takes the first."""
    labels, count = ndimage.label(mask, EIGHT)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = [[x.start, y.start, x.stop, y.stop] for y, x in ndimage.find_objects(labels)]
    return boxes, int(sizes.argmax()) if count else -1


def image(text: str) -> np.ndarray:
    """Digits, one row a word."""
    return np.array([[int(digit) for digit in row] for row in text.split()])


@settings(deadline=None, max_examples=150)
@given(MAPS, st.sampled_from([0.0, 0.25, 0.5, 0.875]))
def test_the_box_of_a_map_is_scipys(scores: np.ndarray, fraction: float) -> None:
    found = map_boxes(torch.from_numpy(scores)[None], scores.shape, fraction)
    assert found.dtype == np.int64
    if scores.max() > 0:
        boxes, largest = scipy_components(scores > fraction * scores.max())
        assert found.tolist() == [boxes[largest]]
    else:
        assert found.tolist() == [[0, 0, scores.shape[1], scores.shape[0]]]


@settings(deadline=None, max_examples=150)
@given(MAPS, st.lists(st.sampled_from([-9.0, -4.0, -0.5, 0.0, 1.0, 1.5, 3.0, 7.0, 8.0]), min_size=1).map(sorted))
def test_the_boxes_at_many_thresholds_are_scipys(scores: np.ndarray, thresholds: list[float]) -> None:
    found = threshold_boxes(scores, np.array(thresholds))
    assert len(found.largest) == len(thresholds)
    for i, threshold in enumerate(thresholds):
        boxes, largest = scipy_components(scores > threshold)
        assert sorted(found.boxes[found.threshold == i].tolist()) == sorted(boxes)
        if boxes:
            assert found.boxes[found.largest[i]].tolist() == boxes[largest]
            assert found.threshold[found.largest[i]] == i
        else:
            assert found.largest[i] == -1
    assert (np.diff(found.threshold) >= 0).all()


@pytest.mark.parametrize("smooth", [True, False])
def test_the_boxes_of_larger_maps_are_scipys(smooth: bool) -> None:
    scores = np.random.default_rng(0).random((90, 70)).astype(np.float32)
    if smooth:
        scores = ndimage.gaussian_filter(scores, 4)
    thresholds = np.linspace(scores.min(), scores.max(), 30)
    found = threshold_boxes(torch.from_numpy(scores), thresholds)
    for i, threshold in enumerate(thresholds):
        boxes, largest = scipy_components(scores > threshold)
        assert sorted(found.boxes[found.threshold == i].tolist()) == sorted(boxes)
        assert (found.boxes[found.largest[i]].tolist() == boxes[largest]) if boxes else (found.largest[i] == -1)


def test_corners_touch_and_the_first_of_equals_wins() -> None:
    scores = image("""
        00030
        90300
        90000
        00055
        00550""")
    box = map_boxes(torch.from_numpy(scores).float()[None], (5, 5), 0.2)
    assert box.tolist() == [[2, 3, 5, 5]]  # four pixels in two rows
    box = map_boxes(torch.from_numpy(scores[:3]).float()[None], (3, 5), 0.2)
    assert box.tolist() == [[2, 0, 4, 2]]  # the 3s, joined by a corner and of two pixels as the 9s, begin a row higher
    box = map_boxes(torch.from_numpy(scores[:3]).float()[None], (3, 5), 0.5)
    assert box.tolist() == [[0, 1, 1, 3]]
    at_the_threshold = torch.tensor([[[1.0, 5.0, 2.0]]])  # 20 % of the maximum is not above it
    assert map_boxes(at_the_threshold, (1, 3), 0.2).tolist() == [[1, 0, 3, 1]]


def test_maps_are_enlarged_corner_on_corner_each_by_its_own_maximum() -> None:
    maps = torch.zeros(3, 3, 4)
    maps[0, 1, 1], maps[1, 0, 3] = 1e-3, 1e3
    found = map_boxes(maps, (9, 13), 0.5)
    # Cells lie 4 pixels apart, on 0, 4, 8 and 12; half of the peak is 2 pixels from it and not above half.
    assert found.tolist() == [[3, 3, 6, 6], [11, 0, 13, 2], [0, 0, 13, 9]]
    large = functional.interpolate(maps[None], (9, 13), mode="bilinear", align_corners=True)[0]
    np.testing.assert_array_equal(map_boxes(large, (9, 13), 0.5), found)
    np.testing.assert_array_equal(map_boxes(maps.half().requires_grad_(), (9, 13), 0.5), found)
    assert map_boxes(maps[:0], (9, 13)).shape == (0, 4)


@pytest.mark.parametrize(
    ("maps", "fraction", "message"),
    [
        (torch.zeros(2, 2), 0.2, r"maps must be floating point \(N, h, w\)"),
        (torch.zeros(1, 2, 2, dtype=torch.int64), 0.2, "not torch.int64"),
        (torch.zeros(1, 2, 2), 1.0, r"fraction is 1.0; it must lie in \[0, 1\)"),
        (torch.full((1, 2, 2), torch.nan), 0.2, "nan or infinite"),
    ],
)
def test_refuses_bad_maps(maps: torch.Tensor, fraction: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        map_boxes(maps, (4, 4), fraction)


def test_refuses_bad_score_maps_and_thresholds() -> None:
    for scores in (np.zeros(3), np.array([[np.inf]]), np.zeros((0, 2))):
        with pytest.raises(ValueError, match=r"score_map must be \(H, W\) of finite values"):
            threshold_boxes(scores, np.zeros(1))
    for thresholds in (np.array([1, 0]), np.zeros(0), np.zeros((1, 1))):
        with pytest.raises(ValueError, match="ascending"):
            threshold_boxes(np.zeros((2, 2)), thresholds)


@settings(deadline=None, max_examples=100)
@given(
    arrays(
        st.sampled_from([np.uint8, np.int64]),
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0, 1, 2, 20, 255]),
    )
)
def test_the_boxes_of_a_mask_are_those_of_each_class_pixel_by_pixel(mask: np.ndarray) -> None:
    classes, boxes = mask_boxes(torch.from_numpy(mask))
    pixels: dict[int, list[tuple[int, ...]]] = {}
    for place in np.ndindex(*mask.shape):
        pixels.setdefault(int(mask[place]), []).append(place)
    expected = []
    for value in sorted(pixels.keys() - {0, 255}):
        rows, columns = zip(*pixels[value], strict=True)
        expected.append((value, [min(columns), min(rows), max(columns) + 1, max(rows) + 1]))
    assert classes.dtype == boxes.dtype == np.int64 and boxes.shape == (len(expected), 4)
    assert list(zip(classes.tolist(), boxes.tolist(), strict=True)) == expected


def test_the_boxes_of_a_mask_by_hand() -> None:
    mask = image("""
        2200
        2013
        0130""")
    mask[0, 0] = 255
    assert mask_boxes(mask).classes.tolist() == [1, 2, 3]
    assert mask_boxes(mask).boxes.tolist() == [[1, 1, 3, 3], [0, 0, 2, 2], [2, 1, 4, 3]]
    with pytest.raises(ValueError, match=r"mask must be \(H, W\) of class indices, not float64"):
        mask_boxes(mask.astype(float))


BOXES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5), st.integers(0, 5)).map(
        lambda edges: (edges[0], edges[1], edges[0] + edges[2], edges[1] + edges[3])
    ),
    max_size=4,
).map(lambda boxes: np.array(boxes, np.int64).reshape(-1, 4))


@settings(deadline=None)
@given(BOXES, BOXES)
def test_iou_counts_pixels_and_is_torchvisions(first: np.ndarray, second: np.ndarray) -> None:
    found = box_iou(first, torch.from_numpy(second))
    assert found.shape == (len(first), len(second)) and found.dtype == np.float64
    canvas = np.zeros((2, 15, 15), bool)
    for (n, one), (m, other) in ((a, b) for a in enumerate(first) for b in enumerate(second)):
        for layer, (x0, y0, x1, y1) in zip(canvas, (one, other), strict=True):
            layer[:] = False
            layer[y0:y1, x0:x1] = True
        union = (canvas[0] | canvas[1]).sum()
        assert found[n, m] == ((canvas[0] & canvas[1]).sum() / union if union else 0)
    theirs = torchvision_iou(torch.from_numpy(first).double(), torch.from_numpy(second).double())
    np.testing.assert_allclose(found, theirs.nan_to_num(0).numpy())  # theirs is nan for two boxes without area


def test_refuses_bad_boxes() -> None:
    with pytest.raises(ValueError, match=r"first must be boxes \(N, 4\), not \(4,\)"):
        box_iou(np.zeros(4), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="second must hold x0, y0, x1, y1 with x0 <= x1"):
        box_iou(np.zeros((1, 4)), np.array([[3, 0, 2, 1]]))


def write_xml(root: Path, objects: str, name: str = "a") -> Path:
    path = root / f"Annotations/{name}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<annotation><size><width>16</width></size>{objects}</annotation>")
    return path


def thing(name: str, xmin: object, ymin: object, xmax: object, ymax: object, more: str = "") -> str:
    # VOC 2012 writes the edges in any order.
    edges = f"<xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymax>{ymax}</ymax><ymin> {ymin}\n</ymin>"
    return f"<object>{more}<name>{name}</name><bndbox>{edges}</bndbox></object>"


def test_xml_boxes_count_pixels_from_one(tmp_path: Path) -> None:
    folder = VocFolder(make_voc(tmp_path, size=(16, 12)))
    photo, other = folder.photos("train")
    assert not folder.has_boxes([photo])
    head = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    write_xml(tmp_path, thing("dog", 1, 1, 16, 12, head) + thing("cat", 3, 5, 3, 6) + thing("dog", 1.5, 2, 16.25, 3))
    assert folder.has_boxes([photo])
    with pytest.warns(UserWarning, match=r"b\.xml and 0 more of 2 annotations are missing"):
        assert not folder.has_boxes([photo, other])
    classes, boxes = read_boxes_for(folder.annotation_path(photo), (16, 12), folder.classes, photo.path)
    assert classes.tolist() == [2, 1, 2]
    # The whole photograph; one column of two pixels, counted on a picture of it; fractions stay.
    assert boxes.tolist() == [[0, 0, 16, 12], [2, 4, 3, 6], [0.5, 1, 16.25, 3]]
    picture = np.zeros((12, 16), int)
    picture[5 - 1 : 6, 3 - 1 : 3] = 1
    np.testing.assert_array_equal(mask_boxes(picture).boxes[0], boxes[1])
    check_files(folder, [photo], masks=None, boxes=True)
    with pytest.raises(InputError, match=r"b\.xml: the annotation does not exist; add it or measure with masks\."):
        check_files(folder, [photo, other], masks=None, boxes=True)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ("", "the annotation has no object"),
        (thing("cow", 1, 1, 2, 2), "the label 'cow' is not in"),
        ("<object><name>cat</name></object>", "a 'cat' is xmin, ymin, xmax, ymax = none, none, none, none; write"),
        (thing("cat", 1, "x", 2, 2), "ymax = 1, x, 2, 2; write four numbers"),
        (
            thing("cat", 0, 1, 2, 2),
            "the box 0, 1, 2, 2 of a 'cat' does not lie in .*a.jpg, which is 16 x 12; count pix",
        ),
        (thing("cat", 1, 1, 17, 2), "does not lie in"),
        (thing("cat", 1, 1, 2, 13), "does not lie in"),
        (thing("cat", 5, 1, 4, 2), "does not lie in"),
        (thing("cat", 1, "nan", 4, 2), "does not lie in"),
        ("<object>", "not valid XML"),
    ],
)
def test_refuses_bad_xml_boxes(tmp_path: Path, objects: str, message: str) -> None:
    folder = VocFolder(make_voc(tmp_path, size=(16, 12)))
    path, photo = write_xml(tmp_path, objects), folder.photos("train")[0]
    with pytest.raises(InputError, match=message) as caught:
        read_boxes_for(folder.annotation_path(photo), (16, 12), folder.classes, photo.path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


MASKS = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 0, 0, 1, 1, 2, 255])
)


@settings(deadline=None)
@given(mask=MASKS, smallest=st.sampled_from([0.0, 0.05, 0.2, 0.9]))
def test_objects_are_scipy_s_components_that_are_large_enough(mask: np.ndarray, smallest: float) -> None:
    expected = []
    for index in (1, 2):
        labels, count = ndimage.label(mask == index, EIGHT)
        sizes = [int((labels == number).sum()) for number in range(1, count + 1)]
        for (y, x), size in zip(ndimage.find_objects(labels), sizes, strict=True):
            if size >= smallest * mask.size or size == max(sizes):
                expected.append((index, x.start, y.start, x.stop, y.stop))
    found = object_boxes(mask, smallest)
    got = [(index, *box) for index, box in zip(found.classes.tolist(), found.boxes.tolist(), strict=True)]
    assert sorted(got) == sorted(expected)
    assert [index for index, *_ in got] == sorted(index for index, *_ in got)


def test_whole_pixels_worked_by_hand() -> None:
    boxes = np.array([[0.2, 1.0, 3.0, 4.1], [-5, -1, 0.5, 1], [9.5, 7.5, 99, 9], [4, 4, 4, 4.0]])
    expected = [[0, 1, 3, 5], [0, 0, 1, 1], [9, 7, 10, 8], [4, 4, 5, 5]]  # in 10 x 8; a box of no area is a pixel
    assert whole_pixels(boxes, (8, 10)).tolist() == expected
    assert whole_pixels(np.zeros((0, 4)), (8, 10)).shape == (0, 4)
