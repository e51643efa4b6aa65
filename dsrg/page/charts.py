"""Line charts as plain numbers in 0..1, for the page's template to draw: ticks, paths, and the values behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SIDE = 1000
"""Width and height of a chart's own units; the page stretches them to its width."""
MOST_POINTS = 400
"""Points of a line, at most: more than a screen shows, and the page stays small."""
SMOOTHED_FROM = 40
"""Values from which on a line gets a running mean."""
WINDOW = 12
"""A running mean is over a WINDOW-th of the values."""
DOTTED = 30
"""Values up to which each has a dot."""
TABLE_ROWS = 60
"""Rows of a chart's table, at most."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    colour: int
    """Number of its colour on the page, from 1."""
    values: Sequence[float]
    """Finite, one for each of the chart's positions."""
    smoothed: bool = False
    """Draw the running mean strongly and the values faintly, where there are enough of them."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    place: float
    """In percent of the axis."""
    text: str


@dataclass(frozen=True)
class Stroke:
    """A line as it is drawn."""

    name: str
    colour: int
    path: str
    """Of SVG, in a square of SIDE units."""
    mean: str
    """The running mean, likewise; empty where there is none."""
    dots: str
    """A dot on each value, likewise; empty where there are many."""


@dataclass(frozen=True)
class Chart:
    """A line chart, ready to be drawn."""

    title: str
    x_label: str
    y_label: str
    summary: str
    """What a screen reader says in place of the picture."""
    strokes: Sequence[Stroke]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    marks: Sequence[Tick]
    """Upright lines with words beside them."""
    data: dict[str, object]
    """What the page's script shows under the pointer: positions and values."""
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The table in place of the picture: position, and a value of each line."""
    thinned: bool
    """Whether the table leaves positions out."""
    window: int
    """Values in a running mean; 0 without one."""


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    positions: Sequence[float],
    lines: Sequence[Line],
    *,
    steps: int = 4,
    percent: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> Chart:
    """Work a line chart out. Both axes start at 0.

    Args:
        title: Name of the chart.
        x_label, y_label: Names of the axes, with units.
        positions: (N,) ascending, not negative; N > 0.
        lines: (N,) values each, not negative.
        steps: Of the values' axis, which ends at the largest value, rounded up; at most.
        percent: Show the values, shares in 0..1, as percentages, on an axis that ends at 100 %.
        marks: Positions to mark and the words beside them.

    Raises:
        ValueError: a line has not as many values as there are positions, or there are none.
    """
    if not len(positions) or any(len(line.values) != len(positions) for line in lines):
        raise ValueError(f"{title}: each line needs one value for each of the {len(positions)} positions.")
    right = float(positions[-1]) or 1.0
    highest = max((max(line.values) for line in lines), default=0.0)
    y_steps = [place / steps for place in range(steps + 1)] if percent else ticks(highest, steps)
    ceiling = y_steps[-1] or 1.0
    kept = thin(len(positions), MOST_POINTS)
    window = max(3, len(positions) // WINDOW) if len(positions) >= SMOOTHED_FROM else 0
    x = [position / right for position in positions]
    say = (lambda value: f"{100 * value:.3g} %") if percent else number
    shown = thin(len(positions), TABLE_ROWS)
    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        summary=_summary(title, x_label, positions, lines, say),
        strokes=[_stroke(line, x, ceiling, kept, window) for line in lines],
        x_ticks=[Tick(100 * value / right, number(value)) for value in ticks(right, 5) if value <= right],
        y_ticks=[Tick(100 * value / ceiling, say(value)) for value in y_steps],
        marks=[Tick(100 * position / right, words) for position, words in marks if 0 < position <= right],
        data={
            "right": right,
            "x": [positions[index] for index in kept],
            "lines": [
                {"name": line.name, "colour": line.colour, "y": [float(f"{line.values[i]:.5g}") for i in kept]}
                for line in lines
            ],  # as many digits as the page shows
            "percent": percent,
        },
        names=[line.name for line in lines],
        rows=[[number(positions[index]), *(say(line.values[index]) for line in lines)] for index in shown],
        thinned=len(shown) < len(positions),
        window=window if any(line.smoothed for line in lines) else 0,
    )


def _stroke(line: Line, x: Sequence[float], ceiling: float, kept: Sequence[int], window: int) -> Stroke:
    y = [value / ceiling for value in line.values]
    smooth = _path(x, running_mean(y, window), kept) if line.smoothed and window else ""
    dots = "".join(_path([at], [value], [0]) for at, value in zip(x, y, strict=True)) if len(x) <= DOTTED else ""
    return Stroke(line.name, line.colour, _path(x, y, kept), smooth, dots)


def ticks(highest: float, wanted: int) -> list[float]:
    """Round values from 0 to `highest` or just beyond it, apart by 1, 2 or 5 times a power of ten.

    Args:
        highest: Finite, not negative; 0 gives [0, 1].
        wanted: Steps, at most.
    """
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / wanted))
    step = next((factor * power for factor in (1, 2, 5) if highest / (factor * power) <= wanted), 10 * power)
    count = math.ceil(highest / step - 1e-9)
    return [step * place for place in range(count + 1)]


def thin(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0..count-1, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, most).round()]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of the `window` values around each one; of fewer at the ends, as many on either side.

    Args:
        values: (N,).
        window: Odd, or the next odd number is taken.
    """
    total = np.concatenate([[0.0], np.cumsum(np.asarray(values, np.float64))])
    place = np.arange(len(values))
    half = np.minimum.reduce([np.full(len(values), window // 2), place, len(values) - 1 - place])
    means = (total[place + half + 1] - total[place - half]) / (2 * half + 1)
    return [float(value) for value in means]


def number(value: float) -> str:
    """A number in at most four significant digits: 0.00025, 12,000, 1.234."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.1e}" if 0 < abs(value) < 1e-4 else f"{value:.4g}"


def _path(x: Sequence[float], y: Sequence[float], kept: Sequence[int]) -> str:
    points = [f"{SIDE * x[index]:.1f},{SIDE * (1 - y[index]):.1f}" for index in kept]
    # A single value is a line of no length, which round ends make a dot.
    return "M" + "L".join(points if len(points) > 1 else points * 2)


def _summary(
    title: str, x_label: str, positions: Sequence[float], lines: Sequence[Line], say: Callable[[float], str]
) -> str:
    ends = "; ".join(f"{line.name} from {say(line.values[0])} to {say(line.values[-1])}" for line in lines)
    return f"{title}, {x_label} {number(positions[0])} to {number(positions[-1])}: {ends}."
