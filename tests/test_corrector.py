"""The corrector of masks: its evidence, its scores, and that it learns what true masks say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsrg import corrector
from dsrg.corrector import CHANNELS, Corrector, Evidence, class_scores, corrected, correction_loss, evidence
from dsrg.labels import IGNORE

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 12


def photograph(seed: int, own: tuple[int, ...] = (1, 3), classes: int = 4) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "probs": torch.rand(classes, SIDE, SIDE, generator=random).softmax(dim=0),
        "own": torch.tensor(own),
        "pixels": torch.randint(0, 256, (3, SIDE, SIDE), generator=random),
        "maps": torch.rand(len(own), SIDE, SIDE, generator=random),
        "saliency": torch.rand(SIDE, SIDE, generator=random),
    }


def test_channels_equal_a_naive_version() -> None:
    given_ = photograph(0)
    found = evidence(**given_).float()
    assert found.shape == (2, CHANNELS, SIDE, SIDE)
    probs, maps, s = given_["probs"].double(), given_["maps"].double(), given_["saliency"].double()
    for row, (own, other) in enumerate(((1, 3), (3, 1))):
        odds = {k: (probs[k] / probs[0]).log().clamp(-12, 12) / 12 for k in (1, 3)}
        held = s.clamp(0.02, 0.98)
        expected = [
            odds[own],
            odds[other],
            maps[row],
            maps[1 - row],
            (held / (1 - held)).log() / 3,
            torch.ones_like(s),
            *(given_["pixels"].double() / 255 - 0.45),
        ]
        torch.testing.assert_close(found[row].double(), torch.stack(expected), atol=2e-3, rtol=0)


def test_the_largest_of_three_classes_is_another_one() -> None:
    found = evidence(**photograph(1, own=(1, 2, 3))).float()
    for row in range(3):
        others = [found[other, 0] for other in range(3) if other != row]
        torch.testing.assert_close(found[row, 1], torch.maximum(*others))
        assert (found[row, 5] == 2).all()


def test_what_is_missing_says_nothing() -> None:
    whole = photograph(2, own=(2,))
    found = evidence(whole["probs"], whole["own"], whole["pixels"]).float()
    assert (found[0, 2:6] == 0).all()  # no CAM, no saliency, no other class
    assert (found[0, 1] == -1).all()
    assert evidence(whole["probs"], torch.tensor([], dtype=torch.long), whole["pixels"]).shape[0] == 0


def test_certainty_is_bounded() -> None:
    whole = photograph(3)
    whole["probs"] = torch.zeros_like(whole["probs"])
    whole["probs"][1] = 1
    found = evidence(**whole).float()
    assert torch.isfinite(found).all()
    assert (found[0, 0] == 1).all() and (found[1, 0] == 0).all()


@pytest.mark.parametrize("name", ["pixels", "maps", "saliency"])
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    whole = photograph(4)
    whole[name] = whole[name][..., :-1]
    with pytest.raises(ValueError, match=f"{name} .* does not fit probs"):
        evidence(**whole)


def example(seed: int, own: tuple[int, ...] = (1, 3)) -> Evidence:
    labels = torch.randint(0, 2, (SIDE, SIDE), generator=torch.Generator().manual_seed(seed)) * own[0]
    return Evidence(torch.tensor(own), evidence(**photograph(seed, own)), labels.byte())


@given(st.lists(st.sampled_from([(1,), (2,), (1, 3), (1, 2, 3)]), min_size=1, max_size=3))
def test_before_it_has_learnt_the_scores_are_the_networks(owns: list[tuple[int, ...]]) -> None:
    batch = [example(seed, own) for seed, own in enumerate(owns)]
    scores = class_scores(Corrector().eval(), batch, 4)
    for one, found, seed in zip(batch, scores, range(len(batch)), strict=True):
        absent = [k for k in range(1, 4) if k not in one.own.tolist()]
        assert (found[0] == 0).all() and (found[absent] == -1e4).all()
        probs = photograph(seed, tuple(one.own.tolist()))["probs"]
        torch.testing.assert_close(found[one.own], (probs[one.own] / probs[0]).log(), atol=2e-2, rtol=0)


def test_a_photograph_of_no_class_is_background() -> None:
    none = Evidence(
        torch.tensor([], dtype=torch.long), torch.zeros(0, CHANNELS, SIDE, SIDE).half(), torch.zeros(SIDE, SIDE)
    )
    assert (corrected(Corrector().eval(), none, 4).argmax(dim=0) == 0).all()


def test_a_photograph_and_its_mirror_image_are_judged_alike() -> None:
    torch.manual_seed(0)
    model = Corrector().eval()
    torch.nn.init.normal_(model.leave.weight)
    one = example(5)
    mirrored = Evidence(one.own, one.channels.flip(-1), one.labels)
    torch.testing.assert_close(corrected(model, one, 4), corrected(model, mirrored, 4).flip(-1))


def test_a_batch_is_judged_as_its_photographs_are() -> None:
    torch.manual_seed(0)
    model = Corrector().eval()
    torch.nn.init.normal_(model.leave.weight)
    batch = [example(6), example(7, (2,))]
    together = class_scores(model, batch, 4)
    for one, found in zip(batch, together, strict=True):
        torch.testing.assert_close(class_scores(model, [one], 4)[0], found)


def test_true_masks_and_others_weigh_alike_whatever_their_number() -> None:
    model = Corrector().eval()
    true, others = [example(8)], [example(9), example(10), example(11)]
    whole = correction_loss(model, true, others, 4)
    torch.testing.assert_close(whole, correction_loss(model, true, [], 4) + correction_loss(model, [], others, 4))
    void = Evidence(true[0].own, true[0].channels, torch.full_like(true[0].labels, IGNORE))
    assert correction_loss(model, [void], [], 4) == 0


def test_a_class_never_corrected_is_corrected_too() -> None:
    """All masks miss what saliency shows; the true masks of class 1 say so, and class 2 follows."""

    def made(seed: int, own: int, *, true: bool) -> Evidence:
        random = torch.Generator().manual_seed(seed)
        place = int(torch.randint(1, SIDE - 8, (1,), generator=random))
        object_, seen = torch.zeros(SIDE, SIDE), torch.zeros(SIDE, SIDE)
        object_[2:10, place : place + 7] = 1
        seen[3:6, place + 1 : place + 4] = 1  # the head alone
        probs = torch.full((3, SIDE, SIDE), 1e-6)
        probs[own], probs[0] = 0.1 + 0.8 * seen, 0.9 - 0.8 * seen
        pixels = torch.full((3, SIDE, SIDE), 128)
        channels = evidence(probs, torch.tensor([own]), pixels, saliency=0.1 + 0.8 * object_)
        return Evidence(torch.tensor([own]), channels, ((object_ if true else seen) * own).byte())

    torch.manual_seed(0)
    model = Corrector()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    true = [made(seed, 1, true=True) for seed in range(8)]
    for _ in range(80):
        optimizer.zero_grad()
        correction_loss(model, true, [], 3).backward()
        optimizer.step()
    model.eval()
    for seed in range(20, 24):
        found = corrected(model, made(seed, 2, true=False), 3).argmax(dim=0)
        expected = made(seed, 2, true=True).labels
        before = ((made(seed, 2, true=False).labels > 0) & (expected > 0)).sum() / (expected > 0).sum()
        overlap = ((found == 2) & (expected == 2)).sum() / ((found == 2) | (expected == 2)).sum()
        assert before < 0.2 and overlap > 0.8


@pytest.mark.parametrize(
    ("had", "has", "lost"),
    [(100, 24, True), (100, 25, False), (100, 0, True), (49, 0, False), (50, 0, True), (0, 0, False), (0, 90, False)],
)
def test_a_class_is_lost_that_keeps_less_than_a_quarter(had: int, has: int, lost: bool) -> None:
    before, after = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    before.ravel()[:had], after.ravel()[5000 : 5000 + has] = 2, 2
    before[-1], after[-2:] = IGNORE, 1  # void, and a class that is new, do not matter
    assert corrector.loses_class(before, after) == lost


def test_the_network_sees_as_far_as_it_says() -> None:
    reach = 2 * sum(corrector.DILATIONS) + 1
    torch.manual_seed(0)
    model = Corrector().eval()
    for block in model.blocks:  # GroupNorm looks at the whole picture
        block[1] = torch.nn.Identity()
    torch.nn.init.ones_(model.leave.weight)
    channels = torch.zeros(1, CHANNELS, 61, 61, requires_grad=True)
    model(channels)[0, 30, 30].backward()
    rows = channels.grad.abs().sum(dim=(0, 1, 3)).nonzero()[:, 0]
    assert rows.max() - rows.min() + 1 <= reach == 33
