"""Parameter groups with their own learning rates, and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dsrg.errors import InputError

SCHEDULES = ("step", "poly", "constant", "cosine")
_PLAIN = ("weight", "bias", "norm")


def parameter_groups(
    model: nn.Module,
    last_layers: Iterable[nn.Module],
    *,
    lr: float,
    weight_decay: float,
    bias_multiplier: float = 2.0,
    last_multiplier: float = 10.0,
    backbone_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Group the parameters as Caffe's DeepLab and DSRG do: biases 2x, last layer 10x and 20x, biases undecayed.

    Args:
        model: Its parameters that require a gradient are grouped, each once; frozen ones are left out.
        last_layers: The modules of `model` that learn at `last_multiplier` times the rate.
        lr: Base learning rate.
        weight_decay: For weights; biases and batch norm have none.
        bias_multiplier: Learning rate of biases relative to their layer's weights.
        last_multiplier: Learning rate of the last layers relative to the others.
        backbone_multiplier: Learning rate of `model.backbone` relative to the others.

    Returns:
        Groups for a torch optimizer, empty ones left out: "weight", "bias", "last_weight", "last_bias", "norm", and
        with a backbone_multiplier other than 1 "backbone_weight", "backbone_bias" and "backbone_norm".
        Each carries "name", "params", "lr", "initial_lr" and "weight_decay".
    """
    rates = {
        "weight": (lr, weight_decay),
        "bias": (lr * bias_multiplier, 0.0),
        "last_weight": (lr * last_multiplier, weight_decay),
        "last_bias": (lr * last_multiplier * bias_multiplier, 0.0),
        "norm": (lr, 0.0),
    }
    slow: set[int] = set()
    if backbone_multiplier != 1:
        rates |= {f"backbone_{name}": (backbone_multiplier * rates[name][0], rates[name][1]) for name in _PLAIN}
        slow = {id(parameter) for parameter in model.get_submodule("backbone").parameters()}
    members: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    last = {id(parameter) for layer in last_layers for parameter in layer.parameters()}
    seen: set[int] = set()  # two modules may share a parameter
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            group = "bias" if name == "bias" else "weight"
            if isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm):
                group = "norm"
            elif id(parameter) in last:
                group = f"last_{group}"
            if id(parameter) in slow:
                group = f"backbone_{group}"
            members[group].append(parameter)
    return [
        {"name": name, "params": members[name], "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for name, (rate, decay) in rates.items()
        if members[name]
    ]


def lr_factor(
    iteration: int,
    *,
    schedule: str = "step",
    iterations: int,
    step_every: int = 1000,
    step_gamma: float = 0.33,
    power: float = 0.9,
    warmup: int = 0,
) -> float:
    """What to multiply the initial learning rate by at an iteration, counted from 0.

    Args:
        iteration: The iteration about to run; beyond `iterations` the factor stays as it is there.
        schedule: "step": step_gamma ** (iteration // step_every), the paper's; "poly": (1 - t) ** power;
            "cosine": (1 + cos(pi t)) / 2; "constant": 1; where t = iteration / iterations.
        iterations: Length of the training.
        step_every: Iterations between steps.
        step_gamma: Factor of a step.
        power: Exponent of "poly".
        warmup: The first that many iterations are further multiplied by (iteration + 1) / warmup. The schedule's
            own clock is not moved.

    Raises:
        InputError: the schedule is unknown, or `iterations` or `step_every` is below 1.
    """
    if iterations < 1 or step_every < 1:
        raise InputError(f"iterations ({iterations}) and step_every ({step_every}) must be at least 1.")
    iteration = min(iteration, iterations)
    progress = iteration / iterations
    if schedule == "step":
        factor = step_gamma ** (iteration // step_every)
    elif schedule == "poly":
        factor = (1 - progress) ** power
    elif schedule == "cosine":
        factor = (1 + math.cos(math.pi * progress)) / 2
    elif schedule == "constant":
        factor = 1.0
    else:
        raise InputError(f"the schedule '{schedule}' is not known; choose one of {', '.join(SCHEDULES)}.")
    return factor * min(1.0, (iteration + 1) / warmup) if warmup else factor


def scheduler(optimizer: Optimizer, **settings: Any) -> LambdaLR:
    """A scheduler that multiplies every group's initial rate by `lr_factor(iteration, **settings)`.

    Call its `step()` once an iteration, after the optimizer's.
    """
    return LambdaLR(optimizer, lambda iteration: lr_factor(iteration, **settings))
