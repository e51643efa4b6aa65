"""Training samples stay aligned and depend on seed and draw alone; batches can be continued anywhere."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import COLOURS, make_voc, write_mask_file
from torch import Tensor

from dsrg.data.training import MEAN_COLOUR, ResumableBatches, TrainingSet, joint_transform, make_loader
from dsrg.data.voc import Photo, VocFolder
from dsrg.errors import InputError
from dsrg.files import pictures
from dsrg.labels import IGNORE

IDS = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_voc(tmp_path_factory.mktemp("voc"), {"train": IDS, "val": ("v",)}, size=(60, 44))


@pytest.fixture(scope="module")
def photos(root: Path) -> list[Photo]:
    return VocFolder(root).photos("train")


def training_set(
    root: Path,
    photos: list[Photo],
    *,
    size: int = 48,
    resize: str = "crop",
    scale: tuple[float, float] = (0.5, 1.5),
    mirror: bool = True,
    colour: float = 0.0,
    seed: int = 3,
) -> TrainingSet:
    transform = joint_transform(size=size, resize=resize, scale=scale, mirror=mirror, colour=colour)
    return TrainingSet(photos, root / "SegmentationClass", transform, seed)


def nearest_class(image: Tensor) -> np.ndarray:
    """The class that each pixel's colour (3, H, W) stands for; 255 for the colour of the padding."""
    known = np.vstack([COLOURS, [MEAN_COLOUR]]).astype(float)
    distance = ((image.permute(1, 2, 0).numpy()[:, :, None] - known) ** 2).sum(axis=-1)
    return np.array([0, 1, 2, 3, IGNORE])[distance.argmin(axis=-1)]


def inside(mask: np.ndarray, width: int = 3) -> np.ndarray:
    """Where everything within `width` pixels has one label."""
    padded = np.pad(mask, width, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * width + 1, 2 * width + 1))
    same: np.ndarray = windows.min(axis=(-1, -2)) == windows.max(axis=(-1, -2))
    return same


@pytest.mark.parametrize("resize", ["warp", "crop"])
@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("scale", [(0.5, 1.5), (3.0, 3.0)])
def test_photograph_and_mask_stay_aligned(
    root: Path, photos: list[Photo], resize: str, mirror: bool, scale: tuple[float, float]
) -> None:
    samples = training_set(root, photos, resize=resize, mirror=mirror, scale=scale)
    kinds = set()
    for draw in range(20):
        sample = samples[draw, draw % len(photos)]
        image, mask = sample["images"], sample["masks"].numpy()
        assert image.shape == (3, 48, 48)
        assert mask.shape == (48, 48)
        assert image.dtype == sample["masks"].dtype == torch.uint8
        certain = inside(mask)
        assert certain.mean() > 0.3
        np.testing.assert_array_equal(nearest_class(image)[certain], mask[certain])
        kinds.add((draw % len(photos), mask.tobytes()))
    if resize == "warp" and not mirror:
        assert len(kinds) == len(photos)  # nothing is random
    else:
        assert len(kinds) > len(photos)


def test_a_warp_shows_the_whole_photograph_and_mirrors_half(root: Path, photos: list[Photo]) -> None:
    samples = training_set(root, photos, resize="warp")
    corners = [tuple(samples[draw, 0]["masks"][[2, 2, -3, -3], [2, -3, 2, -3]].tolist()) for draw in range(60)]
    assert set(corners) == {(0, 1, 2, 3), (1, 0, 3, 2)}
    assert 15 < corners.count((0, 1, 2, 3)) < 45


def test_beyond_the_photograph_the_mask_is_255_and_the_image_the_mean_colour(root: Path, photos: list[Photo]) -> None:
    samples = training_set(root, photos, scale=(0.5, 0.5), mirror=False)
    for draw in range(10):
        sample = samples[draw, 0]
        padding = sample["masks"] == IGNORE
        # 60 x 44 at half the crop's side is 24 x 18 of 48 x 48 pixels, and none of the photograph's own is 255.
        assert int((~padding).sum()) <= 24 * 18
        assert int(padding.sum()) >= 48 * 48 - 24 * 18
        assert set(sample["masks"][~padding].tolist()) <= {0, 1, 2, 3}
        assert torch.unique(sample["images"][:, padding], dim=1).T.tolist() == [list(MEAN_COLOUR)]


def test_ignore_in_a_mask_survives_every_transform(tmp_path: Path) -> None:
    root = make_voc(tmp_path, size=(60, 44))
    mask = np.full((44, 60), IGNORE)
    mask[:, :30] = 2
    write_mask_file(root / "SegmentationClass/a.png", mask)
    samples = training_set(root, VocFolder(root).photos("train"))
    seen = {value for draw in range(20) for value in samples[draw, 0]["masks"].unique().tolist()}
    assert seen == {2, IGNORE}


def test_colour_jitter_changes_the_photograph_and_leaves_the_mask(root: Path, photos: list[Photo]) -> None:
    plain = training_set(root, photos, resize="warp", mirror=False)
    coloured = training_set(root, photos, resize="warp", mirror=False, colour=0.5)
    assert not torch.equal(plain[0, 0]["images"], coloured[0, 0]["images"])
    assert not torch.equal(coloured[1, 0]["images"], coloured[0, 0]["images"])
    assert torch.equal(plain[0, 0]["masks"], coloured[0, 0]["masks"])


def test_a_sample_depends_on_seed_and_draw_alone(root: Path, photos: list[Photo]) -> None:
    samples = training_set(root, photos, colour=0.3)
    first = samples[5, 1]
    torch.manual_seed(99)
    samples[6, 0]
    again = samples[5, 1]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["images"], samples[6, 1]["images"])
    assert not torch.equal(first["images"], training_set(root, photos, colour=0.3, seed=4)[5, 1]["images"])


def test_drawing_a_sample_leaves_the_global_random_numbers_alone(root: Path, photos: list[Photo]) -> None:
    samples = training_set(root, photos, colour=0.3)
    torch.manual_seed(1)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    samples[0, 0]
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_the_largest_seed_of_the_configuration_fits(root: Path, photos: list[Photo], seed: int) -> None:
    assert training_set(root, photos, seed=seed)[2**40 - 1, 0]["images"].shape == (3, 48, 48)


def test_without_masks_a_sample_has_none(root: Path, photos: list[Photo]) -> None:
    transform = joint_transform(size=48, resize="crop", scale=(0.5, 1.5), mirror=True, colour=0)
    sample = TrainingSet(photos, None, transform, 3)[0, 1]
    assert sorted(sample) == ["images", "tags"]
    assert sample["tags"].tolist() == [True, True, True, False]
    assert torch.equal(sample["images"], training_set(root, photos)[0, 1]["images"])
    assert type(sample["images"]) is Tensor


def test_seeds_of_another_size_are_refused(tmp_path: Path, photos: list[Photo]) -> None:
    write_mask_file(tmp_path / "a.png", np.zeros((60, 44)))
    transform = joint_transform(size=48, resize="warp", scale=(1, 1), mirror=False, colour=0)
    with pytest.raises(InputError, match=r"a\.png: the mask is 44 x 60 pixels"):
        TrainingSet(photos, tmp_path, transform, 0)[0, 0]
    with pytest.raises(InputError, match=r"b\.png: the mask does not exist"):
        TrainingSet(photos, tmp_path, transform, 0)[0, 1]


@pytest.mark.parametrize(("length", "batch"), [(7, 3), (5, 5), (4, 6), (3, 8)])
def test_a_resumed_order_is_the_tail_of_the_uninterrupted(length: int, batch: int) -> None:
    whole = list(ResumableBatches(length, batch, 0, 12, seed=5))
    assert len(whole) == 12
    for start in (0, 1, 5, 11, 12):
        rest = ResumableBatches(length, batch, start, 12, seed=5)
        assert list(rest) == whole[start:]
        assert len(rest) == 12 - start


@pytest.mark.parametrize(("length", "batch"), [(7, 3), (4, 6)])
def test_each_epoch_shows_every_photograph_once_in_an_order_of_its_own(length: int, batch: int) -> None:
    draws = [pair for chosen in ResumableBatches(length, batch, 0, 5 * length, seed=5) for pair in chosen]
    assert [draw for draw, _ in draws] == list(range(5 * length * batch))
    indices = [index for _, index in draws]
    epochs = [tuple(indices[first : first + length]) for first in range(0, len(indices), length)]
    assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
    assert len(set(epochs)) > len(epochs) // 2
    other = [index for chosen in ResumableBatches(length, batch, 0, 5 * length, seed=6) for _, index in chosen]
    assert indices != other


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_shares_of_the_processes_together_are_the_batch_of_one(world: int) -> None:
    single = list(ResumableBatches(7, 6, 2, 9, seed=5))
    shares = [list(ResumableBatches(7, 6, 2, 9, 5, rank, world)) for rank in range(world)]
    assert all(len(part) == 6 // world for share in shares for part in share)
    joined = [[pair for share in shares for pair in share[iteration]] for iteration in range(7)]
    assert joined == single


def test_a_true_mask_takes_the_place_of_the_photograph_s_other_and_names_its_classes(
    root: Path, photos: list[Photo], tmp_path: Path
) -> None:
    still = joint_transform(size=48, resize="warp", scale=(1, 1), mirror=False, colour=0)
    true = np.zeros((44, 60), np.uint8)
    true[:22], true[22:, :9] = 3, IGNORE  # class 3 is none of b's labels
    write_mask_file(tmp_path / "b.png", true)
    samples = TrainingSet(photos, root / "SegmentationClass", still, 3, None, {"b": tmp_path / "b.png"})
    plain = TrainingSet(photos, root / "SegmentationClass", still, 3)
    told = samples[0, 1]
    assert told["true"].item() is True
    assert told["tags"].tolist() == [True, True, True, True]
    assert set(told["masks"].unique().tolist()) == {0, 3, IGNORE}
    assert photos[1].tags.tolist() == [True, True, True, False]  # shared between photographs, and left alone
    other = samples[0, 0]
    assert other["true"].item() is False
    for name, part in plain[0, 0].items():
        assert torch.equal(other[name], part)
    assert "true" not in plain[0, 1]


@pytest.mark.parametrize("resize", ["crop", "warp"])
def test_saliency_is_cut_and_mirrored_as_the_mask_is(root: Path, photos: list[Photo], resize: str) -> None:
    def like_the_mask(photo: Photo, size: tuple[int, int]) -> np.ndarray:
        mask = pictures.read_mask(root / f"SegmentationClass/{photo.id}.png")
        assert mask.shape == size
        return mask * 7

    transform = joint_transform(size=48, resize=resize, scale=(0.5, 1.5), mirror=True, colour=0)
    samples = TrainingSet(photos, root / "SegmentationClass", transform, 3, saliency=like_the_mask)
    plain = TrainingSet(photos, root / "SegmentationClass", transform, 3)
    for draw in range(6):
        told = samples[draw, draw % 2]
        labelled = told["masks"] != IGNORE
        assert labelled.any() and torch.equal(told["saliency"][labelled], told["masks"][labelled] * 7)
        for name, part in plain[draw, draw % 2].items():
            assert torch.equal(told[name], part)


def test_photographs_are_drawn_as_often_as_their_weights_say() -> None:
    weights = [1, 3, 1, 1]
    draws = [index for chosen in ResumableBatches(4, 3, 0, 8, seed=5, weights=weights) for _, index in chosen]
    assert len(draws) == 24
    for epoch in range(4):
        assert sorted(draws[6 * epoch : 6 * epoch + 6]) == [0, 1, 1, 1, 2, 3]
    assert (
        list(ResumableBatches(4, 3, 3, 8, 5, weights=weights))
        == list(ResumableBatches(4, 3, 0, 8, 5, weights=weights))[3:]
    )
    assert list(ResumableBatches(4, 3, 0, 8, 5, weights=[1] * 4)) == list(ResumableBatches(4, 3, 0, 8, 5))


def digests(samples: TrainingSet, workers: int, start: int = 0) -> Iterator[str]:
    for batch in make_loader(samples, ResumableBatches(len(samples), 4, start, 6, seed=3), workers, pin=False):
        assert batch["images"].shape == (4, 3, 48, 48)
        assert batch["tags"].shape == (4, 4)
        assert batch["masks"].shape == (4, 48, 48)
        yield hashlib.sha256(batch["images"].numpy().tobytes() + batch["masks"].numpy().tobytes()).hexdigest()


def test_batches_are_the_same_whatever_the_workers_and_the_start(root: Path, photos: list[Photo]) -> None:
    samples = training_set(root, photos, colour=0.3)
    torch.manual_seed(0)
    alone = list(digests(samples, workers=0))
    assert len(set(alone)) == 6
    torch.manual_seed(1)
    assert list(digests(samples, workers=2)) == alone
    assert list(digests(samples, workers=2, start=4)) == alone[4:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_runs_ahead_and_pins_for_cuda(root: Path, photos: list[Photo], workers: int) -> None:
    for pin in (True, False):
        loader = make_loader(training_set(root, photos), [[(0, 0), (1, 1)]], workers, pin=pin)
        assert (loader.num_workers, loader.pin_memory) == (workers, pin)
        assert loader.prefetch_factor == (4 if workers else None)
        assert len(loader) == 1


def test_a_loader_leaves_the_global_random_numbers_alone(root: Path, photos: list[Photo]) -> None:
    # A resumed run restores them first and starts its loader then: a number drawn here would shift the dropout.
    samples = training_set(root, photos)
    before = torch.get_rng_state()
    assert len(list(digests(samples, workers=0))) == 6
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_whose_ending_is_in_capitals_are_learnt_from(root: Path, photos: list[Photo], tmp_path: Path) -> None:
    for photo in photos:
        shutil.copy(root / f"SegmentationClass/{photo.id}.png", tmp_path / f"{photo.id}.PNG")
    transform = joint_transform(size=48, resize="warp", scale=(1, 1), mirror=False, colour=0)
    lower, upper = (
        TrainingSet(photos, folder, transform, 0)[0, 1] for folder in (root / "SegmentationClass", tmp_path)
    )
    assert torch.equal(lower["masks"], upper["masks"])
