"""The lattice in tensors equals one in plain Python to float error, and pydensecrf's on photographs."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dsrg.crf import dense_crf
from dsrg.mean_field import Kernels, lattice, permutohedral

SMALL = {"bilateral_sxy": 3.1, "bilateral_srgb": 20.0, "gaussian_sxy": 0.7}
"""With deviations that put no pixel of `example` onto the border of two simplices, where rounding would decide."""
needs_pydensecrf = pytest.mark.skipif(not lattice.available(), reason="pydensecrf is not installed")


def example(batch: int = 3, classes: int = 4, height: int = 6, width: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(batch, classes, height, width, generator=generator, dtype=torch.float64).mul(3).softmax(1)
    return probs, torch.randint(0, 90, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


def elevate(feature: np.ndarray) -> np.ndarray:
    """A feature (d,) on the plane where coordinates (d + 1,) sum to 0, in units in which the blur's deviation is 1."""
    depth = len(feature)
    unit = np.sqrt(2 / 3) * (depth + 1)
    scaled = [value * (unit / np.sqrt((axis + 1) * (axis + 2))) for axis, value in enumerate(feature)]
    return np.array([sum(scaled[axis:][::-1]) - axis * (scaled[axis - 1] if axis else 0) for axis in range(depth + 1)])


def simplex(point: np.ndarray) -> dict[tuple[int, ...], float]:
    """The corners of the simplex around a point of the plane, and the weights that make the point of them."""
    sides = len(point)
    origin = (np.round(point * (1 / sides)) * sides).astype(int)
    beyond = np.argsort(origin - point, kind="stable")
    excess = origin.sum() // sides
    origin[beyond[sides - excess :] if excess > 0 else []] -= sides
    origin[beyond[:-excess] if excess < 0 else []] += sides
    order = np.argsort(origin - point, kind="stable")
    corners = []
    for remainder in range(sides):
        corner = origin + remainder
        corner[order[sides - remainder :]] -= sides
        corners.append(corner)
    equations = np.vstack([np.array(corners).T, np.ones(sides)])
    weights = np.linalg.lstsq(equations, np.append(point, 1), rcond=None)[0]
    assert (weights > -1e-9).all() and np.allclose(equations @ weights, np.append(point, 1))
    return dict(zip((tuple(corner.tolist()) for corner in corners), weights, strict=True))


def blurred(values: dict[tuple[int, ...], np.ndarray], axis: int) -> dict[tuple[int, ...], np.ndarray]:
    def beside(corner: tuple[int, ...], sign: int) -> tuple[int, ...]:
        return tuple(c + sign * (len(corner) - 1 if place == axis else -1) for place, c in enumerate(corner))

    return {
        corner: value + sum(values[near] for near in (beside(corner, 1), beside(corner, -1)) if near in values) / 2
        for corner, value in values.items()
    }


def naive_filter(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """K v for features (N, d) and values v (N, P)."""
    simplices = [simplex(elevate(feature)) for feature in features]
    at = defaultdict(lambda: np.zeros(values.shape[1]))
    for corners, value in zip(simplices, values, strict=True):
        for corner, weight in corners.items():
            at[corner] = at[corner] + weight * value
    found = dict(at)
    for axis in range(features.shape[1] + 1):
        found = blurred(found, axis)
    alpha = 1 / (1 + 2.0 ** -features.shape[1])
    return np.array([alpha * sum(w * found[corner] for corner, w in corners.items()) for corners in simplices])


def naive(probs: np.ndarray, image: np.ndarray, iterations: int) -> np.ndarray:
    """The mean field of one image, probs (C, h, w) and image (3, h, w), with the kernels of SMALL."""
    height, width = image.shape[1:]
    places = np.array([(x, y) for y in range(height) for x in range(width)], float)
    colours = image.reshape(3, -1).T / SMALL["bilateral_srgb"]
    kernels = (np.hstack([places / SMALL["bilateral_sxy"], colours]), 10), (places / SMALL["gaussian_sxy"], 3)
    log = np.log(probs.reshape(len(probs), -1).T)
    q = np.exp(log)
    for _ in range(iterations):
        energy = log
        for features, weight in kernels:
            scale = 1 / np.sqrt(naive_filter(features, np.ones((len(log), 1))))
            energy = energy + weight * scale * naive_filter(features, scale * q)
        q = np.exp(energy) / np.exp(energy).sum(1, keepdims=True)
    return q.T.reshape(probs.shape)


@pytest.mark.parametrize("iterations", [0, 1, 4])
def test_it_equals_a_lattice_in_plain_python(iterations: int) -> None:
    probs, images = example()
    tags = torch.tensor([[True, True, True, True], [True, False, True, False], [True, True, False, True]])
    double, single = (
        dense_crf(given, images, tags, engine="permutohedral", iterations=iterations, **SMALL)
        for given in (probs, probs.float())
    )
    for image, own in enumerate(tags):
        alone = probs[image, own] / probs[image, own].sum(0)
        expected = naive(alone.numpy(), images[image].double().numpy(), iterations)
        np.testing.assert_allclose(double[image, own].numpy(), expected, atol=1e-12)
        np.testing.assert_allclose(single[image, own].numpy(), expected, atol=1e-5)
    assert (double[~tags] == 0).all()


def test_images_of_a_batch_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, images = example(batch=5)
    images[1] = images[0]  # their corners are the same
    together = dense_crf(probs, images, engine="permutohedral", **SMALL)
    monkeypatch.setattr(permutohedral, "_PIXELS", 1)
    monkeypatch.setattr(permutohedral, "_STRIP", 10)
    torch.testing.assert_close(dense_crf(probs, images, engine="permutohedral", **SMALL), together, atol=1e-12, rtol=0)


def test_where_all_pixels_are_alike_each_gets_the_mean() -> None:
    probs, images = example(batch=1)
    wide = {"bilateral_sxy": 1e6, "bilateral_srgb": 1e6, "gaussian_sxy": 1e6}
    refined = dense_crf(probs, images, engine="permutohedral", iterations=1, **wide)
    expected = (probs.log() + 13 * probs.mean((2, 3), keepdim=True)).softmax(1)
    torch.testing.assert_close(refined, expected, atol=1e-3, rtol=0)


def test_weights_of_0_leave_the_probabilities() -> None:
    probs, images = example(batch=1)
    refined = permutohedral.mean_field(probs.log(), images, Kernels(3, (3.0, 20.0, 0.0), (0.8, 0.0)))
    torch.testing.assert_close(refined, probs)


@needs_pydensecrf
@pytest.mark.parametrize("classes", [2, 4, 21])
def test_pydensecrf_agrees_on_a_made_picture(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    coarse = torch.rand(1, classes + 3, 9, 12, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (93, 121), mode="bicubic")
    probs, images = fine[:, 3:].mul(4).softmax(1), fine[:, :3].mul(255).clamp(0, 255).byte()
    check_agreement(probs, images)


@needs_pydensecrf
def test_pydensecrf_agrees_on_photographs(shared: Path) -> None:
    ids = (shared / "data/voc6/ImageSets/Segmentation/val.txt").read_text().split()[:90:30]
    for photograph in ids:
        with Image.open(shared / f"data/voc6/JPEGImages/{photograph}.jpg") as picture:
            images = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None]
        with Image.open(shared / f"data/voc6/SegmentationClass/{photograph}.png") as mask:
            truth = torch.from_numpy(np.array(mask)).long().clamp(max=7)  # void as a class of its own
        blurred = torch.nn.functional.avg_pool2d(torch.eye(8)[truth].permute(2, 0, 1), 31, 1, 15)
        check_agreement(blurred.add(0.05)[None] / blurred.add(0.05).sum(0), images)


def check_agreement(probs: Tensor, images: Tensor) -> None:
    ours, theirs = (dense_crf(probs, images, engine=engine) for engine in ("permutohedral", "pydensecrf"))
    assert (ours.argmax(1) == theirs.argmax(1)).double().mean() >= 0.999
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_extreme_settings_stay_finite() -> None:
    probs, images = example()
    for srgb, sxy in ((1e-9, 1e-9), (1e9, 1e9)):
        refined = dense_crf(
            probs, images, engine="permutohedral", bilateral_srgb=srgb, bilateral_sxy=sxy, gaussian_sxy=sxy
        )
        torch.testing.assert_close(refined.sum(1), torch.ones_like(refined[:, 0]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_is_the_same_on_cuda() -> None:
    probs, images = example()
    there = dense_crf(probs.cuda(), images.cuda(), engine="permutohedral", **SMALL)
    torch.testing.assert_close(there.cpu(), dense_crf(probs, images, engine="permutohedral", **SMALL))
