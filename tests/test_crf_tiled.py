"""The tiled engine equals dense float64 kernels: in triton's interpreter everywhere, on a GPU where there is one."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dsrg.mean_field import Kernels, tiled

SETTINGS = {"iterations": 5, "bilateral": (20.0, 13.0, 10.0), "gaussian": (2.0, 3.0)}


@pytest.fixture
def interpreted(monkeypatch):
    """Triton's interpreter, which runs kernels on the CPU; triton asks for it when it wraps the kernel."""
    # Older interpreters fail under today's NumPy.
    pytest.importorskip("triton", minversion="3.7", reason="needs triton 3.7, which torch's CUDA builds bring along")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    tiled._compiled.cache_clear()
    yield
    tiled._compiled.cache_clear()


def example(batch, classes, height, width, smooth=False, seed=0):
    """Log probabilities, some of them -inf from the second class on, and photographs."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(classes), (batch, height, width)).transpose(0, 3, 1, 2)
    if classes > 2:
        probs[-1, 1] = 0
    if smooth:  # four colours far from one another, in blocks
        index = np.arange(height)[:, None] // 4 % 2 * 2 + np.arange(width) // 5 % 2
        palette = rng.permutation(np.linspace(0, 255, 12)).reshape(3, 4)
        images = np.broadcast_to(palette[:, index], (batch, 3, height, width))
    else:
        images = rng.integers(0, 256, (batch, 3, height, width))
    with np.errstate(divide="ignore"):
        unary = np.log(probs)
    return torch.from_numpy(unary).float(), torch.from_numpy(images.copy()).float()


def squared_distances(features):
    """(n, n) for features (n, d)."""
    return ((features[:, None] - features) ** 2).sum(2)


def naive(unary, images, iterations, bilateral, gaussian):
    """Mean field with dense kernels in float64: unary (B, P, h, w), images (B, 3, h, w)."""
    _, classes, height, width = unary.shape
    position = np.stack(np.mgrid[:height, :width]).reshape(2, -1).T.astype(float)
    place = squared_distances(position)
    refined = []
    for energies, image in zip(unary.flatten(2).double().numpy(), images.flatten(2).double().numpy(), strict=True):
        colour = squared_distances(image.T)
        kernels = (
            np.exp(-place / (2 * bilateral[0] ** 2) - colour / (2 * bilateral[1] ** 2)),
            np.exp(-place / (2 * gaussian[0] ** 2)),
        )
        total = 0
        for kernel, weight in zip(kernels, (bilateral[2], gaussian[1]), strict=True):
            degree = kernel.sum(1)
            total = total + weight * kernel / np.sqrt(np.outer(degree, degree))
        message = 0
        for _ in range(iterations + 1):
            q = np.exp(energies + message - (energies + message).max(0))
            q /= q.sum(0)
            message = q @ total
        refined.append(q.reshape(classes, height, width))
    return np.stack(refined)


def far_pairs(tiles, cutoff):
    """(B, T, T): the pairs of tiles whose boxes lie further apart than the cutoff."""
    least, greatest = tiles.boxes.double().unbind(1)
    gap = (least[..., :, None] - greatest[..., None, :]).clamp(min=0)
    return (gap + gap.mT).square().sum(1) > cutoff


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("shape", "bilateral", "gaussian"),
    [
        ((2, 3, 7, 9), (20.0, 13.0, 10.0), (2.0, 3.0)),
        ((2, 2, 1, 1), (80.0, 13.0, 10.0), (3.0, 3.0)),
        ((2, 1, 3, 50), (80.0, 13.0, 10.0), (3.0, 3.0)),
        ((2, 5, 12, 20), (80.0, 60.0, 10.0), (3.0, 3.0)),
        ((2, 4, 20, 12), (0.5, 2.0, 4.0), (0.3, 0.0)),
        ((1, 40, 9, 9), (5.0, 40.0, 0.01), (50.0, 1.0)),
    ],
)
def test_equals_dense_kernels(interpreted, shape, smooth, bilateral, gaussian):
    unary, images = example(*shape, smooth)
    settings = {"iterations": 3, "bilateral": bilateral, "gaussian": gaussian}
    q = tiled.mean_field(unary, images, Kernels(**settings))
    assert q.dtype == torch.float32
    assert (q[unary == -torch.inf] == 0).all()
    np.testing.assert_allclose(q.numpy(), naive(unary, images, **settings), atol=1e-4)


def test_without_iterations_is_the_softmax(interpreted):
    unary, images = example(1, 3, 4, 5)
    q = tiled.mean_field(unary, images, Kernels(**SETTINGS | {"iterations": 0}))
    torch.testing.assert_close(q, unary.softmax(1))


def test_skipped_tiles_do_not_matter(interpreted):
    unary, images = example(1, 3, 20, 24, smooth=True)
    far = far_pairs(tiled._tiles(images, *SETTINGS["bilateral"][:2]), tiled._cutoff(20 * 24, 10))
    assert 0.3 < far.double().mean() < 0.9
    settings = SETTINGS | {"iterations": 2}
    q = tiled.mean_field(unary, images, Kernels(**settings))
    np.testing.assert_allclose(q.numpy(), naive(unary, images, **settings), atol=1e-4)


def test_skips_the_pairs_whose_boxes_are_far_and_no_others(interpreted):
    """At a cutoff where the pairs do matter."""
    _, images = example(2, 1, 20, 24)
    values = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    tiles = tiled._tiles(images, 5, 50)
    far = far_pairs(tiles, 0.1)
    assert 0.1 < far.double().mean() < 0.9
    sums = tiled._kernel_sums(tiles, values, 0.1)
    for i in range(2):
        features = tiles.features[i].double().T.numpy()
        near = (~far[i]).repeat_interleave(64, 0).repeat_interleave(64, 1).numpy()
        place = tiles.place[i].numpy()
        kernel = (np.exp2(-squared_distances(features)) * near)[place][:, place]
        expected = values[i].double().flatten(1).numpy() @ kernel.T
        np.testing.assert_allclose(sums[i].flatten(1).numpy(), expected, rtol=1e-5)


def test_tiles_hold_every_pixel_once_and_like_with_like():
    _, images = example(2, 1, 31, 37)
    tiles = tiled._tiles(images, 80, 13)
    pixels, padded = 31 * 37, 18 * 64  # five pixels short of 18 tiles
    assert tiles.order.shape == (2, padded)
    assert (tiles.order.sort(1).values == torch.arange(padded)).all()
    torch.testing.assert_close(tiles.order.gather(1, tiles.place), torch.arange(pixels).expand(2, -1))
    scale = np.sqrt(0.5 * np.log2(np.e)) / 13
    red = images[:, 0].flatten(1) * scale
    torch.testing.assert_close(tiles.features[:, 2].gather(1, tiles.place), red)
    least, greatest = tiles.boxes.unbind(1)
    whole = tiles.features.amax(2) - tiles.features.amin(2)
    volume = ((greatest - least) / whole[:, :, None])[:, 2:].prod(1)
    assert volume.mean() < 3 / tiles.boxes.shape[3]  # a tile of random pixels would fill nearly all of the space


def test_oracle(interpreted, shared):
    oracle = np.load(shared / "oracles/crf.npz")
    probs = torch.from_numpy(oracle["probs_2"])[None]
    images = torch.from_numpy(oracle["image_2"]).permute(2, 0, 1)[None]
    sxy, gxy = float(oracle["bilateral_sxy_2"]), float(oracle["gaussian_sxy_2"])
    unary = probs.clamp(min=1e-5).log().float()
    q = tiled.mean_field(unary, images.float(), Kernels(10, (sxy, 13, 10), (gxy, 3)))
    np.testing.assert_allclose(q[0].numpy(), oracle["refined_2"], atol=1e-4)


@pytest.mark.parametrize("columns", [16, 32])
@pytest.mark.parametrize(("architecture", "kibibytes"), [(80, 99), (90, 160)])
def test_compiles_for_gpus(architecture, kibibytes, columns):
    """With triton's own ptxas, no GPU needed. Ampere's smaller cards give a program 99 KiB of shared memory."""
    triton = pytest.importorskip("triton", minversion="3.3", reason="needs triton, which CUDA builds of torch bring")
    from triton.backends.compiler import GPUTarget

    pointers = dict.fromkeys(("features", "boxes", "values", "sums"), "*fp32")
    source = triton.compiler.ASTSource(
        fn=tiled._compiled(),
        signature=pointers | {"pixels": "i32", "cutoff": "fp32", "tile": "constexpr", "columns": "constexpr"},
        constexprs={"tile": tiled._TILE, "columns": columns},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=tiled._OPTIONS)
    assert f".target sm_{architecture}" in compiled.asm["ptx"]
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= kibibytes * 1024


def test_a_missing_triton_names_the_other_engines(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location("dsrg.mean_field.without_triton", tiled.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert not module.available()
    with pytest.raises(ImportError, match=r"needs triton.*engine='exact' or 'permutohedral'"):
        module.mean_field(*example(1, 2, 3, 4), Kernels(**SETTINGS))


@pytest.mark.parametrize(("version", "available"), [("3.2.0", False), ("3.3.0", True), ("3.10.1+git", True)])
def test_triton_of_3_3_on(monkeypatch, version, available):
    monkeypatch.setattr(tiled, "triton", SimpleNamespace(__version__=version))
    assert tiled.available() == available


@pytest.mark.skipif(not (torch.cuda.is_available() and tiled.available()), reason="needs a CUDA device and triton")
class TestCuda:
    def test_equals_dense_kernels(self):
        for smooth in (False, True):
            unary, images = example(2, 4, 60, 80, smooth)
            settings = {"iterations": 10, "bilateral": (80.0, 13.0, 10.0), "gaussian": (3.0, 3.0)}
            q = tiled.mean_field(unary.cuda(), images.cuda(), Kernels(**settings))
            np.testing.assert_allclose(q.cpu().numpy(), naive(unary, images, **settings), atol=1e-3)

    def test_memory_grows_with_the_pixels(self):
        peaks = []
        for height in (160, 320):
            unary, images = (tensor.cuda() for tensor in example(1, 4, height, 320))
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            tiled.mean_field(unary, images, Kernels(**SETTINGS))
            peaks.append(torch.cuda.max_memory_allocated() - before)
            del unary, images
        assert peaks[1] < 2.5 * peaks[0]
