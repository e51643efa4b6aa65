"""The parts of the page of dsrg demo-app that are HTML: its legend, its colour scale, its style."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence

import numpy as np
from matplotlib import colormaps

from dsrg.draw.heatmap import COLOUR_MAP
from dsrg.labels import BACKGROUND, palette

STYLE = """
.gradio-container {max-width: 1500px !important}
#examples .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr)) !important}
#examples .thumbnail-lg {aspect-ratio: 1; height: auto !important}
#file .error::after {content: ": the file is far too large, or the connection broke"}
.legend table {border-collapse: collapse; width: 100%; margin: 0; border: none}
.legend td, .legend th {padding: 1px 8px; text-align: right; border: none; font-variant-numeric: tabular-nums}
.legend td:first-child, .legend th:first-child {text-align: left}
.legend tr {border: none; background: none}
.legend i {display: inline-block; width: 1em; height: 1em; margin-right: .6em; vertical-align: -.12em;
  border: 1px solid #8888}
.scale {display: flex; align-items: center; gap: .6em; font-size: .85em; opacity: .85}
.scale i {flex: 1; height: .7em; border-radius: 3px}
"""
"""CSS of the page."""
Shares = tuple[np.ndarray, float]
"""The share of the pixels that each class has, (C,) in [0, 1], and that of unlabelled ones."""


def legend(names: Sequence[str], labels: Collection[int], columns: Sequence[tuple[str, Shares | None]]) -> str:
    """A table of the classes with their colours and their shares of the pixels.

    Args:
        names: Of the C classes, background first.
        labels: Classes to show even where no pixel has them; background is always shown, others where a pixel has them.
        columns: Titles and shares; None leaves a column out.
    """
    known = [(title, shares) for title, shares in columns if shares is not None]
    rows = [
        (palette()[label], name, [float(shares[0][label]) for _, shares in known])
        for label, name in enumerate(names)
        if label == BACKGROUND or label in labels or any(shares[0][label] > 0 for _, shares in known)
    ]
    if any(shares[1] > 0 for _, shares in known):
        rows.append((np.full(3, 255), "unlabelled", [shares[1] for _, shares in known]))
    head = "".join(f"<th>{title}</th>" for title, _ in known)
    body = "".join(
        f"<tr><td><i style='background: rgb({', '.join(map(str, colour))})'></i>{html.escape(name)}</td>"
        + "".join(f"<td>{percent(value)}</td>" for value in values)
        + "</tr>"
        for colour, name, values in rows
    )
    return f"<table><tr><th>share of the pixels</th>{head}</tr>{body}</table>"


def percent(share: float) -> str:
    """A share in whole per cent; what is neither nothing nor all never reads as such."""
    if 0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def colour_scale() -> str:
    """What the colours of the heat maps mean."""
    stops = colormaps[COLOUR_MAP](np.linspace(0, 1, 9), bytes=True)[:, :3].tolist()
    gradient = ", ".join(f"rgb({red}, {green}, {blue})" for red, green, blue in stops)
    return (
        f"<div class='scale'><span>0</span><i style='background: linear-gradient(to right, {gradient})'></i>"
        "<span>1, the largest in the photograph</span></div>"
    )
