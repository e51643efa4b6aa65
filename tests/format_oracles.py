"""Masks that are hard to outline; readers of COCO's and LabelMe's files that share nothing with the code under test."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from scipy import ndimage


def blobs(seed: int) -> np.ndarray:
    """A mask with holes, islands in holes, thin lines and lone pixels; some are a row or a column alone."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=generator.integers(1, 50, 2))
    smooth = ndimage.gaussian_filter(noise, generator.choice([0, 0.7, 1.5, 3]))
    return np.asarray(np.digitize(smooth, [0.1 * smooth.std(), 0.7 * smooth.std()]), np.uint8)


def check_coco(path: Path, masks: dict[str, np.ndarray]) -> None:
    """That the file holds just these images, and that painting its annotations gives these masks."""
    read = COCO(str(path))
    assert sorted(image["file_name"] for image in read.loadImgs(read.getImgIds())) == sorted(masks)
    for image in read.loadImgs(read.getImgIds()):
        mask = masks[image["file_name"]]
        painted = np.zeros((image["height"], image["width"]), np.uint8)
        for one in read.loadAnns(read.getAnnIds(imgIds=image["id"])):
            part = read.annToMask(one).astype(bool)
            rows, columns = np.nonzero(part)
            assert one["area"] == part.sum()
            assert one["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert not painted[part].any(), "two annotations overlap"
            painted[part] = one["category_id"]
        assert np.array_equal(painted, mask)


def rasterise(shape: tuple[int, ...], points: list[list[float]]) -> np.ndarray:
    """As labelme/utils/shape.py, `shape_to_mask`, of LabelMe 6.3.1 does."""
    image = Image.new("L", (shape[1], shape[0]))
    assert len(points) > 2, "Polygon must have points more than 2"
    ImageDraw.Draw(image).polygon([(x, y) for x, y in points], outline=1, fill=1)
    return np.array(image, bool)


def paint(content: dict[str, Any], classes: Sequence[str]) -> np.ndarray:
    """The mask that LabelMe's `shapes_to_label` makes."""
    mask = np.zeros((content["imageHeight"], content["imageWidth"]), np.uint8)
    for shape in content["shapes"]:
        mask[rasterise(mask.shape, shape["points"])] = classes.index(shape["label"])
    return mask


def check_labelme(path: Path) -> dict[str, Any]:
    """What labelme/_label_file.py, `read_label_file`, of LabelMe 6.3.1 checks; and that reader itself where it is
    installed. Returns the content."""
    content: dict[str, Any] = json.loads(path.read_text())
    assert set(content) == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert content["imageData"] is None
    with Image.open(path.parent / content["imagePath"]) as photo:
        assert photo.size == (content["imageWidth"], content["imageHeight"])
    for shape in content["shapes"]:
        assert isinstance(shape["label"], str)
        assert shape["shape_type"] == "polygon"
        assert shape["flags"] == {}
        assert shape["description"] == ""
        assert shape["group_id"] is shape["mask"] is None
        assert all(
            len(point) == 2 and all(isinstance(value, int | float) for value in point) for point in shape["points"]
        )
    try:
        from labelme._label_file import LabelFile
    except ImportError:
        return content
    read = LabelFile(str(path))
    assert [shape["points"] for shape in read.shapes] == [shape["points"] for shape in content["shapes"]]
    return content
