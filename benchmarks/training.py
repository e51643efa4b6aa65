"""Where a training iteration's time goes on a CPU, and what other memory layouts, compilers and allocators change.

    OMP_NUM_THREADS=1 python -m benchmarks.training --cfg configs/voc6/mobilenet_v2.yaml [--root DIR] [--rounds 3]

Each variant is a process of its own; the variants take turns, --rounds times, and the best iteration of each counts.
Seconds are the processor's, so that others on the machine hardly change them. The photographs are those of --root, or
drawn. Their masks stand for the seeds. The weights are random, so batch norm trains, which a preset may freeze.
jemalloc and tcmalloc run where the system has them (Debian: libjemalloc2, libtcmalloc-minimal4).
"""

from __future__ import annotations

import argparse
import ctypes.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import machine_line, print_table
from dsrg import config, losses
from dsrg.cli import keep_freed_memory
from dsrg.crf import dense_crf
from dsrg.data import demo
from dsrg.data.training import TrainingSet, joint_transform
from dsrg.grow import grow_seeds
from dsrg.run import inference, networks
from dsrg.run.folder import Run
from dsrg.stages.dsrg import DsrgStep

Given = TypeVar("Given")
PLAIN = "as it is"
VARIANTS: dict[str, dict[str, str]] = {
    PLAIN: {},
    "contiguous, not channels_last": {"layout": "contiguous"},
    "torch.compile": {"compile": "yes"},
    "freed memory goes back to the system": {"keep": "no"},
    "jemalloc": {"preload": "jemalloc", "keep": "no"},
    "tcmalloc": {"preload": "tcmalloc_minimal", "keep": "no"},
}
OPERATORS = {
    "convolutions, backward": r"conv\w*_backward",
    "convolutions, forward": r"conv",
    "batch norm": r"batch_norm",
    "activations": r"hardtanh|clamp|relu|threshold",
    "copies and other layouts": r"copy_|empty|fill_|zero",
    "optimiser": r"Optimizer|_foreach_|add_$",
}
"""The profile's rows: the operators whose name first matches. An operator's time is without that of those it calls."""


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cfg", required=True, help="a preset whose DSRG stage is measured")
    parser.add_argument("--root", type=Path, help="a data set in VOC's layout with masks (default: drawn photographs)")
    parser.add_argument("--batch", type=int, default=4, help="photographs an iteration")
    parser.add_argument("--iterations", type=int, default=4, help="of each process, after two that do not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="beside the first")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(seconds_an_iteration(options, VARIANTS[options.variant])))
        return
    print(machine_line(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        if options.root is None:
            options.root = Path(name, "drawn")
            demo.generate(options.root, train=24, val=1, size=352)
        print_table(["", "ms a photograph", "share"], parts(options))
        print(flush=True)
        print_table(["", "ms a photograph", f"of '{PLAIN}'"], compared(options))


def compared(options: argparse.Namespace) -> list[list[str]]:
    """The variants' milliseconds a photograph, each beside the plain one's."""
    best: dict[str, float] = {}
    wanted = [variant for variant in VARIANTS if variant in {PLAIN, *options.variants}]
    for _, variant in itertools.product(range(options.rounds), wanted):
        environment = dict(os.environ)
        if library := VARIANTS[variant].get("preload"):
            found = ctypes.util.find_library(library)
            if found is None:
                continue
            environment["LD_PRELOAD"] = found
        given = ("--cfg", options.cfg, "--root", options.root, "--batch", options.batch)
        command = [*given, "--iterations", options.iterations, "--variant", variant]
        called = [sys.executable, "-m", "benchmarks.training", *map(str, command)]
        told = subprocess.run(called, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        best[variant] = min(best.get(variant, float("inf")), *json.loads(told.splitlines()[-1]))
    rows = []
    for variant in wanted:
        if variant in best:
            milliseconds = 1000 * best[variant] / options.batch
            rows.append([variant, f"{milliseconds:.0f}", f"{best[variant] / best[PLAIN]:.2f}"])
        else:
            rows.append([variant, "not installed", ""])
    return rows


def seconds_an_iteration(options: argparse.Namespace, variant: dict[str, str]) -> list[float]:
    """What the iterations of one process took, network and DSRG step together; the data are loaded before."""
    if variant.get("keep") != "no":
        keep_freed_memory()  # as every command does
    run, model, batches = prepared(options)
    if variant.get("layout") == "contiguous":
        model.to(memory_format=torch.contiguous_format)
    network = cast(nn.Module, torch.compile(model)) if "compile" in variant else model
    iterate = iteration(run, model, network)
    seconds = []
    for number, batch in enumerate(itertools.islice(batches, options.iterations + 2)):
        begun = time.process_time()
        iterate(batch)
        if number > 1:
            seconds.append(time.process_time() - begun)
    return seconds


def parts(options: argparse.Namespace) -> list[list[str]]:
    """The parts of an iteration: loading, the network by operators, CRF, growing, losses."""
    keep_freed_memory()
    run, model, batches = prepared(options)
    next(batches)
    loading, batch = took(lambda: next(batches))
    iterate = iteration(run, model, model)
    for _ in range(2):
        iterate(batch)
    whole = min(took(lambda: iterate(batch))[0] for _ in range(options.iterations))
    after = beside_the_network(run, model, batch)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        iterate(batch)
    own = dict.fromkeys([*OPERATORS, "all else"], 0.0)
    for event in profiled.key_averages():
        row = next((row for row, names in OPERATORS.items() if re.search(names, event.key)), "all else")
        own[row] += event.self_cpu_time_total
    # The profiler's own cost is spread as the operators' is.
    network = (whole - sum(after.values())) / sum(own.values())
    seconds = {"loading: reading, cutting, colours": loading, **after}
    seconds |= {f"network: {row}": network * microseconds for row, microseconds in own.items()}
    total = sum(seconds.values())
    seconds |= {
        "together": total,
        "floor: the network's products at the speed of a matrix product": floor(model, batch),
    }
    return [[row, f"{1000 * one / options.batch:.1f}", f"{one / total:.1%}"] for row, one in seconds.items()]


def floor(model: nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Seconds that the multiplications and additions of one iteration take where nothing but them costs any.

    The backward pass has twice those of the forward pass: one product for the inputs and one for the weights.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        inference.forward(model, batch)
    left, right = torch.rand(2, 1500, 1500)
    speed = 2 * 1500**3 / min(took(lambda: left @ right)[0] for _ in range(10))
    return 3 * float(counter.get_total_flops()) / speed


def beside_the_network(run: Run, model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    """Best of five calls of each part that is not the network's."""
    step = DsrgStep(run.cfg)
    with torch.no_grad():
        logits = inference.forward(model, batch)
        probs = losses.floored_softmax(logits)
        pixels = inference.on_grid(batch["images"], probs.shape[-2:])
        seeds = inference.on_grid(batch["masks"], probs.shape[-2:])
        refined = dense_crf(probs, pixels, batch["tags"], **step.crf)
    leaf = logits.clone().requires_grad_()

    def train() -> None:
        soft = losses.floored_softmax(leaf)
        loss: Any = losses.seed_loss(soft, seeds) + losses.boundary_loss(soft, refined)
        loss.backward()

    calls: dict[str, Callable[[], object]] = {
        "dense CRF": lambda: dense_crf(probs, pixels, batch["tags"], **step.crf),
        "growing": lambda: grow_seeds(seeds, refined, batch["tags"]),
        "softmax and losses, with gradient": train,
    }
    return {name: min(took(call)[0] for _ in range(5)) for name, call in calls.items()}


def prepared(options: argparse.Namespace) -> tuple[Run, nn.Module, Iterator[dict[str, torch.Tensor]]]:
    """The preset's run, its network with random weights, and batches of augmented photographs."""
    folder = Path(tempfile.gettempdir(), f"dsrg-benchmark-{os.getpid()}")  # a start writes nothing there
    fresh = ("model.weights=null", "model.init=weights", "model.freeze_batch_norm=false", "device=cpu")
    run = Run(config.load(options.cfg, (f"data.root={options.root}", f"run_dir={folder}", *fresh)))
    run.start(computes=False)
    torch.manual_seed(0)
    model = networks.new_deeplab(run).to(memory_format=torch.channels_last).train()
    how = run.cfg.dsrg
    transform = joint_transform(size=how.size, resize=how.resize, scale=how.scale, mirror=how.mirror, colour=how.colour)
    samples = TrainingSet(run.train, Path(options.root, "SegmentationClass"), transform, 0)

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for start in itertools.count(0, options.batch):
            own = [samples[draw, draw % len(samples)] for draw in range(start, start + options.batch)]
            yield {name: torch.stack([sample[name] for sample in own]) for name in own[0]}

    return run, model, batches()


def iteration(run: Run, model: nn.Module, network: nn.Module) -> Callable[[dict[str, torch.Tensor]], None]:
    """One iteration as the engine does it, growing among it."""
    step, after_warmup = DsrgStep(run.cfg), run.cfg.grow.warmup
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, 1e-4, 0.9)

    def iterate(batch: dict[str, torch.Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss: Any = step(network, batch, after_warmup)["loss"]
        loss.backward()
        optimizer.step()

    return iterate


def took(call: Callable[[], Given]) -> tuple[float, Given]:
    """The processor's seconds of a call, and what it gives."""
    begun = time.process_time()
    found = call()
    return time.process_time() - begun, found


if __name__ == "__main__":
    main()
