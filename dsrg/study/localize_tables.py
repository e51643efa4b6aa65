"""The tables of localisation as text: classification, localisation by method, and the choice of five boxes.

They are tables 1 to 3 of Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, with the
measures of Choe et al. 2020 beside the second's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsrg.study.localization import TOPS

TOP = TOPS[-1]
CLASSIFICATION = {f"top{k}_classification_error": f"top-{k} error" for k in TOPS}
LOCALIZATION = {
    "top1_localization_error": "top-1 error",
    "top5_localization_error": "top-5 error",
    "gt_known_accuracy": "GT-known",
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
    "pxap": "PxAP",
}
HEURISTIC = {
    "top5_localization_error": "top-5 error, a box for each of five classes",
    "top5_heuristic_error": "five boxes for three classes",
}


def tables(results: Mapping[str, Any]) -> str:
    """The content of localize.json as three Markdown tables, and what their figures are."""
    rows = results["rows"]
    networks = list({row["network"]: row for row in rows}.values())  # a network names alike whatever the method
    parts = [
        f"**Classification error**\n\n{_table(networks, ['network'], CLASSIFICATION)}",
        f"**Localisation**\n\n{_table(rows, ['network', 'method'], LOCALIZATION)}",
        f"**Localisation, boxes chosen by the heuristic**\n\n{_table(rows, ['network', 'method'], HEURISTIC)}",
        " ".join(_remarks(results)),
    ]
    return "\n\n".join(parts)


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str], columns: Mapping[str, str]) -> str:
    lines = ["| " + " | ".join([*names, *columns.values()]) + " |", "|---" * len(names) + "|" + "---:|" * len(columns)]
    for row in rows:
        values = [row.get(key) for key in columns]
        cells = ["-" if value is None or value != value else f"{value:.3f}" for value in values]
        lines.append("| " + " | ".join([*(row[name] for name in names), *cells]) + " |")
    return "\n".join(lines)


def _remarks(results: Mapping[str, Any]) -> Iterator[str]:
    rows, count = results["rows"], results["photographs"]
    if results["truth"] is None:
        yield f"{count} photographs of the split {results['split']}; without masks or annotations nothing is measured."
        return
    measured = min(row["measured"] for row in rows)
    yield f"{measured} of the {count} photographs of the split {results['split']} have a true box"
    yield {"annotations": "(XML annotations).", "masks": "(masks: one a class, around all of its objects)."}[
        results["truth"]
    ]
    thresholds = ", ".join(f"{value:g}" for value in sorted({row["threshold"] for row in rows}))
    yield f"Boxes are cut at {thresholds} of the map's maximum, the thresholds of MaxBoxAcc and V2 by the ground truth."
    tight = ", ".join(f"{value:g}" for value in sorted({row["tight_threshold"] for row in rows}))
    yield f"The heuristic gives the two likeliest classes a second box, cut at {tight}, and the third its one."
    if results["classes"] <= TOP:
        yield f"With {results['classes']} classes the top {TOP} are all of them."
    if all(row.get("pxap") is None or row["pxap"] != row["pxap"] for row in rows):
        yield "PxAP needs masks."
