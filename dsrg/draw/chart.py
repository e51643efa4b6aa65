"""Charts of plain numbers, written as PNG."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Mapping, Sequence
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
    _write(path, [bar.title for bar in bars] + [label, note], lambda: _figure(bars, label, note))


def draw_curves(
    path: Path,
    positions: Sequence[str],
    curves: Mapping[str, Sequence[Sequence[float]]],
    levels: Mapping[str, float],
    labels: tuple[str, str],
) -> None:
    """Write a chart of curves through the means of measurements, each measurement a dot, and of levels to reach.

    Args:
        path: The PNG.
        positions: What the values stand over, evenly spaced.
        curves: By name, the measurements at each position; none leaves a gap.
        levels: By name, heights of dashed lines.
        labels: Names of the two axes.
    """
    _write(path, [*curves, *levels, *labels], lambda: _curves(positions, curves, levels, labels))


def _write(path: Path, texts: Sequence[str], draw: Callable[[], Figure]) -> None:
    buffer = io.BytesIO()
    # `$` in a name is no formula.
    with rc_context({"font.family": lettering.families(texts), "text.parse_math": False}):
        draw().savefig(buffer, format="png")
    disk.write_bytes(path, buffer.getvalue())


def _curves(
    positions: Sequence[str],
    curves: Mapping[str, Sequence[Sequence[float]]],
    levels: Mapping[str, float],
    labels: tuple[str, str],
) -> Figure:
    figure = Figure(SIZE, DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(curves.items()):
        shift, colour = 0.03 * number, f"C{number}"  # dots of two curves do not hide each other
        there = [place for place, found in enumerate(values) if found]
        means = [statistics.fmean(values[place]) for place in there]
        axes.plot([place + shift for place in there], means, "-", color=colour, label=lettering.readable(name))
        dots = [(place + shift, value) for place in there for value in values[place]]
        axes.plot(*zip(*dots, strict=True) if dots else ((), ()), "o", markersize=4, color=colour, alpha=0.6)
    for name, height in levels.items():
        axes.axhline(height, linestyle="--", color="0.4", label=lettering.readable(name))
    axes.set_xticks(range(len(positions)), positions)
    axes.set_xlabel(lettering.readable(labels[0]))
    axes.set_ylabel(lettering.readable(labels[1]))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    return figure


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
