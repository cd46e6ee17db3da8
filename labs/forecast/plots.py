"""Plots of what cards would take."""

from __future__ import annotations

import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from helpers.lessons.plots import BLUE, ORANGE


def plot_prices(table: pandas.DataFrame) -> Figure:
    """Plot hours against price, a labelled point for each card, with the range of the hours.

    Show it with `show(figure, alt=describe_prices(table))`, where the table is what
    `what_will_it_take` returns for a `price_per_hour`.
    """
    priced = table.dropna(subset="price")
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for fits, color, marker in (("surely", BLUE, "o"), ("perhaps", ORANGE, "s")):
        cards = priced[priced["fits"] == fits]
        hours = cards["hours"]
        error = [hours - cards["hours at best"], cards["hours at worst"] - hours]
        label = f"fits {fits}" if len(cards) else None
        axes.errorbar(hours, cards["price"], xerr=error, fmt=marker, color=color, label=label)
    for name, hours, price in priced[["hours", "price"]].itertuples():
        axes.annotate(name, (hours, price), xytext=(6, 6), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="hours", ylabel="price, in the currency given")
    for axis in (axes.xaxis, axes.yaxis):  # 2 and 20, not 2 x 10^0 and 2 x 10^1
        axis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.set_title("Down is cheaper, left is sooner")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def describe_prices(table: pandas.DataFrame) -> str:
    """Return the alt text of `plot_prices`."""
    rows = table.dropna(subset="price").iterrows()
    points = (f"{name} {row['hours']:.2g} hours for {row['price']:.2g}" for name, row in rows)
    return f"Scatter plot of hours against price: {'; '.join(points)}."
