"""Draw measurements, and say in words what the plot shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.timing import Measurement, check_some, times_faster

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE = "#0072B2"  # of Okabe and Ito's palette, told apart by colour-blind readers


def plot_comparison(
    measurements: Sequence[Measurement], title: str = "Seconds per image (shorter is better)"
) -> Figure:
    """Draw the seconds per image of each measurement as a bar, the first at the top.

    The line at a bar's end is as long as the runs are apart.

    Show it with `show(figure, describe(measurements))`, which gives it its text for readers who
    do not see it.

    Raises:
        ValueError: there is nothing to draw.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> figure = plot_comparison([slow, fast])
        >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
        [2.0, 0.5]
    """
    from matplotlib.figure import Figure

    check_some(measurements)
    seconds = [one.seconds_per_image for one in measurements]
    figure = Figure(figsize=(8, 1 + 0.5 * len(measurements)), layout="constrained")
    axes = figure.subplots()
    spreads = [one.spread / 2 / max(1, len(one.images)) for one in measurements]
    bars = axes.barh(range(len(measurements)), seconds, xerr=spreads, capsize=4, color=BLUE)
    axes.bar_label(bars, labels=[f"{value:.3f} s" for value in seconds], padding=6)
    axes.set_yticks(range(len(measurements)), [one.label for one in measurements])
    axes.invert_yaxis()
    axes.margins(x=0.15)  # room for the figures at the ends of the bars
    axes.set(title=title, xlabel="seconds per image")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def describe(measurements: Sequence[Measurement]) -> str:
    """Say in a sentence what `plot_comparison` shows, to serve as its alt text.

    Raises:
        ValueError: there is nothing to describe.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> describe([slow, fast])
        'Bar chart of seconds per image: 50 steps 2.000; 20 steps 0.500 (4.0 times as fast).'
    """
    check_some(measurements)
    first, *others = measurements
    parts = [f"{first.label} {first.seconds_per_image:.3f}"]
    for one in others:
        ratio = times_faster(one, first)
        parts.append(f"{one.label} {one.seconds_per_image:.3f} ({ratio:.1f} times as fast)")
    return f"Bar chart of seconds per image: {'; '.join(parts)}."
