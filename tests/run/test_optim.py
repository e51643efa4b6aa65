"""Parameter groups and learning-rate schedules, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dsrg.errors import InputError
from dsrg.run.optim import lr_factor, parameter_groups, scheduler


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1))


def test_groups_have_the_papers_rates() -> None:
    net = _net()
    groups = parameter_groups(net, [net[3]], lr=5e-4, weight_decay=5e-4)
    found = {group["name"]: (group["lr"], group["weight_decay"], group["params"]) for group in groups}
    assert {name: rate for name, (rate, _, _) in found.items()} == pytest.approx(
        {"weight": 5e-4, "bias": 1e-3, "last_weight": 5e-3, "last_bias": 1e-2, "norm": 5e-4}
    )
    assert {name for name, (_, decay, _) in found.items() if decay == 5e-4} == {"weight", "last_weight"}
    assert {name for name, (_, decay, _) in found.items() if decay == 0} == {"bias", "last_bias", "norm"}
    assert found["last_weight"][2] == [net[3].weight] and found["last_bias"][2] == [net[3].bias]
    assert found["norm"][2] == [net[1].weight, net[1].bias]
    assert all(group["initial_lr"] == group["lr"] for group in groups)


def test_every_trainable_parameter_is_in_one_group() -> None:
    net = _net()
    net.add_module("again", net[0])  # shared
    net[1].requires_grad_(False)
    net[2].bias.requires_grad_(False)
    groups = parameter_groups(net, [net[3]], lr=0.1, weight_decay=0.0)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in net.parameters() if p.requires_grad})
    assert "norm" not in {group["name"] for group in groups}


def test_multipliers_and_containers_as_last_layers() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)))
    groups = parameter_groups(net, [net[1]], lr=1.0, weight_decay=0.1, bias_multiplier=1.0, last_multiplier=3.0)
    assert [(group["name"], len(group["params"]), group["lr"]) for group in groups] == [
        ("weight", 1, 1.0),
        ("bias", 1, 1.0),
        ("last_weight", 2, 3.0),
        ("last_bias", 2, 3.0),
    ]


def test_official_step_schedule() -> None:
    rates = [5e-4 * lr_factor(i, iterations=8000) for i in (0, 999, 1000, 1999, 2000, 7999)]
    assert rates == pytest.approx([5e-4, 5e-4, 1.65e-4, 1.65e-4, 5.445e-5, 5e-4 * 0.33**7])


@pytest.mark.parametrize(
    ("schedule", "iteration", "expected"),
    [
        ("poly", 0, 1.0),
        ("poly", 50, 0.5358867),  # 0.5 ** 0.9
        ("poly", 90, 0.1258925),  # 0.1 ** 0.9
        ("poly", 100, 0.0),
        ("poly", 500, 0.0),
        ("cosine", 0, 1.0),
        ("cosine", 25, (1 + math.sqrt(0.5)) / 2),
        ("cosine", 50, 0.5),
        ("cosine", 100, 0.0),
        ("constant", 70, 1.0),
    ],
)
def test_schedules(schedule: str, iteration: int, expected: float) -> None:
    assert lr_factor(iteration, schedule=schedule, iterations=100) == pytest.approx(expected, abs=1e-7)


def test_warmup_rises_linearly_then_leaves_the_schedule_alone() -> None:
    settings = {"schedule": "step", "iterations": 100, "step_every": 10, "step_gamma": 0.5, "warmup": 4}
    factors = [lr_factor(i, **settings) for i in (0, 1, 2, 3, 4, 9, 10, 20)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.25])


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="'linear'.*step, poly"):
        lr_factor(0, schedule="linear", iterations=10)
    with pytest.raises(InputError, match="iterations"):
        lr_factor(0, iterations=0)
    with pytest.raises(InputError, match="step_every"):
        lr_factor(0, iterations=10, step_every=0)


def test_scheduler_scales_every_group_and_resumes() -> None:
    settings = {"schedule": "poly", "iterations": 10, "power": 1.0}

    def make() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        net = _net()
        optimizer = torch.optim.SGD(parameter_groups(net, [net[3]], lr=1.0, weight_decay=0.0))
        return optimizer, scheduler(optimizer, **settings)

    optimizer, schedule = make()
    for _ in range(5):
        optimizer.step()
        schedule.step()
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({"weight": 0.5, "bias": 1.0, "last_weight": 5.0, "last_bias": 10.0, "norm": 0.5})
    other, resumed = make()
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for which, clock in ((optimizer, schedule), (other, resumed)):
        which.step()
        clock.step()
    assert [group["lr"] for group in other.param_groups] == pytest.approx([g["lr"] for g in optimizer.param_groups])
