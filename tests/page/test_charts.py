"""Ticks, running means, thinning and paths of the report's charts, against naive versions."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsrg.page.charts import SIDE, Line, line_chart, number, running_mean, thin, ticks

NUMBERS = st.floats(1e-6, 1e6)


@given(NUMBERS, st.integers(1, 8))
def test_ticks_are_round_few_and_reach_just_beyond(highest: float, wanted: int) -> None:
    found = ticks(highest, wanted)
    step = found[1]
    assert found[0] == 0
    assert len(found) - 1 <= wanted
    assert np.allclose(np.diff(found), step)
    assert f"{step:e}"[:8] in ("1.000000", "2.000000", "5.000000")
    assert found[-1] >= highest * (1 - 1e-8)
    assert found[-1] - step < highest


def test_ticks_of_nothing() -> None:
    assert ticks(0, 4) == [0, 1]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(1, 12))
def test_running_mean_is_over_as_many_on_either_side(values: list[float], window: int) -> None:
    expected = []
    for place in range(len(values)):
        half = min(window // 2, place, len(values) - 1 - place)
        expected.append(np.mean(values[place - half : place + half + 1]))
    assert np.allclose(running_mean(values, window), expected)


@given(st.integers(1, 5000), st.integers(2, 400))
def test_thinning_keeps_both_ends(count: int, most: int) -> None:
    kept = thin(count, most)
    assert (kept[0], kept[-1], len(kept)) == (0, count - 1, min(count, most))
    assert all(a < b for a, b in itertools.pairwise(kept))


def points(path: str) -> np.ndarray:
    """The corners of a path, x and y in 0..1 from the lower left."""
    found = np.array([[float(part) for part in pair.split(",")] for pair in re.split("[ML]", path) if pair])
    return np.stack([found[:, 0], SIDE - found[:, 1]], axis=1) / SIDE


def test_paths_hold_the_values() -> None:
    chart = line_chart("t", "iteration", "loss", [10, 20, 40], [Line("loss", 1, [3.0, 0.0, 1.5])])
    assert [tick.text for tick in chart.y_ticks] == ["0", "1", "2", "3"]
    assert np.allclose(points(chart.strokes[0].path), [(0.25, 1), (0.5, 0), (1, 0.5)])
    assert [tick.place for tick in chart.x_ticks] == [0, 25, 50, 75, 100]
    assert chart.rows == [["10", "3"], ["20", "0"], ["40", "1.5"]]
    assert chart.summary == "t, iteration 10 to 40: loss from 3 to 1.5."
    assert (chart.thinned, chart.window, chart.strokes[0].mean) == (False, 0, "")
    assert np.allclose(points(chart.strokes[0].dots)[::2], [(0.25, 1), (0.5, 0), (1, 0.5)])


def test_a_single_value_is_a_dot_and_percentages_keep_their_scale() -> None:
    chart = line_chart("t", "i", "%", [20], [Line("a", 1, [0.5])], percent=True, marks=[(10, "m"), (30, "n")])
    assert np.allclose(points(chart.strokes[0].path), [(1, 0.5), (1, 0.5)])
    assert [tick.text for tick in chart.y_ticks] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert [(mark.place, mark.text) for mark in chart.marks] == [(50, "m")]  # beyond the axis there is nothing to mark


def test_long_logs_are_thinned_and_have_a_running_mean() -> None:
    values = [float(place % 2) for place in range(1000)]
    chart = line_chart("t", "i", "l", list(range(1, 1001)), [Line("a", 1, values, smoothed=True)])
    assert len(points(chart.strokes[0].path)) == 400
    assert chart.strokes[0].dots == ""
    assert chart.window == 83
    assert np.allclose(points(chart.strokes[0].mean)[100:300, 1], 0.5, atol=0.02)
    assert (len(chart.rows), chart.thinned) == (60, True)


def test_numbers_as_one_reads_them() -> None:
    assert [number(value) for value in (0, 12000, 0.00025, 1.23456, 2.5e-7)] == [
        *("0", "12,000", "0.00025", "1.235", "2.5e-07")
    ]


def test_lines_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="one value for each of the 2 positions"):
        line_chart("t", "i", "l", [1, 2], [Line("a", 1, [1.0])])
