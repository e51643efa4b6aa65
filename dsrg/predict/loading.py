"""From a run's folder, or an exported file, to a network that segments photographs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from dsrg import config, distributed, tables
from dsrg.data.classes import read_classes
from dsrg.errors import InputError, reason
from dsrg.files import disk, storage
from dsrg.labels import PRESETS, Classes
from dsrg.models.backbone import load_strictly
from dsrg.models.build import build_deeplab
from dsrg.predict import hub, metadata
from dsrg.predict.segmenter import Segmenter, Settings
from dsrg.run import onnx_network
from dsrg.run.folder import CLASS_LIST
from dsrg.run.gating import Gate
from dsrg.run.networks import deeplab_arguments, new_gate
from dsrg.run.records import RECORD, read_record
from dsrg.run.table import CHECKPOINT, NETWORKS, STAGES, final, predictions_of
from dsrg.schema import Config, Model

WEIGHTS_FILE = "model.safetensors"
"""Name of the weights in an exported folder."""
GATE, BACKBONE = "classifier.", "backbone."
"""Beginnings of the names of a `Gate`'s tensors, and of those of a backbone in a network."""
Network = TypeVar("Network", bound=nn.Module)


def load(
    path: str | Path, device: str = "auto", *, network: str | None = None, engine: str | None = "torch"
) -> Segmenter:
    """A trained network, ready to segment photographs.

    Args:
        path: A run's folder; or a .safetensors file that dsrg export wrote, or the folder that holds it; or
            'hf:owner/name', what dsrg export --push put on the Hugging Face Hub, where 'hf:owner/name@revision' names
            a branch, tag or commit (needs the extra hub).
        device: 'auto' (CUDA where present), 'cpu', 'cuda', 'cuda:1', 'mps'.
        network: 'retrain', 'dsrg' or 'supervised'; None for the retrained network where it is finished, else DSRG's.
        engine: 'torch', 'onnx' or 'auto' (`dsrg.schema.prediction.Inference.engine`); None for the run's own setting.
            The graph for 'onnx' is kept beside the network, in `graphs/`.

    Raises:
        InputError: there is no such network, or not the classifier that gates it, or its classes are not known; or the
            engine is 'onnx', and that is not possible here.
    """
    if hub.is_name(path):
        if network is not None:
            raise InputError(f"network = {network}: {path} holds one network alone; leave the choice out.")
        path = hub.fetch(str(path), WEIGHTS_FILE)
    path = Path(path)
    segmenter = _load(path, device, network)
    folder = (path if path.is_dir() else path.parent) / onnx_network.FOLDER
    segmenter.use_engine(engine or segmenter.engine, folder)
    return segmenter


def _load(path: Path, device: str, network: str | None) -> Segmenter:
    if (path / "config.yaml").is_file():  # before an export that may lie beside it, of an earlier network
        return _from_run(path, device, network)
    exported = path / WEIGHTS_FILE if path.is_dir() else path
    if exported.suffix == ".safetensors" and exported.is_file():
        if network is not None:
            raise InputError(f"network = {network}: {exported} holds one network alone; leave the choice out.")
        return _from_safetensors(exported, device)
    if not path.exists():
        raise InputError(f"{path}: does not exist; give a run's folder or an exported .safetensors file.")
    raise InputError(f"{path}: neither a run's folder, with its config.yaml, nor an exported .safetensors file.")


def _from_run(folder: Path, device: str, network: str | None) -> Segmenter:
    cfg = config.load(folder / "config.yaml", trained=True)
    name = _choose(folder, network)
    classes = _classes(folder, cfg)
    classes.check_masks()
    architecture = deeplab_arguments(cfg.model, len(classes))
    path = folder / STAGES[name].folder / CHECKPOINT
    state = storage.load_network(path)
    source = f"{path} (of {len(classes)} classes, as {classes.source} has them)"
    model = _filled(lambda: build_deeplab(**architecture), _shapes(state), state.__getitem__, source)
    settings = Settings(
        scales=cfg.test.scales,
        size=cfg.test.size,
        mirror=cfg.test.mirror,
        merge=cfg.test.merge,
        crf=cfg.test.crf,
        crf_tags=cfg.crf.tags,
        crf_arguments=cfg.crf.arguments(),
        amp=cfg.amp,
    )
    return Segmenter(
        model,
        classes,
        distributed.pick_device(device),
        settings,
        architecture=architecture,
        record=_record(folder, name, cfg),
        gate=_gate_of_run(folder, cfg, classes) if cfg.test.gate else None,
        engine=cfg.test.engine,
    )


def _gate_of_run(folder: Path, cfg: Config, classes: Classes) -> Gate:
    path = (cfg.shared or folder) / STAGES["classifier"].folder / CHECKPOINT
    if not _trained(path.parent):
        raise InputError(
            f"{path}: is missing or not finished, and test.gate = true needs it; put the run's classifier back, or "
            f"make it with {STAGES['classifier'].command}."
        )
    state = {GATE + key: value for key, value in storage.load_network(path).items()}
    build = functools.partial(new_gate, cfg.classifier, cfg.model.backbone, len(classes), amp=cfg.amp)
    return _filled(build, _shapes(state), state.__getitem__, str(path))


def _trained(folder: Path) -> bool:
    """Whether a stage's network is there; a folder without a record was put there by the user and is finished."""
    record = folder / RECORD
    return (folder / CHECKPOINT).is_file() and (not record.exists() or read_record(record).finished)


def _choose(folder: Path, network: str | None) -> str:
    """The stage whose network is taken."""
    if network is not None and network not in NETWORKS:
        raise InputError(f"network = {network}: is not known; choose one of {', '.join(NETWORKS)}.")

    def trained(name: str) -> bool:
        return _trained(folder / STAGES[name].folder)

    found = final(trained) if network is None else network if trained(network) else None
    if found is not None:
        return found
    wanted = "neither 'retrain' nor 'dsrg'" if network is None else f"'{network}' not"
    raise InputError(f"{folder}: {wanted} finished in this run; run dsrg run-pipeline for it first.")


def _classes(folder: Path, cfg: Config) -> Classes:
    """The run's own class list; a preset; or, for runs from before they had one, the data folder's."""
    own = folder / CLASS_LIST
    if own.is_file():
        return read_classes(own)
    if cfg.data.classes in PRESETS:
        return read_classes(cfg.data.classes)
    theirs = cfg.data.root / cfg.data.classes
    if not theirs.is_file():
        raise InputError(
            f"{own}: does not exist, nor does the data set's own list {theirs}; write the names of the classes there, "
            "one a line, 'background' first."
        )
    return read_classes(theirs)


def _record(folder: Path, network: str, cfg: Config) -> dict[str, Any]:
    """What is known of the training, for model cards: where files of it are missing, less."""
    figures: dict[str, Any] = {}
    predictions = folder / STAGES[predictions_of(network)].folder.format(val=cfg.data.val_split)
    if (predictions / RECORD).exists():
        figures = dict(read_record(predictions / RECORD).figures)
    environment = folder / "environment.json"
    made = disk.read_object(environment, mend="delete it") if environment.exists() else {}
    return {
        "run": cfg.run_dir.name,
        "network": network,
        "data": cfg.data.root.name,
        "train_split": metadata.last_part(cfg.data.train_split),
        "val_split": metadata.last_part(cfg.data.val_split),
        "start": _start(cfg.model),
        "figures": figures,
        "dsrg": made.get("dsrg"),
        "commit": made.get("commit"),
    }


def _start(model: Model) -> str:
    """Where the backbone's training started, for model cards."""
    if model.weights is None:
        return "random weights"
    if model.weights not in tables.NAMED_WEIGHTS:
        return f"the weights file {Path(model.weights).name}"
    # timm's networks may have been trained on more than ImageNet
    return "timm's weights" if model.backbone.startswith("timm/") else "torchvision's ImageNet weights"


def _from_safetensors(path: Path, device: str) -> Segmenter:
    disk.open_regular(path, "network").close()
    try:
        with safe_open(path, framework="pt") as file:
            said = metadata.parse(file.metadata() or {}, str(path))
            own, gated = _split(file.keys(), has_gate=said.classifier is not None)

            def filled(build: Callable[[], Network], names: Mapping[str, str]) -> Network:
                shapes = {key: file.get_slice(name).get_shape() for key, name in names.items()}
                return _filled(build, shapes, lambda key: file.get_tensor(names[key]), str(path))

            model = filled(lambda: build_deeplab(**said.architecture), own)
            gate = None if said.classifier is None else filled(functools.partial(_gate_of, said, str(path)), gated)
    except (SafetensorError, OSError, RuntimeError, TypeError) as error:  # the last two: kinds of numbers unknown here
        raise InputError(f"{path}: not a readable safetensors file ({reason(error)}); export it anew.") from None
    return Segmenter(
        model,
        Classes(said.names, str(path)),
        distributed.pick_device(device),
        said.settings,
        architecture=said.architecture,
        record=said.record,
        gate=gate,
    )


def _gate_of(said: metadata.Metadata, source: str) -> Gate:
    """The gate of an exported file, without its weights."""
    assert said.classifier is not None
    backbone, amp = said.architecture["backbone"], said.settings.amp
    try:
        return new_gate(said.classifier, backbone, len(said.names), amp=amp)
    except InputError as error:  # a backbone and a head, each possible, that do not go together
        raise InputError(f"{source}: {error}") from None


def _split(names: Iterable[str], *, has_gate: bool) -> tuple[dict[str, str], dict[str, str]]:
    """From the segmentation network's and the gate's own names of their tensors to those in an exported file. A gate
    without a backbone shares the segmentation network's."""
    own: dict[str, str] = {}
    gated: dict[str, str] = {}
    for name in names:
        (gated if has_gate and name.startswith(GATE) else own)[name] = name
    if has_gate and not any(name.startswith(GATE + BACKBONE) for name in gated):
        gated |= {GATE + name: name for name in own if name.startswith(BACKBONE)}
    return own, gated


def _filled(
    build: Callable[[], Network],
    shapes: Mapping[str, Sequence[int]],
    tensor: Callable[[str], torch.Tensor],
    source: str,
) -> Network:
    """A network with a file's tensors, whose shapes are compared before either takes memory.

    Raises:
        InputError: a name is missing or unknown, or a shape differs.
    """
    with torch.device("meta"):
        load_strictly(build(), {key: torch.empty(tuple(shape)) for key, shape in shapes.items()}, source)
    network = build()
    load_strictly(network, {key: tensor(key) for key in shapes}, source)
    return network


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, Sequence[int]]:
    return {key: value.shape for key, value in state.items()}


def state_of(segmenter: Segmenter) -> dict[str, torch.Tensor]:
    """The networks' tensors, on the CPU, each in memory of its own, as safetensors needs them.

    The gate's names begin with GATE; a backbone that both networks have is there once, as the segmentation network's.
    """
    found = dict(segmenter.model.state_dict())
    if segmenter.gate is not None:
        theirs, shared = segmenter.gate.state_dict(), shares_backbone(segmenter)
        found |= {key: theirs[key] for key in theirs if not (shared and key.startswith(GATE + BACKBONE))}
    return {key: value.detach().cpu().contiguous().clone() for key, value in found.items()}


def shares_backbone(segmenter: Segmenter) -> bool:
    """Whether the gate's backbone has the names and bits of the segmentation network's, as one that was frozen whole
    has; output strides may differ."""
    if segmenter.gate is None:
        return False
    ours, theirs = (
        {key: value for key, value in network.state_dict().items() if key.startswith(BACKBONE)}
        for network in (segmenter.model, segmenter.gate.classifier)
    )
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
