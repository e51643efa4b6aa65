"""The DSRG step: the loss is made of the parts that the configuration names, on the grid that DESIGN defines."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from dsrg import losses, schema
from dsrg.crf import dense_crf
from dsrg.grow import grow_seeds
from dsrg.labels import IGNORE
from dsrg.run import inference
from dsrg.stages.dsrg import DsrgStep

SIZE, GRID, CLASSES = 65, 9, 4


def make_cfg(*overrides: str) -> schema.Config:
    values: dict[str, dict[str, object]] = {"dsrg": {"iterations": 10}}
    for override in overrides:
        section, _, rest = override.partition(".")
        key, _, value = rest.partition("=")
        values.setdefault(section, {})[key] = {"true": True, "false": False}.get(value, value)
    return schema.Config.model_validate(values)


class Grid(nn.Module):
    """A network with one weight for each logit of the output grid."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(4 * torch.randn(2, CLASSES, GRID, GRID, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    masks = torch.randint(0, CLASSES, (2, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    masks[torch.rand(2, SIZE, SIZE, generator=generator) < 0.8] = IGNORE
    tags = torch.tensor([[True, True, False, True], [True, False, True, False]])
    for image, own in zip(masks, tags, strict=True):
        image[~own[image.long().clamp(max=CLASSES - 1)]] = IGNORE
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return {"images": images, "tags": tags, "masks": masks}


def run(batch: dict[str, Tensor], overrides: Sequence[str] = (), iteration: int = 0) -> dict[str, Tensor]:
    return DsrgStep(make_cfg(*overrides))(Grid(), batch, iteration)


def test_step_is_the_sum_of_its_parts(batch: dict[str, Tensor]) -> None:
    probs = losses.floored_softmax(Grid().logits.detach())
    seeds = batch["masks"][:, ::8, ::8]  # 65 = 8 * 8 + 1: cell i of the grid lies on pixel 8 i
    pixels = batch["images"][:, :, ::8, ::8]
    refined = dense_crf(probs, pixels, batch["tags"], bilateral_sxy=80 / 12, gaussian_sxy=3 / 12)
    grown = grow_seeds(seeds, refined, batch["tags"])
    scalars = run(batch)
    torch.testing.assert_close(scalars["seed_loss"].detach(), losses.seed_loss(probs, grown))
    torch.testing.assert_close(scalars["boundary_loss"].detach(), losses.boundary_loss(probs, refined))
    torch.testing.assert_close(scalars["loss"], scalars["seed_loss"] + scalars["boundary_loss"])
    assert scalars["grown_coverage"] > scalars["seed_coverage"] > 0


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        ((), {"seed_loss", "boundary_loss"}),
        (("losses.boundary=false",), {"seed_loss"}),
        (("losses.seed=false",), {"boundary_loss"}),
    ],
)
def test_each_loss_switches_off(batch: dict[str, Tensor], overrides: tuple[str, ...], keys: set[str]) -> None:
    assert run(batch, overrides).keys() - {"loss", "seed_coverage", "grown_coverage"} == keys


def test_growing_switches_off_and_warms_up(batch: dict[str, Tensor]) -> None:
    still = run(batch, ["grow.enabled=false"])
    assert still["grown_coverage"] == still["seed_coverage"]
    waiting = run(batch, ["grow.warmup=5"], iteration=4)
    assert waiting["grown_coverage"] == waiting["seed_coverage"]
    assert run(batch, ["grow.warmup=5"], iteration=5)["grown_coverage"] > still["seed_coverage"]


def test_growing_on_the_softmax_needs_no_crf(batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsrg.stages.dsrg.dense_crf", None)  # calling it would raise
    scalars = run(batch, ["grow.on=softmax", "losses.boundary=false"])
    probs = losses.floored_softmax(Grid().logits.detach())
    grown = grow_seeds(batch["masks"][:, ::8, ::8], probs, batch["tags"])
    torch.testing.assert_close(scalars["seed_loss"].detach(), losses.seed_loss(probs, grown))


def test_the_released_unary_is_the_probability(batch: dict[str, Tensor]) -> None:
    """One step of mean field, written out, with the energy -p."""
    probs = losses.floored_softmax(Grid().logits.detach())
    overrides = ["crf.train_unary=probability", "crf.engine=exact", "crf.tags=false", "crf.iterations=1"]
    _, _, refined = DsrgStep(make_cfg(*overrides)).supervision(probs, batch, 0)
    place = torch.cartesian_prod(torch.arange(GRID), torch.arange(GRID)).float()
    apart = torch.cdist(place, place).square()
    for image, pixels, result in zip(probs, batch["images"][:, :, ::8, ::8], refined, strict=True):
        colour = pixels.flatten(1).T.float()
        differ = torch.cdist(colour, colour).square()
        total = torch.zeros(CLASSES, GRID * GRID)
        first = image.flatten(1).softmax(dim=0)
        for weight, kernel in (
            (10, torch.exp(-apart / (2 * (80 / 12) ** 2) - differ / (2 * 13**2))),
            (3, torch.exp(-apart / (2 * (3 / 12) ** 2))),
        ):
            scale = kernel.sum(dim=1).rsqrt()
            total += weight * (first * scale) @ kernel * scale
        expected = (image.flatten(1) + total).softmax(dim=0).view_as(image)
        torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


def test_gradient_reaches_the_network_through_the_softmax_alone(batch: dict[str, Tensor]) -> None:
    model = Grid()
    DsrgStep(make_cfg())(model, batch, 0)["loss"].backward()
    assert model.logits.grad is not None
    assert torch.isfinite(model.logits.grad).all()
    assert model.logits.grad.abs().sum() > 0


def test_pictures_are_one_sheet_of_bytes(batch: dict[str, Tensor]) -> None:
    sheet = DsrgStep(make_cfg()).pictures(Grid(), batch, 0)["photo_seeds_grown_prediction_crf"]
    assert sheet.dtype == torch.uint8
    assert sheet.shape == (3, 2 * SIZE, 5 * SIZE)
    assert torch.equal(sheet[:, :SIZE, :SIZE], batch["images"][0])


def test_on_grid_picks_corner_on_corner() -> None:
    pixels = torch.arange(65 * 33).view(1, 65, 33)
    assert torch.equal(inference.on_grid(pixels, (9, 5)), pixels[:, ::8, ::8])
    assert torch.equal(inference.on_grid(pixels, (65, 33)), pixels)


def test_growing_leaves_true_masks_alone(batch: dict[str, Tensor]) -> None:
    step = DsrgStep(make_cfg("grow.theta_fg=0.3", "grow.theta_bg=0.3"))
    probs = losses.floored_softmax(Grid().logits.detach())
    seeds, grown, _ = step.supervision(probs, batch, 0)
    seeds_too, told, _ = step.supervision(probs, batch | {"true": torch.tensor([False, True])}, 0)
    assert (grown[1] != seeds[1]).any()
    assert torch.equal(told[0], grown[0])
    assert torch.equal(told[1], seeds[1])
    assert torch.equal(seeds_too, seeds)
