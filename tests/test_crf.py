"""The exact engine equals float64 loops and the oracles; the lattices come near them."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dsrg import crf
from dsrg.crf import dense_crf
from dsrg.errors import InputError
from dsrg.mean_field import exact, lattice, tiled

needs_pydensecrf = pytest.mark.skipif(not lattice.available(), reason="pydensecrf is not installed")
ENGINES = ["exact", "permutohedral", pytest.param("pydensecrf", marks=needs_pydensecrf)]
LATTICES = ["permutohedral", *(["pydensecrf"] if lattice.available() else [])]
SMALL = {"bilateral_sxy": 3.0, "bilateral_srgb": 20.0, "gaussian_sxy": 0.8}


def example(batch=2, classes=3, height=5, width=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(batch, classes, height, width, generator=generator, dtype=dtype).mul(3).softmax(1)
    images = torch.randint(0, 60, (batch, 3, height, width), generator=generator, dtype=torch.uint8)
    return probs, images


def naive(probs, image, iterations, sxy, srgb, weight_b, gxy, weight_g):
    """Mean field in plain loops, one image: probs (C, h, w), image (3, h, w)."""
    classes, height, width = probs.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    size = len(pixels)
    bilateral, gaussian = np.empty((size, size)), np.empty((size, size))
    for i, (y, x) in enumerate(pixels):
        for j, (v, u) in enumerate(pixels):
            place = (y - v) ** 2 + (x - u) ** 2
            colour = ((image[:, y, x] - image[:, v, u]) ** 2).sum()
            bilateral[i, j] = np.exp(-place / (2 * sxy**2) - colour / (2 * srgb**2))
            gaussian[i, j] = np.exp(-place / (2 * gxy**2))
    total = 0
    for kernel, weight in ((bilateral, weight_b), (gaussian, weight_g)):
        degree = kernel.sum(1)
        total = total + weight * kernel / np.sqrt(np.outer(degree, degree))
    log_probs = np.log(probs.reshape(classes, size))
    q = probs.reshape(classes, size)
    for _ in range(iterations):
        energy = np.exp(log_probs + q @ total.T)
        q = energy / energy.sum(0)
    return q.reshape(probs.shape)


@pytest.mark.parametrize("iterations", [0, 1, 5])
def test_exact_equals_loops(iterations):
    probs, images = example()
    refined = dense_crf(probs, images, engine="exact", iterations=iterations, **SMALL)
    for image in range(2):
        expected = naive(probs[image].numpy(), images[image].double().numpy(), iterations, 3.0, 20.0, 10.0, 0.8, 3.0)
        np.testing.assert_allclose(refined[image].numpy(), expected, atol=1e-10)


def test_oracles(shared):
    oracle = np.load(shared / "oracles/crf.npz")
    for i, agreement in zip(range(int(oracle["count"])), (0.93, 0.93, 0.99), strict=True):
        probs = torch.from_numpy(oracle[f"probs_{i}"])[None]
        images = torch.from_numpy(oracle[f"image_{i}"]).permute(2, 0, 1)[None]
        expected = oracle[f"refined_{i}"]
        settings = {name: float(oracle[f"{name}_{i}"]) for name in ("bilateral_sxy", "gaussian_sxy")}
        double = dense_crf(probs, images, engine="exact", **settings)
        np.testing.assert_allclose(double[0].numpy(), expected, atol=1e-9)
        single = dense_crf(probs.float(), images, engine="exact", **settings)
        np.testing.assert_allclose(single[0].numpy(), expected, atol=1e-4)
        for engine in LATTICES:
            near = dense_crf(probs, images, engine=engine, **settings)
            assert (near[0].numpy().argmax(0) == expected.argmax(0)).mean() >= agreement


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_tags_take_part(engine):
    probs, images = example(classes=5)
    tags = torch.tensor([[True, False, False, True, False], [True, True, False, True, True]])
    refined = dense_crf(probs, images, tags, engine=engine, **SMALL)
    assert (refined[~tags] == 0).all()
    torch.testing.assert_close(refined.sum(1), torch.ones_like(refined[:, 0]), atol=1e-5, rtol=0)
    for image, present in enumerate(tags):
        own = probs[image, present] / probs[image, present].sum(0)
        alone = dense_crf(own[None], images[image : image + 1], engine=engine, **SMALL)
        torch.testing.assert_close(refined[image, present], alone[0])


def test_chunks_change_nothing(monkeypatch):
    probs, images = example(batch=5)
    whole = dense_crf(probs, images, engine="exact", **SMALL)
    monkeypatch.setitem(exact._KERNEL_BYTES, "cpu", 2 * 30 * 30 * 8)
    torch.testing.assert_close(dense_crf(probs, images, engine="exact", **SMALL), whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_zero_probabilities_stay_finite(engine):
    probs = torch.zeros(1, 3, 4, 4)
    probs[:, 1] = 1
    tags = torch.tensor([[True, False, True]])  # the only probable class is absent
    refined = dense_crf(probs, torch.zeros(1, 3, 4, 4), tags, engine=engine)
    assert refined.isfinite().all()


@pytest.mark.parametrize("engine", ENGINES)
def test_deviations_grow_with_the_long_side(engine):
    probs, images = example()  # 5 x 6 pixels
    given = {"engine": engine, "bilateral_srgb": 20.0}
    grown = dense_crf(probs, images, **given, bilateral_sxy=1.5, gaussian_sxy=0.4, long_side=3)
    assert torch.equal(grown, dense_crf(probs, images, **given, bilateral_sxy=3.0, gaussian_sxy=0.8))
    assert not torch.equal(grown, dense_crf(probs, images, **given, bilateral_sxy=1.5, gaussian_sxy=0.4))


@pytest.mark.parametrize("engine", ENGINES)
def test_dtypes_and_gradient(engine):
    probs, images = example(dtype=torch.float32)
    for dtype, expected in ((torch.float16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        given = probs.to(dtype).requires_grad_()
        refined = dense_crf(given, images.float(), engine=engine)
        assert refined.dtype == expected and not refined.requires_grad


def test_autocast_does_not_touch_the_exact_engine():
    probs, images = example(dtype=torch.float32)
    plain = dense_crf(probs, images, engine="exact")
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(dense_crf(probs, images, engine="exact"), plain, atol=0, rtol=0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of a process's memory")
def test_a_process_with_the_exact_engine_stays_under_a_gigabyte():
    """Peak memory of 20 images of 21 classes on the training grid, Python and torch themselves included."""
    script = """
import torch
from dsrg.crf import dense_crf
probs, images = torch.rand(20, 21, 41, 41).softmax(1), torch.randint(0, 256, (20, 3, 41, 41), dtype=torch.uint8)
dense_crf(probs, images, engine="exact", iterations=1)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(run.stdout) * 1024 < 2**30


@needs_pydensecrf
def test_a_batch_on_the_lattice_is_shared_out_in_order(monkeypatch):
    probs, images = example(batch=7)
    tags = torch.rand(7, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    tags[:, 0] = True
    alone = dense_crf(probs, images, tags, engine="pydensecrf", **SMALL)
    monkeypatch.setattr(lattice, "_ALONE", 0)
    monkeypatch.setattr(lattice, "_workers", lambda: 2)
    torch.testing.assert_close(dense_crf(probs, images, tags, engine="pydensecrf", **SMALL), alone, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("device", "size", "installed", "engine", "there"),
    [
        ("cpu", 50, True, "pydensecrf", "cpu"),
        ("cpu", 51, True, "pydensecrf", "cpu"),
        ("cpu", 50, False, "exact", "cpu"),
        ("cpu", 51, False, "permutohedral", "cpu"),
        ("cuda", 50, True, "exact", "cuda"),
        ("cuda", 51, True, "tiled", "cuda"),
        ("cuda", 51, False, "permutohedral", "cpu"),
        ("mps", 50, True, "exact", "mps"),
        ("mps", 51, True, "pydensecrf", "cpu"),
        ("mps", 51, False, "permutohedral", "cpu"),
    ],
)
def test_auto_picks_by_device_size_and_what_is_installed(monkeypatch, device, size, installed, engine, there):
    monkeypatch.setattr(lattice, "available", lambda: installed)
    monkeypatch.setattr(tiled, "available", lambda: installed)
    chosen, place = crf._choose(torch.device(device), size * 50)
    assert (chosen.__name__, place.type) == (f"dsrg.mean_field.{engine}", there)


def test_without_pydensecrf_a_photograph_is_refined_all_the_same(monkeypatch):
    monkeypatch.setattr(lattice, "available", lambda: False)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    probs, images = example(batch=1, height=60, width=50, dtype=torch.float32)
    torch.testing.assert_close(dense_crf(probs, images), dense_crf(probs, images, engine="permutohedral"))


def test_a_missing_pydensecrf_names_its_package(monkeypatch):
    monkeypatch.setattr(lattice, "available", lambda: False)
    with pytest.raises(InputError, match=r"use 'permutohedral'.*pip install 'dsrg\[crf\]'"):
        dense_crf(*example(), engine="pydensecrf")


@pytest.mark.parametrize(("engine", "message"), [("tiled", "needs a CUDA device, not cpu"), ("exact", "need 5 GB")])
def test_an_engine_that_cannot_do_it_says_which_can(engine, message):
    with pytest.raises(InputError, match=f"{message}.*use 'auto' or 'permutohedral'"):
        dense_crf(torch.ones(1, 2, 180, 200), torch.zeros(1, 3, 180, 200), engine=engine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 3, 9, 9)}, r"images \(2, 3, 9, 9\).*expected \(2, 3, 5, 6\); resize"),
        ({"probs": torch.zeros(2, 3, 5)}, "probs must be floating point"),
        ({"tags": torch.ones(2, 4, dtype=torch.bool)}, r"tags must be bool \(2, 3\)"),
        ({"tags": torch.tensor([[True, True, True], [False] * 3])}, "no tag at all"),
        ({"engine": "fast"}, "engine is 'fast'; it must be one of auto, exact, permutohedral, pydensecrf, tiled"),
        ({"iterations": -1}, "iterations is -1"),
        ({"gaussian_sxy": 0}, "standard deviations must be above 0"),
        ({"long_side": 0}, "long_side is 0; it must be above 0"),
    ],
)
def test_refuses_what_does_not_fit(change, message):
    probs, images = example()
    with pytest.raises(ValueError, match=message):
        dense_crf(**({"probs": probs, "images": images} | change))
