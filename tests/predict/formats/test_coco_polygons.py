"""COCO's polygons: pycocotools fills them to the masks, and so do the tools that read no run-length codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from format_oracles import blobs, check_coco
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from pycocotools import mask as run_length
from scipy import ndimage

from dsrg.predict.formats import Album, Named, coco
from dsrg.predict.formats.outlines import edge_polygons

CLASSES = ("background", "cat", "dog", "traffic light")


def filled(found: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """What pycocotools makes of polygons."""
    code = run_length.merge(run_length.frPyObjects([points.ravel().tolist() for points in found], *shape))
    return np.asarray(run_length.decode(code), bool)


def write(path: Path, masks: dict[str, np.ndarray], tolerance: float) -> None:
    named = [Named(name, f"{name}.jpg", mask) for name, mask in masks.items()]
    path.write_bytes(coco.polygon_content(Album(CLASSES, named, tolerance)))


@pytest.mark.parametrize("seed", range(40))
def test_exact_polygons_give_the_part_back_and_have_its_area(seed: int) -> None:
    part = blobs(seed) > 0
    found = edge_polygons(part, 0)
    assert len(found) == ndimage.label(part, np.ones((3, 3)))[1]
    assert not part.any() or np.array_equal(filled(found, part.shape), part)
    x, y = (np.concatenate([points[:, axis] for points in found] or [[]]) for axis in (0, 1))
    ahead = [np.concatenate([np.roll(points[:, axis], -1) for points in found] or [[]]) for axis in (0, 1)]
    # Signed areas: were a hole to turn the way of its outline, a tool that fills by winding would fill it.
    assert abs((x * ahead[1] - y * ahead[0]).sum()) / 2 == part.sum()


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_any_few_pixels_come_back(part: np.ndarray) -> None:
    found = edge_polygons(part, 0)
    assert all(len(points) >= 4 for points in found)
    assert not part.any() or np.array_equal(filled(found, part.shape), part)


def test_a_hole_is_cut_to_the_outline_the_shortest_way() -> None:
    """Worked by hand: a ring of 7 x 5 pixels around one pixel, which is nearer to the upper and the lower edge."""
    part = np.ones((5, 7), bool)
    part[2, 3] = False
    (found,) = edge_polygons(part, 0)
    edges = {
        frozenset((tuple(a), tuple(b))) for a, b in zip(found.tolist(), np.roll(found, -1, 0).tolist(), strict=True)
    }
    hole = {frozenset(pair) for pair in (((3, 2), (4, 2)), ((4, 2), (4, 3)), ((4, 3), (3, 3)), ((3, 3), (3, 2)))}
    assert hole <= edges
    cut = [edge for edge in edges - hole if {x for x, _ in edge} < {3, 4} and len({x for x, _ in edge}) == 1]
    assert len(cut) == 1
    assert sorted(y for _, y in cut[0]) in ([0, 2], [3, 5])


@pytest.mark.parametrize("tolerance", [1.0, 2.0])
def test_simpler_polygons_are_wrong_near_the_contour_alone(tolerance: float) -> None:
    points, exact = 0, 0
    for seed in range(20):
        part = blobs(seed) > 0
        if not part.any():
            continue
        found = edge_polygons(part, tolerance)
        points += sum(map(len, found))
        exact += sum(map(len, edge_polygons(part, 0)))
        painted = filled(found, part.shape)
        inside = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
        outside = ndimage.distance_transform_edt(np.pad(~part, 1, constant_values=True))[1:-1, 1:-1]
        wrong = painted != part
        assert np.maximum(inside, outside)[wrong].max(initial=0) <= tolerance + 1  # of rounding to pixels
        labels, count = ndimage.label(part, np.ones((3, 3)))
        assert all(painted[labels == number].any() for number in range(1, count + 1)), "a part is lost"
    assert points < exact


def test_pycocotools_reads_the_file(tmp_path: Path) -> None:
    masks = {str(seed): blobs(seed) for seed in range(4)}
    write(tmp_path / "a.json", masks, 0)
    check_coco(tmp_path / "a.json", {f"{name}.jpg": mask for name, mask in masks.items()})


def test_unlabelled_pixels_have_no_polygon(tmp_path: Path) -> None:
    write(tmp_path / "a.json", {"a": np.array([[0, 255], [255, 0]], np.uint8)}, 0)
    assert json.loads((tmp_path / "a.json").read_text())["annotations"] == []


def test_label_studio_imports_them(tmp_path: Path) -> None:
    """Its own converter makes tasks of the file, whose polygons, in hundredths of the photograph, are the masks."""
    importer = pytest.importorskip("label_studio_sdk.converter.imports.coco")
    masks = {str(seed): blobs(seed) for seed in (2, 3, 11, 17)}
    write(tmp_path / "a.json", masks, 0)
    importer.convert_coco_to_ls(str(tmp_path / "a.json"), str(tmp_path / "tasks.json"), image_root_url="/data/")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [f"/data/{name}.jpg" for name in masks]
    for task, mask in zip(tasks, masks.values(), strict=True):
        painted = np.zeros_like(mask)
        for result in task["annotations"][0]["result"]:
            if result["type"] == "polygonlabels":
                points = np.array(result["value"]["points"]) / 100 * mask.shape[::-1]
                painted[filled([points], mask.shape)] = CLASSES.index(result["value"]["polygonlabels"][0])
        assert np.array_equal(painted, mask)
