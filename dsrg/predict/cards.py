"""The model card of an exported network: what it is, how well it does, how to load it.

It begins with the front matter that the Hugging Face Hub reads (https://huggingface.co/docs/hub/model-cards): YAML
between two lines of dashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from dsrg.predict import loading
from dsrg.predict.segmenter import Segmenter

LICENCE = "other"
"""The Hub's name of every licence that its list lacks, of one that is not known too."""
TASK = "image-segmentation"
WAYS = {
    "retrain": "trained on pseudo-labels that DSRG made from image-level labels",
    "dsrg": "trained from image-level labels by Deep Seeded Region Growing (Huang et al., CVPR 2018)",
    "supervised": "trained on ground-truth masks",
}


def card(segmenter: Segmenter, formats: Sequence[str], usage: Sequence[str], licence: str = LICENCE) -> str:
    """The card, in Markdown.

    Args:
        segmenter: The network.
        formats: Those of its files.
        usage: Lines on how each file is loaded.
        licence: The weights' licence, by the Hub's name.
    """
    record, architecture, settings = segmenter.record, segmenter.architecture, segmenter.settings
    rates = ", ".join(map(str, architecture["rates"]))
    lines = [
        "---",
        yaml.safe_dump(front_matter(segmenter, formats, licence), sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {_title(segmenter)}",
        "",
        f"Semantic segmentation of photographs into {len(segmenter.classes)} classes, {WAYS[record['network']]}.",
        "",
        f"- Architecture: DeepLab-ASPP on {architecture['backbone']}, output stride {architecture['output_stride']}, "
        f"rates {rates}, {architecture['channels'] or 'no'} channels in fc6 and fc7",
        f"- Classes, in the order of the indices: {', '.join(segmenter.classes.names)}",
        f"- Training data: {record['data']}, split {record['train_split']}; the backbone started at {record['start']}",
        f"- Settings: scales {', '.join(map(str, settings.scales))} of "
        f"{'the photograph' if settings.size is None else f'a long side of {settings.size} pixels'}, "
        f"mirror image {_yes(settings.mirror)}, merged as {settings.merge}, CRF {_yes(settings.crf)}",
        *_gate_line(segmenter),
        f"- Made in the run {record['run']}, with dsrg {record['dsrg'] or 'of unknown version'}, "
        f"commit {record['commit'] or 'unknown'}",
        "",
        "## Figures",
        "",
        *_figures(record),
        "",
        "## Use",
        "",
        *usage,
        "## Licence",
        "",
        *([] if licence == LICENCE else [f"Licence of these weights, as their author says: {licence}.", ""]),
        "dsrg's code has the MIT licence. These weights were learnt from the photographs named above and started at "
        f"{record['start']}: whether they may be used or passed on depends on the terms of both, which dsrg does not "
        "know.",
    ]
    return "\n".join(lines) + "\n"


def front_matter(segmenter: Segmenter, formats: Sequence[str], licence: str = LICENCE) -> dict[str, Any]:
    """What the Hub reads of a network, as plain values; its figure where it was measured."""
    record = segmenter.record
    tags = ["semantic-segmentation", "deeplab", *(name for name in ("onnx", "safetensors") if name in formats)]
    weak = [] if record["network"] == "supervised" else ["weakly-supervised-segmentation"]
    said: dict[str, Any] = {
        "license": licence,
        "library_name": "dsrg",
        "pipeline_tag": TASK,
        "tags": [*tags, *weak],
    }
    total = _mean_iou(record)
    if total is not None:
        dataset = {"type": record["data"], "name": record["data"], "split": record["val_split"]}
        metric = {"type": "mean_iou", "name": "mIoU", "value": round(total, 4)}
        result = {"task": {"type": TASK}, "dataset": dataset, "metrics": [metric]}
        said["metrics"] = ["mean_iou"]
        said["model-index"] = [{"name": _title(segmenter), "results": [result]}]
    return said


def _title(segmenter: Segmenter) -> str:
    return f"{segmenter.record['data']}: DeepLab-ASPP on {segmenter.architecture['backbone']}"


def _mean_iou(record: dict[str, Any]) -> float | None:
    total = record["figures"].get(f"{record['network']}_miou")
    return float(total) if isinstance(total, float | int) else None


def _gate_line(segmenter: Segmenter) -> list[str]:
    if segmenter.gate is None:
        return []
    backbone = "the same backbone" if loading.shares_backbone(segmenter) else "a backbone of its own"
    return [
        "- Gate: each foreground class's probability is multiplied by min(1, p / 0.5), with p that of a classifier on "
        f"{backbone}, which sees the whole photograph"
    ]


def _figures(record: dict[str, Any]) -> list[str]:
    total = _mean_iou(record)
    if total is None:
        return ["Not measured: there were no ground-truth masks, or the run's folder no longer has its figures."]
    by_class = record["figures"].get(f"{record['network']}_iou", {})
    rows = [
        f"| {name} | {f'{value:.3f}' if isinstance(value, float | int) else 'absent'} |"
        for name, value in (by_class.items() if isinstance(by_class, dict) else ())
    ]
    head = f"On {record['data']}, split {record['val_split']}, with the settings above:"
    return [head, "", "| class | IoU |", "|---|---:|", *rows, f"| **mean** | **{total:.3f}** |"]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
