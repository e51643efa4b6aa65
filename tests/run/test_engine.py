"""The training loop: it learns, logs, and an interrupted run ends with the bits of an uninterrupted one."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import read_log
from torch import Tensor, nn
from torch.nn import functional

from dsrg.errors import InputError
from dsrg.files import storage
from dsrg.run import engine, optim

ITERATIONS = 12
PARTS = ("model", "optimizer", "scheduler", "random", "iteration")
"""What a training goes on from."""


def toy_batches(start: int) -> Iterator[dict[str, Tensor]]:
    for iteration in range(start, ITERATIONS):
        generator = torch.Generator().manual_seed(iteration)
        inputs = torch.randn(8, 4, generator=generator)
        yield {"inputs": inputs, "targets": inputs @ torch.tensor([1.0, -2.0, 0.5, 3.0])}


def toy_step(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
    return {"loss": functional.mse_loss(model(batch["inputs"])[:, 0], batch["targets"])}


def toy_model() -> nn.Sequential:
    torch.manual_seed(3)
    # Dropout and batch norm: random states and buffers matter as much as weights.
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))


def run_toy(
    directory: Path,
    step: Callable[..., dict[str, Tensor]] = toy_step,
    model: nn.Module | None = None,
    compile: bool = False,
) -> nn.Module:
    model = model or toy_model()
    groups = optim.parameter_groups(model, [list(model.children())[-1]], lr=0.02, weight_decay=1e-3)
    optimizer = torch.optim.SGD(groups, 0.02, momentum=0.9)
    engine.fit(
        model,
        step,
        toy_batches,
        engine.Course(optimizer, optim.scheduler(optimizer, schedule="poly", iterations=ITERATIONS), ITERATIONS),
        engine.Journal(
            directory,
            log_every=2,
            checkpoint_every=5,
            pictures=lambda model, batch, iteration: {"noise": torch.zeros(3, 4, 4, dtype=torch.uint8)},
        ),
        engine.Machine(torch.device("cpu"), compile=compile),
    )
    return model


def iterations_in(directory: Path) -> int:
    iteration = storage.load_checkpoint(directory / "checkpoint.pt")["iteration"]
    assert isinstance(iteration, int)
    return iteration


def test_interrupted_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = run_toy(tmp_path / "whole")

    def interrupted(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        if iteration == 8:
            raise KeyboardInterrupt
        return toy_step(model, batch, iteration)

    with pytest.raises(KeyboardInterrupt):
        run_toy(tmp_path / "parts", interrupted)
    assert iterations_in(tmp_path / "parts") == 5
    torch.manual_seed(99)  # what the new process happens to start with must not matter
    resumed = run_toy(tmp_path / "parts", model=toy_model())

    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert read_log(tmp_path / "parts") == read_log(tmp_path / "whole")
    first, second = (storage.load_checkpoint(tmp_path / run / "checkpoint.pt") for run in ("whole", "parts"))
    assert first["optimizer"]["state"].keys() == second["optimizer"]["state"].keys()
    for key, state in first["optimizer"]["state"].items():
        assert torch.equal(state["momentum_buffer"], second["optimizer"]["state"][key]["momentum_buffer"])


def test_a_compiled_network_trains_to_the_plain_ones_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []

    def compile(network: nn.Module) -> nn.Module:
        # As torch.compile does, which would cost seconds here: a module around the network, its keys prefixed.
        compiled.append(nn.Sequential(network))
        return compiled[-1]

    seen: list[nn.Module] = []

    def step(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        seen.append(model)
        return toy_step(model, batch, iteration)

    monkeypatch.setattr(torch, "compile", compile)
    run_toy(tmp_path / "plain")
    assert not compiled
    run_toy(tmp_path / "compiled", step, compile=True)
    assert len(compiled) == 1
    assert all(model is compiled[0] for model in seen)
    plain, other = (storage.load_checkpoint(tmp_path / run / "checkpoint.pt")["model"] for run in ("plain", "compiled"))
    assert list(plain) == list(other)
    assert all(torch.equal(tensor, other[name]) for name, tensor in plain.items())


def test_loss_falls_and_everything_is_logged(tmp_path: Path) -> None:
    run_toy(tmp_path)
    log = read_log(tmp_path)
    assert [line["iteration"] for line in log] == [2, 4, 6, 8, 10, 12]
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["lr"] == 0.0
    assert list(tmp_path.glob("events.out.tfevents.*"))
    assert iterations_in(tmp_path) == ITERATIONS


def test_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    run_toy(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def never(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        raise AssertionError("a finished run must not train")

    run_toy(tmp_path, never)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_torn_log_line_is_mended(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 2, "loss": 1.0}\n{"iteration": 4, "lo')
    run_toy(tmp_path)
    assert [line["iteration"] for line in read_log(tmp_path)] == [2, 4, 6, 8, 10, 12]


def test_diverged_loss_stops_before_the_checkpoint(tmp_path: Path) -> None:
    def diverging(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        loss = toy_step(model, batch, iteration)["loss"]
        return {"loss": loss * float("nan") if iteration >= 7 else loss}

    with pytest.raises(InputError, match="lower the lr"):
        run_toy(tmp_path, diverging)
    weights = storage.load_checkpoint(tmp_path / "checkpoint.pt")["model"]
    assert iterations_in(tmp_path) == 5
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run_toy(tmp_path)
    with pytest.raises(InputError, match=r"checkpoint\.pt: the checkpoint does not fit"):
        run_toy(tmp_path, model=nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1)))


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {part}": lambda state, part=part: state.pop(part) for part in PARTS},  # type: ignore[misc]
    **{
        f"{part} = {value!r}": lambda state, part=part, value=value: state.update({part: value})  # type: ignore[misc]
        for part in PARTS
        for value in (None, [], {}, "x", [{}], [None], [{"cpu": 5}], -5, 10**9, 1.5, True)
    },
    "random states of zeros": lambda state: state["random"][0].update(cpu=torch.zeros(3)),
    "random states that are none": lambda state: state["random"][0].update(cpu=state["random"][0]["cpu"] * 0 + 255),
    "the iteration before": lambda state: state.update(iteration=state["iteration"] - 1),
    "more lines than iterations": lambda state: state.update(logged=99),
    "another schedule": lambda state: state["scheduler"].update(base_lrs=[1.0]),
    "a schedule without rates": lambda state: state["scheduler"].pop("_last_lr"),
    "another decay": lambda state: state["optimizer"]["param_groups"][0].update(weight_decay=0.5),
    "another rate": lambda state: state["optimizer"]["param_groups"][0].update(lr=0.5),
    "one group less": lambda state: state["optimizer"]["param_groups"].pop(),
    "no momentum": lambda state: state["optimizer"].update(state={}),
    "momentum of another shape": lambda state: state["optimizer"]["state"][0].update(momentum_buffer=torch.ones(1, 1)),
    "momentum without end": lambda state: state["optimizer"]["state"][0]["momentum_buffer"].fill_(torch.inf),
    "weights that are no numbers": lambda state: state["model"]["0.weight"].fill_(torch.nan),
    "weights of another shape": lambda state: state["model"].update({"0.weight": torch.ones(1)}),
    "weights missing": lambda state: state["model"].pop("0.weight"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_checkpoint_whose_parts_are_not_what_they_should_be_is_refused(
    stopped: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    path = tmp_path / "run/checkpoint.pt"
    state = storage.load_checkpoint(path)
    DAMAGES[name](state)
    storage.save_checkpoint(path, state)
    before = {file: file.read_bytes() for file in (path, tmp_path / "run/metrics.jsonl")}

    def never(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        raise AssertionError("nothing may train from this checkpoint")

    with pytest.raises(InputError, match=r"checkpoint\.pt: .*put back a copy of it, or delete it"):
        run_toy(tmp_path / "run", never)
    assert {file: file.read_bytes() for file in before} == before


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was stopped in its seventh iteration, after the checkpoint of the fifth."""

    def stopping(model: nn.Module, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        if iteration == 6:
            raise KeyboardInterrupt
        return toy_step(model, batch, iteration)

    folder = tmp_path_factory.mktemp("toy") / "run"
    with pytest.raises(KeyboardInterrupt):
        run_toy(folder, stopping)
    return folder


def test_a_log_that_lost_lines_is_named(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    (tmp_path / "run/metrics.jsonl").write_text("")
    with pytest.raises(InputError, match=r"metrics\.jsonl: holds 0 of the 2 lines up to iteration 5"):
        run_toy(tmp_path / "run")
    (tmp_path / "run/metrics.jsonl").unlink()
    run_toy(tmp_path / "run")
    assert [line["iteration"] for line in read_log(tmp_path / "run")] == [6, 8, 10, 12]


def test_checkpoints_from_before_the_log_was_counted_go_on(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    state = storage.load_checkpoint(tmp_path / "run/checkpoint.pt")
    del state["logged"]
    storage.save_checkpoint(tmp_path / "run/checkpoint.pt", state)
    run_toy(tmp_path / "run")
    assert [line["iteration"] for line in read_log(tmp_path / "run")] == [2, 4, 6, 8, 10, 12]
