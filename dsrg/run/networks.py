"""The networks of a run, untrained and trained."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from dsrg.files import storage
from dsrg.models.backbone import load_strictly
from dsrg.models.build import AnyClassifier, Head, build_classifier, build_deeplab, load_backbone_from
from dsrg.models.deeplab import DeepLab
from dsrg.run import inference
from dsrg.run.folder import Run
from dsrg.run.gating import Gate
from dsrg.run.onnx_network import FOLDER, OnnxNetwork, on_onnx, wanted
from dsrg.run.table import CHECKPOINT
from dsrg.schema import Classifier as ClassifierSettings
from dsrg.schema import Inference, Model


def new_classifier(run: Run) -> AnyClassifier:
    """The classifier before its training."""
    settings = run.cfg.model
    return build_classifier(
        **_classifier_arguments(run.cfg.classifier, run.cfg.model.backbone, len(run.classes)),
        output_stride=run.cfg.classifier.output_stride,
        weights=settings.weights,
        freeze_bn=settings.freeze_batch_norm,
        freeze_stages=settings.freeze_stages,
    )


def trained_classifier(run: Run) -> AnyClassifier:
    """The classifier after its training, in eval mode at the CAMs' output stride, on the run's device."""
    stride = run.cfg.cam.output_stride or run.cfg.classifier.output_stride
    arguments = _classifier_arguments(run.cfg.classifier, run.cfg.model.backbone, len(run.classes))
    model = build_classifier(**arguments, output_stride=stride)
    load_trained(run, "classifier", model)
    return model.to(run.device).to(memory_format=torch.channels_last).eval()


def new_gate(settings: ClassifierSettings, backbone: str, num_classes: int, *, amp: bool = False) -> Gate:
    """The gate around a classifier without its trained weights."""
    arguments = _classifier_arguments(settings, backbone, num_classes)
    return Gate(build_classifier(**arguments, output_stride=settings.output_stride), settings, amp=amp)


def _classifier_arguments(settings: ClassifierSettings, backbone: str, num_classes: int) -> dict[str, Any]:
    """What the classifiers in training, behind the maps and in the gate have in common."""
    return {
        "backbone": backbone,
        "num_classes": num_classes,
        "head": Head(
            settings.head,
            settings.pooling,
            conv=settings.conv,
            convs=settings.convs,
            channels=settings.acol_channels,
            threshold=settings.acol_threshold,
        ),
    }


def new_deeplab(run: Run, freeze_stages: int | None = None) -> DeepLab:
    """The segmentation network before its training, its backbone at ImageNet's or the classifier's weights.

    Args:
        run: The run.
        freeze_stages: Leading backbone stages that do not train; None for model.freeze_stages.
    """
    settings = run.cfg.model
    model = build_deeplab(
        **deeplab_arguments(settings, len(run.classes)),
        weights=settings.weights,
        freeze_bn=settings.freeze_batch_norm,
        freeze_stages=settings.freeze_stages if freeze_stages is None else freeze_stages,
    )
    if settings.init == "classifier":
        path = run.require("classifier") / CHECKPOINT
        load_backbone_from(model, storage.load_network(path), str(path))
    return model


def deeplab_arguments(settings: Model, num_classes: int) -> dict[str, Any]:
    """Keyword arguments of `build_deeplab` that make the network, without what only its training needs."""
    return {
        "backbone": settings.backbone,
        "num_classes": num_classes,
        "output_stride": settings.output_stride,
        "rates": settings.aspp_rates,
        "channels": settings.aspp_channels,
        "dropout": settings.dropout,
        "pool_features": settings.pool_features,
        "neck": settings.neck,
        "standardise": settings.standardise,
    }


def trained_deeplab(run: Run, name: str) -> DeepLab:
    """The network that the stage 'dsrg', 'retrain' or 'supervised' trained, in eval mode, on the run's device."""
    model = build_deeplab(**deeplab_arguments(run.cfg.model, len(run.classes)))
    load_trained(run, name, model)
    return model.to(run.device).to(memory_format=torch.channels_last).eval()


def load_trained(run: Run, name: str, model: nn.Module) -> None:
    """Load the weights that a stage trained.

    Raises:
        InputError: the stage is not finished, or its checkpoint is another network's.
    """
    path = run.require(name) / CHECKPOINT
    load_strictly(model, storage.load_network(path), str(path))


def probabilities_of(run: Run, model: DeepLab, settings: Inference) -> inference.ProbabilitiesOf:
    """A function from pixels (3, H, W) uint8 to probabilities (C, H, W), with the scales of `settings`."""
    return functools.partial(
        inference.predict_probs,
        on_engine(run, model, settings.engine) or model,
        scales=settings.scales,
        size=settings.size,
        mirror=settings.mirror,
        merge=settings.merge,
        amp=run.cfg.amp,
    )


def on_engine(run: Run, model: nn.Module, engine: str) -> OnnxNetwork | None:
    """The network's graph on ONNX Runtime where the engine is 'onnx'. With 'auto' a run computes in PyTorch: its files
    must not depend on what is installed.

    Raises:
        InputError: it cannot be had here.
    """
    if engine != "onnx" or not wanted(engine, run.device, amp=run.cfg.amp):
        return None
    return on_onnx(model, run.directory / FOLDER)


def predictor(run: Run, network: str) -> inference.ProbabilitiesOf:
    """`probabilities_of` the network that the stage `network` trained, as the section test says: gated where it does.

    Raises:
        InputError: the stage, or the classifier where it gates, is not finished.
    """
    probs_of = probabilities_of(run, trained_deeplab(run, network), run.cfg.test)
    if not run.cfg.test.gate:
        return probs_of
    gate = new_gate(run.cfg.classifier, run.cfg.model.backbone, len(run.classes), amp=run.cfg.amp)
    load_trained(run, "classifier", gate.classifier)
    gate.to(run.device).to(memory_format=torch.channels_last).eval()
    gate.graph = on_engine(run, gate.classifier, run.cfg.test.engine)
    return lambda pixels: gate(probs_of(pixels)[None], pixels[None])[0]
