"""Scales and mirror images merged; masks from probabilities: own classes alone, nothing where the network is unsure."""

from types import SimpleNamespace
from typing import cast, get_args

import numpy as np
import pytest
import torch

from dsrg import schema
from dsrg.crf import dense_crf
from dsrg.labels import IGNORE, Classes
from dsrg.models.deeplab import DeepLab
from dsrg.predict.segmenter import Segmenter, Settings
from dsrg.run import inference
from dsrg.run.folder import Run
from dsrg.run.networks import probabilities_of

CRF = {
    "engine": "exact",
    "iterations": 5,
    "bilateral_sxy": 4.0,
    "bilateral_srgb": 13.0,
    "bilateral_weight": 4.0,
    "gaussian_sxy": 1.0,
    "gaussian_weight": 1.0,
}


@pytest.fixture
def probs() -> torch.Tensor:
    return torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(0)).softmax(dim=0)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (3, 7, 9), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("crf", [None, CRF])
@pytest.mark.parametrize("own", [(0, 2, 3), (0, 1, 2, 3, 4), None])
def test_unsure_pixels_are_left_out(
    probs: torch.Tensor, pixels: torch.Tensor, crf: dict | None, own: tuple[int, ...] | None
) -> None:
    tags = None if own is None else torch.tensor([index in own for index in range(5)])
    classes = list(own or range(5))
    refined = probs
    if crf is not None:
        refined = dense_crf(probs[None], pixels[None], None if tags is None else tags[None], **crf)[0]
    mask = inference.to_mask(probs, pixels, tags, crf=crf, confidence=0.5)
    everything = inference.to_mask(probs, pixels, tags, crf=crf)
    for row in range(7):
        for column in range(9):
            best = max(classes, key=lambda index: float(refined[index, row, column]))
            trust = float(probs[best, row, column]) / sum(float(probs[index, row, column]) for index in classes)
            assert int(everything[row, column]) == best
            assert int(mask[row, column]) == (best if trust >= 0.5 else IGNORE)
    assert 0 < np.mean(mask.numpy() == IGNORE) < 1


class Colours(torch.nn.Module):
    """A network whose logits are the colours under the cells of its grid."""

    output_stride = 8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 3 * images[:, :, ::8, ::8]


@pytest.mark.parametrize("merge", ["probabilities", "logits"])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0, 1.25)])
def test_scales_and_mirror_images_are_merged_as_the_setting_says(
    merge: str, mirror: bool, scales: tuple[float, ...]
) -> None:
    """Every pass by itself, enlarged and added up in float64: the logits, or the probabilities."""
    pixels = torch.randint(0, 256, (3, 70, 90), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    network = Colours()
    passes = []
    for images in inference.pyramid(network, pixels, scales, None, mirror):
        for number, image in enumerate(images[:, None]):
            maps = network(image).flip(-1) if number else network(image)
            passes.append(inference.enlarge(maps, (70, 90))[0].double().numpy())
    assert len(passes) == len(scales) * (1 + mirror)
    if merge == "logits":
        total = np.exp(np.sum(passes, axis=0))
        expected = total / total.sum(axis=0)
    else:
        each = [np.exp(one) / np.exp(one).sum(axis=0) for one in passes]
        expected = np.mean(each, axis=0)
    model: DeepLab = network  # type: ignore[assignment]  # what a network must be able to do, and no more
    settings = Settings(scales=scales, mirror=mirror, merge=merge)
    classes = Classes(("background", "cat", "dog"), "here")
    segmenter = Segmenter(model, classes, torch.device("cpu"), settings, architecture={}, record={})
    picture = pixels.permute(1, 2, 0).numpy()
    found = segmenter.predict(picture, crf=False, probs=True)
    run = cast(Run, SimpleNamespace(cfg=schema.Config()))
    section = schema.Inference.model_validate({"scales": scales, "mirror": mirror, "merge": merge})
    alone = [inference.predict_probs(network, pixels, scales=(scale,), size=None, mirror=mirror, merge=merge)
             for scale in scales]  # fmt: skip
    for probs in (
        found.probs,
        segmenter.probabilities([picture])[0],
        probabilities_of(run, model, section)(pixels),
        inference.merge_probs(alone, merge),
    ):
        np.testing.assert_allclose(probs, expected, atol=1e-6)
    assert np.array_equal(found.mask, expected.argmax(axis=0))


def test_there_is_no_third_way_to_merge() -> None:
    assert get_args(schema.Inference.model_fields["merge"].annotation) == inference.MERGES
    with pytest.raises(ValueError, match="merge is 'mean'; it must be one of probabilities, logits"):
        inference.predict_probs(Colours(), torch.zeros(3, 40, 40), scales=(1.0,), size=None, mirror=False, merge="mean")


def test_summed_logits_keep_the_energies_that_averaging_loses() -> None:
    """Three scales that agree: the gap between two classes' energies is three times that of their mean."""
    pixels = torch.full((3, 70, 90), 90, dtype=torch.uint8)
    pixels[0] = 140
    gaps = {}
    for merge in ("probabilities", "logits"):
        how = {"scales": (0.75, 1.0, 1.25), "size": None, "mirror": False}
        probs = inference.predict_probs(Colours(), pixels, merge=merge, **how)
        gaps[merge] = (probs[0] / probs[1]).log()
    torch.testing.assert_close(gaps["logits"], 3 * gaps["probabilities"])
