"""Checks of the exercises about seconds and prices."""

from __future__ import annotations

import pandas

from helpers.lessons.exercises import checks, require
from helpers.timing import Measurement
from labs.forecast.published import forecast_row, read_published_seconds
from labs.forecast.rates import read_constants

# 50 steps in half precision at 512 x 512 pixels; an L4 takes three times as long.
IMPOSSIBLE = {"gpu": "L4", "seconds": 1.2, "source": "made up for this exercise"}


def claimed_times() -> pandas.DataFrame:
    """Return three published times of 50 steps, and a claim that is impossible, as rows A to D."""
    alike = "batch_size == 1 and steps >= 50 and height == 512 and dtype == 'float16'"
    alike += " and attention == 'sdpa' and not compiled and timed == 'call'"
    rows = read_published_seconds().query(alike).drop_duplicates("gpu")
    rows = rows.set_index("gpu", drop=False)
    claim = rows.loc["V100-PCIE-16GB"].to_dict() | IMPOSSIBLE
    measured = rows.loc[["V100-PCIE-16GB", "A100-SXM4-80GB", "RTX 3090"]]
    four = [measured[:1], pandas.DataFrame([claim]), measured[1:]]
    return pandas.concat(four).set_axis(list("ABCD"))


@checks(str, "a row's name")
def impossible_figure(answer: str, figures: pandas.DataFrame) -> str:
    """Is this row of `claimed_times()` impossible: less than half of the least forecast?"""
    row = figures.loc[answer]
    share = row["seconds"] / forecast_row(row.to_dict(), read_constants()["all"])[0]
    claim = f"{answer}, {row['seconds']:.3g} s, is {share:.2g} times the least that is forecast"
    require(share < 0.5, f"{claim}, which is possible.")
    return f"{claim}."


@checks(float, "a number of seconds, such as 1.5")
def predicted_seconds(answer: float, measurement: Measurement) -> str:
    """Are the seconds of the whole call within half of what was measured?"""
    error = answer / measurement.seconds - 1
    found = f"{answer:.2f} s is {abs(error):.0%} {'more' if error > 0 else 'less'}"
    found += f" than the {measurement.seconds:.2f} s that were measured."
    return require(abs(error) <= 1 / 2, found)
