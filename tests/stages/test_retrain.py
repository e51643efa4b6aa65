"""Retraining's loss: against a naive sum over pixels, with a grid, void pixels and a teacher."""

import math

import pytest
import torch
from torch import Tensor, nn

from dsrg.schema import Masks
from dsrg.stages.retrain import _mask_step

TAGS = torch.tensor([[True, True, False], [True, False, True]])


class Fixed(nn.Module):
    """Gives the same class scores whatever the images."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


def batch(void: bool = False) -> dict[str, Tensor]:
    masks = torch.randint(0, 3, (2, 33, 33), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
    masks[:, :16] = 255
    if void:
        masks[:] = 255
    return {"images": torch.zeros(2, 3, 33, 33, dtype=torch.uint8), "masks": masks, "tags": TAGS}


def probabilities(logits: Tensor) -> list[float]:
    odds = [math.exp(value) for value in logits.tolist()]
    return [value / sum(odds) for value in odds]


@pytest.mark.parametrize("true", [None, [False, True], [False, False]])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("salient", [False, True])
def test_the_loss_is_the_mean_over_labelled_cells(share: float, true: list[bool] | None, salient: bool) -> None:
    student, teacher, given = Fixed(0), Fixed(1), batch()
    made = Masks(saliency=0.7, saliency_odds=0.1)
    if salient:
        random = torch.Generator().manual_seed(6)
        given["saliency"] = torch.randint(0, 256, (2, 33, 33), generator=random, dtype=torch.uint8)
    if true is not None:
        given["true"] = torch.tensor(true)
    total, count = 0.0, 0
    for image in range(2):
        for row in range(3):
            for column in range(3):
                label = int(given["masks"][image, 16 * row, 16 * column])
                if label == 255:
                    continue
                own = probabilities(student.logits[image, :, row, column])
                scores = teacher.logits[image, :, row, column].masked_fill(~TAGS[image], -math.inf)
                taught = probabilities(scores)
                if salient:
                    held = min(max(int(given["saliency"][image, 16 * row, 16 * column]) / 255, 0.05), 0.95)
                    taught[0] *= 0.1 * ((1 - held) / held) ** 0.7
                    taught = [value / sum(taught) for value in taught]
                hard = -math.log(own[label])
                soft = -sum(wanted * math.log(found) for wanted, found in zip(taught, own, strict=True))
                total += hard if true and true[image] else (1 - share) * hard + share * soft
                count += 1
    assert 0 < count < 18
    taught_by = teacher if share else None
    found = _mask_step(student, given, 0, grid=16, teacher=taught_by, share=share, made=made)["loss"]
    assert float(found.detach()) == pytest.approx(total / count, rel=1e-5)
    found.backward()
    assert teacher.logits.grad is None
    assert student.logits.grad is not None and bool(torch.isfinite(student.logits.grad).all())


def test_without_a_grid_every_pixel_counts() -> None:
    student, given = Fixed(0), batch()
    logits = nn.functional.interpolate(student.logits, (33, 33), mode="bilinear", align_corners=True)
    expected = nn.functional.cross_entropy(logits, given["masks"].long(), ignore_index=255)
    torch.testing.assert_close(_mask_step(student, given, 0)["loss"], expected)


def test_void_alone_is_no_loss() -> None:
    student = Fixed(0)
    loss = _mask_step(student, batch(void=True), 0, grid=16, teacher=Fixed(1), share=0.5)["loss"]
    assert float(loss.detach()) == 0
    loss.backward()
    assert student.logits.grad is not None and not student.logits.grad.any()
