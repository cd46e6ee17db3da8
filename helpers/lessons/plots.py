"""Plot measurements, each plot with a function that writes its alt text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.timing import Measurement, require_measurements, speedup_over_first

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

# From the palette of Okabe and Ito, which colour-blind readers can tell apart.
BLUE, ORANGE, SKY_BLUE, YELLOW, VERMILION = "#0072B2", "#E69F00", "#56B4E9", "#F0E442", "#D55E00"
GREY = "#999999"


def plot_comparison(
    measurements: Sequence[Measurement], title: str = "Seconds per image (shorter is better)"
) -> Figure:
    """Plot the seconds per image of each measurement as a bar, the first at the top.

    The line at the end of a bar is as long as the runs differ. `describe_comparison` writes the
    plot's alt text.
    """
    from matplotlib.figure import Figure

    measurements = require_measurements(measurements)
    seconds = [item.seconds_per_image for item in measurements]
    spreads = [item.spread / 2 / max(1, len(item.images)) for item in measurements]
    figure = Figure(figsize=(8, 1 + 0.5 * len(measurements)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(measurements)), seconds, xerr=spreads, capsize=4, color=BLUE)
    axes.bar_label(bars, labels=[f"{value:.3f} s" for value in seconds], padding=6)
    axes.set_yticks(range(len(measurements)), [item.label for item in measurements])
    axes.invert_yaxis()
    axes.margins(x=0.15)  # room for the numbers at the ends of the bars
    axes.set(title=title, xlabel="seconds per image")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def describe_comparison(measurements: Sequence[Measurement]) -> str:
    """Write the alt text of `plot_comparison`; every speedup is over the first measurement.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> describe_comparison([slow, fast])
        'Bar chart of seconds per image: 50 steps 2.000; 20 steps 0.500 (4.0x 50 steps).'
    """
    first, *others = require_measurements(measurements)
    parts = [f"{first.label} {first.seconds_per_image:.3f}"]
    for item in others:
        speedup = speedup_over_first(item, measurements)
        parts.append(f"{item.label} {item.seconds_per_image:.3f} ({speedup:.1f}x {first.label})")
    return f"Bar chart of seconds per image: {'; '.join(parts)}."


def plot_trade_off(table: pandas.DataFrame, title: str = "What a faster image costs") -> Figure:
    """Plot speedup and image distance as two columns of dots, the fastest at the top.

    Blue dots keep the image, orange ones change it. `describe_trade_off` writes the alt text.

    Args:
        table: a row for each change, by label, with the columns "speedup" and "distance" (both from
            the baseline) and "keeps the image" (True or False).
    """
    from matplotlib.figure import Figure

    table = table.sort_values("speedup")
    colours = [BLUE if keeps else ORANGE for keeps in table["keeps the image"]]
    figure = Figure(figsize=(10, 1.3 + 0.32 * len(table)), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column in ((left, "speedup"), (right, "distance")):
        axes.scatter(table[column], range(len(table)), 50, colours, zorder=3)
        axes.grid(color=GREY, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(range(len(table)), table.index)
    left.axvline(1, color=GREY, linewidth=1)
    left.set(xscale="log", xlabel="speedup over the baseline (logarithmic)")
    ticks = [tick for tick in (0.5, 1, 2, 4, 8, 16, 32) if tick <= 1.5 * table["speedup"].max()]
    left.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    left.minorticks_off()
    right.set(xlabel="distance from the baseline's images (0 to 255)")
    for colour, name in ((BLUE, "keeps the image"), (ORANGE, "changes the image")):
        right.scatter([], [], 50, colour, label=name)
    right.legend(frameon=False)
    return figure


def describe_trade_off(table: pandas.DataFrame) -> str:
    """Write the alt text of `plot_trade_off`."""
    rows = table.sort_values("speedup", ascending=False)
    parts = [
        f"{label} {row['speedup']:.1f}x, distance {row['distance']:.0f}"
        for label, row in rows.iterrows()
    ]
    return f"Speedup and distance from the baseline's images: {'; '.join(parts)}."
