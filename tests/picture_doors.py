"""Every reader of pictures, and pictures to put before it, that the tests of `dsrg.files.pictures` share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from torchvision.transforms import v2

from dsrg.app import uploads
from dsrg.data.photograph import ending_of, put_photograph
from dsrg.data.training import TrainingSet
from dsrg.data.voc import Photo, VocFolder
from dsrg.data.warped import warped
from dsrg.files import pictures, storage
from dsrg.predict import segmenter
from dsrg.run import inference
from dsrg.schema import Crf, Seeds
from dsrg.stages.seeds import Cutter


def random_photo(width: int = 20, height: int = 14) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8))


def one(path: Path) -> Photo:
    return Photo(path.stem, path, np.array([True, True]))


def by_training(path: Path) -> np.ndarray:
    sample = TrainingSet([one(path)], None, v2.Identity(), 0)[0, 0]
    return np.asarray(sample["images"].permute(1, 2, 0).numpy())


def by_prepare(path: Path) -> np.ndarray:
    target = path.parent / f"prepared{ending_of(path)}"
    target.unlink(missing_ok=True)
    put_photograph(path, target)
    return by_training(target)


DOORS: dict[str, Callable[[Path], np.ndarray]] = {
    "training": by_training,
    "a run's photographs": lambda path: np.asarray(inference.read_pixels(one(path)).permute(1, 2, 0).numpy()),
    "prepare-data": by_prepare,
    "predict": lambda path: segmenter.to_pixels(path),
    "upload": lambda path: uploads.read_upload(path, long_side=1000).picture,
}
"""Each reader of photographs: pixels (H, W, 3) uint8."""


def by_warping_alone(path: Path) -> object:
    return list(warped([one(path)], 8, batch=1))


def by_saliency(path: Path) -> object:
    """Seeds cut by a saliency map that is the file."""
    folder = path.parent / "cut"
    folder.mkdir(exist_ok=True)
    for name in ("s.png", "photo.jpg"):
        (folder / name).unlink(missing_ok=True)
    random_photo().save(folder / "photo.jpg")
    (folder / "s.png").symlink_to(path)
    storage.write_cams(folder / "s.npz", [1], np.ones((1, 4, 4)))
    cutter = Cutter(folder, folder, Seeds(background="saliency", saliency_dir=folder), Crf())
    return cutter.cut(Photo("s", folder / "photo.jpg", np.array([True, True])))


REFUSING: dict[str, Callable[[Path], object]] = {
    **DOORS,
    "probe": by_warping_alone,
    "data check": lambda path: VocFolder.read(object.__new__(VocFolder), one(path), masks=None),
    "size alone": pictures.read_size,
    "mask": pictures.read_mask,
    "saliency map": by_saliency,
}
"""Each reader of pictures."""
PHOTOGRAPHS_ALONE = [name for name in REFUSING if name not in ("size alone", "mask")]


def save_phone(path: Path, form: str, orientation: int = 1) -> Path:
    """A photograph (30, 40) with a dark left half, as telephones write it."""
    pixels = np.full((30, 40, 3), 230, np.uint8)
    pixels[:, :20] = 25
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if form == "HEIC":
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(Image.fromarray(pixels)).save(path, quality=95, exif=exif.tobytes())
    else:
        if form in pictures.LACKING:
            pytest.skip("this Pillow has no AVIF")
        Image.fromarray(pixels).save(path, "AVIF", quality=95, exif=exif)
    return path
