"""COCO JSON: pycocotools reads it, and its masks are the masks."""

import json

import numpy as np
import pytest
from format_oracles import check_coco
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dsrg.labels import IGNORE
from dsrg.predict.formats import coco

CLASSES = ("background", "cat", "dog", "traffic light")
MASK = np.array([[0, 1, 1, 0], [0, 1, 0, 3], [255, 0, 0, 3]], np.uint8)


def test_one_annotation_for_each_class_with_its_box_and_area() -> None:
    found = coco.annotations_of(MASK)
    assert [one["category_id"] for one in found] == [1, 3]
    assert [one["area"] for one in found] == [3, 2]
    assert [one["bbox"] for one in found] == [[1, 0, 2, 2], [3, 1, 1, 2]]  # x, y, width, height
    assert all(one["iscrowd"] == 0 and one["segmentation"]["size"] == [3, 4] for one in found)


def test_an_image_without_objects_is_listed_all_the_same() -> None:
    content = coco.document(CLASSES, [("a.jpg", np.zeros((2, 5), np.uint8))], "test")
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "width": 5, "height": 2}]
    assert content["annotations"] == []
    assert [one["name"] for one in content["categories"]] == list(CLASSES[1:])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        arrays.arrays(
            np.uint8,
            arrays.array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=st.sampled_from([0, 1, 2, 3, 255]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_pycocotools_reads_the_masks_back(tmp_path_factory: pytest.TempPathFactory, masks: list[np.ndarray]) -> None:
    path = tmp_path_factory.mktemp("coco") / "annotations.json"
    content = coco.document(CLASSES, [(f"{number}.jpg", mask) for number, mask in enumerate(masks)], "test")
    path.write_text(json.dumps(content))
    check_coco(path, {f"{number}.jpg": np.where(mask == IGNORE, 0, mask) for number, mask in enumerate(masks)})
