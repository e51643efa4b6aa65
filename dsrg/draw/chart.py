"""Charts of plain numbers, written as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dsrg.draw import lettering
from dsrg.files import disk

SIZE = (8.0, 4.5)
"""Width and height of a chart in inches, at DPI pixels each."""
DPI = 120
COLOURS = ("#4878a8", "#9a9a9a")
"""Of the bars, and of the bars that are set apart."""


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart."""

    title: str
    values: Sequence[float]
    """Single measurements, drawn as dots; none leaves the line empty."""
    mean: float | None
    """Length of the bar."""
    deviation: float | None
    """Half the length of the error bar; None for no error bar."""
    apart: bool = False
    """Draw in another colour: it is not measured as the others are."""


def draw_bars(path: Path, bars: Sequence[Bar], label: str, note: str) -> None:
    """Write a horizontal bar chart, the first bar at the top, with error bars, single values, means in figures.

    Args:
        path: The PNG.
        bars: What to draw; none of the values is negative.
        label: Name of the values' axis.
        note: Small print below it.
    """
    texts = [bar.title for bar in bars] + [label, note]
    buffer = io.BytesIO()
    # `$` in a name is no formula.
    with rc_context({"font.family": lettering.families(texts), "text.parse_math": False}):
        _figure(bars, label, note).savefig(buffer, format="png")
    disk.write_bytes(path, buffer.getvalue())


def _figure(bars: Sequence[Bar], label: str, note: str) -> Figure:
    # Without pyplot there is no state that other charts of the process would share, and no window system is asked for.
    figure = Figure(SIZE, DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ends = [0.0]
    for place, bar in enumerate(bars):
        if bar.mean is None:
            axes.text(0.01, place, "-", transform=axes.get_yaxis_transform(), va="center", color="0.4")
            continue
        axes.barh(place, bar.mean, 0.62, color=COLOURS[bar.apart], alpha=0.75)
        if bar.deviation is not None:
            axes.errorbar(bar.mean, place, xerr=bar.deviation, color="black", capsize=4, linewidth=1.2)
        below = [place + 0.2] * len(bar.values)  # beside the error bar, not on it
        axes.plot(bar.values, below, "o", markersize=4, color="white", markeredgecolor="black")
        ends.append(max(bar.mean + (bar.deviation or 0), *bar.values))
        # Beyond the dots and the error bar, for nothing to cross the figure.
        axes.annotate(f"{bar.mean:.3f}", (ends[-1], place), (7, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), [lettering.readable(bar.title) for bar in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)  # empty lines included
    axes.set_xlim(0, 1.12 * max(ends) or 1)
    axes.set_xlabel("\n".join(map(lettering.readable, (label, note))))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
