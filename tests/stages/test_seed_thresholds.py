"""The two thresholds that the CAMs themselves give, against scikit-image's."""

from pathlib import Path

import numpy as np
import pytest
from skimage.filters import threshold_multiotsu

from dsrg.data.voc import Photo
from dsrg.files import storage
from dsrg.schema import Seeds
from dsrg.stages.seeds import with_thresholds


def make_cams(folder: Path, sharpness: float) -> tuple[list[Photo], np.ndarray]:
    """Photographs of one or two classes, and the largest CAM of all their pixels."""
    generator = np.random.default_rng(0)
    photos, largest = [], []
    for number, own in enumerate(([1], [2], [1, 2])):
        maps = generator.beta(0.5, sharpness, (len(own), 40, 50)).astype(np.float32)
        storage.write_cams(folder / f"{number}.npz", np.array(own), maps)
        photos.append(Photo(str(number), folder / "none.jpg", np.isin(np.arange(3), [0, *own])))
        stored = storage.read_cams(folder / f"{number}.npz", photos[-1].own)[1]
        largest.append(np.asarray(stored, np.float64).max(axis=0).ravel())
    return photos, np.concatenate(largest)


@pytest.mark.parametrize("sharpness", [1.0, 3.0, 8.0])
def test_otsu_s_thresholds(tmp_path: Path, sharpness: float) -> None:
    photos, largest = make_cams(tmp_path, sharpness)
    low, high = threshold_multiotsu(np.cbrt(largest), 3, nbins=256) ** 3
    sure = threshold_multiotsu(np.sqrt(largest), 3, nbins=256)[1] ** 2
    assert sure > high
    for rule, expected in (("otsu", high), ("otsu_sure", sure)):
        found = with_thresholds(Seeds(background="cam", thresholds=rule), tmp_path, photos)
        assert found.background_threshold == pytest.approx(low, abs=0.01)
        assert found.foreground_threshold == pytest.approx(expected, abs=0.01)
