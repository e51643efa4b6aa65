"""Photographs too large to be segmented at their own size, at every door; and all others, which nothing changes."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers import NAMES
from PIL import Image
from torch.nn import functional
from trained_run import make_photos, make_trained_run

import dsrg
from dsrg.commands import predict as command
from dsrg.data.voc import Photo
from dsrg.draw.masks import paint_with_legend
from dsrg.files import pictures
from dsrg.predict.segmenter import Segmenter
from dsrg.run import inference, large
from dsrg.schema import Crf

SIZE = (160, 90)
"""Width and height of the large photograph of these tests."""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_run(tmp_path_factory.mktemp("runs") / "own")


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "MOST_PIXELS", 3600)
    monkeypatch.setattr(large, "_STRIP", 4000)


@pytest.mark.parametrize(
    ("shape", "classes", "size", "expected"),
    [
        ((375, 500), 21, None, (375, 500)),
        ((1024, 1024), 128, None, (1024, 1024)),
        ((1024, 1024), 129, None, (1020, 1020)),
        ((1024, 1025), 21, None, (1024, 1024)),
        ((3000, 4000), 21, None, (887, 1182)),
        ((3000, 4000), 255, None, (628, 838)),
        ((9000, 12000), 21, None, (887, 1182)),
        ((9000, 12000), 21, 500, (887, 1182)),
        ((9000, 12000), 21, 3000, (2250, 3000)),
        ((1, 50_000_000), 4, None, (1, 31_775)),
        ((10_000_000, 1), 4, None, (31_775, 1)),
        ((500, 30_000), 4, None, (132, 7_932)),
    ],
)
def test_sizes(shape: tuple[int, int], classes: int, size: int | None, expected: tuple[int, int]) -> None:
    found = large.copy_size(shape, classes, size)
    assert found == expected
    if size is None and min(found) > 1:
        assert found[0] * found[1] <= 1.01 * large.MOST_PIXELS
        assert found[0] * found[1] * classes <= 1.01 * large.MOST_SCORES


@pytest.mark.parametrize("rows", [1, 3, 1000])
@pytest.mark.parametrize("size", [(90, 160), (91, 161), (45, 200), (7, 9)])
def test_strips_are_the_whole(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], rows: int) -> None:
    scores = torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(large, "_STRIP", rows * 5 * size[1])
    whole = functional.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]
    strips: list[torch.Tensor] = []
    found = large.in_strips(lambda own: strips.append(own) or own.argmax(dim=0), size, scores)
    assert (torch.cat(strips, dim=1) - whole).abs().max() < 1e-5
    first, second = whole.topk(2, dim=0).values
    sure = first - second > 1e-4
    assert torch.equal(found[sure], whole.argmax(dim=0)[sure])


def test_an_ordinary_photograph_is_itself() -> None:
    picture = np.zeros((300, 400, 3), np.uint8)
    assert large.copy_of(picture, 21) is picture


def by_python(model: Segmenter, run_dir: Path, photo: Path, out: Path) -> np.ndarray:
    return model.predict(photo).mask


def by_command(model: Segmenter, run_dir: Path, photo: Path, out: Path) -> np.ndarray:
    words = ["--model", str(run_dir), str(photo), "--out", str(out), "--device", "cpu", "--formats", "overlay", "coco"]
    assert command.main([*words, "--workers", "1"]) == 0
    assert Image.open(out / "overlays/photo.jpg").size == SIZE
    return pictures.read_mask(out / "masks/photo.png")


def by_stage(model: Segmenter, run_dir: Path, photo: Path, out: Path) -> np.ndarray:
    settings: dict[str, Any] = {"scales": (1.0,), "size": None, "mirror": True}
    inference.write_masks(
        lambda pixels: inference.predict_probs(model.model, pixels, **settings),
        [Photo("photo", photo, np.ones(len(NAMES), bool))],
        out,
        with_tags=False,
        crf=None,
        device=torch.device("cpu"),
        workers=0,
    )
    return pictures.read_mask(out / "photo.png")


@pytest.mark.parametrize("door", [by_python, by_command, by_stage])
def test_a_large_photograph_is_segmented_as_its_copy(
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    small_bounds: None,
    door: Any,
) -> None:
    (photo,) = make_photos(tmp_path, "photo.png", size=SIZE)
    model = dsrg.load(run_dir, "cpu")
    copy = np.array(Image.open(photo).resize((80, 45), Image.Resampling.BILINEAR))
    probs = torch.from_numpy(model.predict(copy, probs=True).probs)
    whole = functional.interpolate(probs[None], SIZE[::-1], mode="bilinear", align_corners=False)[0]
    seen: list[int] = []
    whole_enlarge = inference.enlarge
    monkeypatch.setattr(
        inference, "enlarge", lambda maps, size: seen.append(size[0] * size[1]) or whole_enlarge(maps, size)
    )
    mask = door(model, run_dir, photo, tmp_path / "out")
    assert max(seen) == 80 * 45, "nothing is as large as the photograph, one number a class"
    first, second = whole.topk(2, dim=0).values
    sure = (first - second > 1e-4).numpy()
    assert sure.mean() > 0.9
    assert np.array_equal(mask[sure], whole.argmax(dim=0).numpy()[sure])
    assert len(np.unique(mask)) > 1
    if door is not by_python:
        assert capsys.readouterr().out.count("1 large photograph was segmented as a copy") == 1


def test_the_crf_sees_the_copy(run_dir: Path, tmp_path: Path, small_bounds: None) -> None:
    (photo,) = make_photos(tmp_path, "photo.png", size=SIZE)
    model = dsrg.load(run_dir, "cpu")
    crf = {"engine": "exact", "iterations": 1, "bilateral_sxy": 4.0, "gaussian_sxy": 1.0}
    object.__setattr__(model.settings, "crf_arguments", crf)
    picture = np.array(Image.open(photo))
    copy = large.copy_of(picture, len(NAMES))
    probs = torch.from_numpy(model.predict(copy, probs=True).probs)
    expected = inference.to_mask(probs, inference.planes(copy), crf=crf, size=SIZE[::-1]).numpy()
    found = model.predict(photo, crf=True, probs=True)
    assert np.array_equal(found.mask, expected)
    assert found.probs is not None
    assert found.probs.shape == (len(NAMES), 45, 80)


def test_a_larger_photograph_has_the_mask_of_a_smaller_one() -> None:
    """Where the CRF's deviations grow with it; else they reach across less of what it shows."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 7, generator=generator).mul(2).softmax(dim=1)
    colours = torch.randint(256, (1, 3, 6, 8), generator=generator).float()

    def mask(side: int, **settings: Any) -> torch.Tensor:
        shape = (36 * side, 48 * side)
        probs = functional.interpolate(coarse, shape, mode="bilinear", align_corners=True)[0]
        pixels = functional.interpolate(colours, shape, mode="nearest")[0].byte()
        crf = Crf(engine="permutohedral", bilateral_sxy=8, gaussian_sxy=0.5, **settings).arguments()
        return inference.to_mask(probs, pixels, crf=crf)[side // 2 :: side, side // 2 :: side]

    small, scaled, as_they_are = mask(1), mask(5, long_side=48), mask(5)
    assert torch.equal(mask(1, long_side=48), small)
    differing = [int((one != small).sum()) for one in (scaled, as_they_are)]
    assert differing[1] > 50
    assert differing[0] < differing[1] / 4


def test_one_crf_serves_several_confidences(small_bounds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(4, 20, 30, generator=generator).softmax(dim=0)
    pixels = torch.randint(256, (3, 20, 30), generator=generator, dtype=torch.uint8)
    crf = {"engine": "exact", "iterations": 2}
    tags = torch.tensor([True, True, False, True])
    for size in (None, (75, 100)):
        each = [
            inference.to_mask(probs, pixels, tags, crf=crf, confidence=level, size=size) for level in (0.0, 0.35, 0.5)
        ]
        with monkeypatch.context() as patch:
            counted = Mock(side_effect=inference.dense_crf)
            patch.setattr(inference, "dense_crf", counted)
            found = inference.to_masks(probs, pixels, tags, crf=crf, confidences=(0.0, 0.35, 0.5), size=size)
        assert counted.call_count == 1
        assert all(torch.equal(one, other) for one, other in zip(each, found, strict=True))
        assert (found[0] != 255).all()
        assert 0 < int((found[1] == 255).sum()) < int((found[2] == 255).sum())


def test_an_overlay_in_strips_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    photo = generator.integers(0, 256, (120, 90, 3), dtype=np.uint8)
    mask = generator.choice(np.array([0, 1, 2, 3, 255], np.uint8), (12, 9)).repeat(10, 0).repeat(10, 1)
    whole = paint_with_legend(photo, mask, NAMES)
    monkeypatch.setattr("dsrg.draw.masks._STRIP", 700)
    assert np.array_equal(paint_with_legend(photo, mask, NAMES), whole)
