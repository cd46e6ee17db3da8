"""Draw measurements, and say in words what the plot shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from helpers.timing import Measurement, check_some, times_faster

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE = (
    "#0072B2",
    "#E69F00",
)  # of Okabe and Ito's palette, told apart by colour-blind readers


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


def plot_trade_off(table: pandas.DataFrame, title: str = "What a faster picture costs") -> Figure:
    """Draw speed against distance: blue what keeps the picture, orange what draws another.

    Show it with `show(figure, describe_trade_off(table))`.

    Args:
        table: a row for each change, by label, with "times faster" and "distance" (both from the
            recipe) and "keeps the picture" (True or False).

    Example:
        >>> import pandas
        >>> columns = ["times faster", "distance", "keeps the picture"]
        >>> both = {"compiled": [1.2, 0.0, True], "10 steps": [1.9, 7.0, False]}
        >>> figure = plot_trade_off(pandas.DataFrame.from_dict(both, "index", columns=columns))
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['compiled', '10 steps']
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    axes = figure.subplots()
    kept = table["keeps the picture"].astype(bool)
    top = max(10.0, table["distance"].max())
    axes.axhline(0, color="#999999", linewidth=0.8)
    for rows, colour, name in (
        (table[kept], BLUE, "the same picture, but for rounding"),
        (table[~kept], ORANGE, "another picture"),
    ):
        axes.scatter(rows["times faster"], rows["distance"], 60, colour, label=name, zorder=3)
    _name_points(axes, table[kept].sort_values("times faster"), top, below=True)
    _name_points(axes, table[~kept].sort_values("distance"), top, below=False)
    ticks = [tick for tick in (1, 2, 3, 4, 6, 8, 12, 16) if tick <= table["times faster"].max()]
    axes.set(xscale="log", xlim=(0.7, 1.9 * table["times faster"].max()), title=title)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="times as fast as the recipe (logarithmic)", ylim=(-0.75 * top, 1.25 * top))
    axes.set_yticks(range(0, int(top) + 1, 10))
    axes.set_ylabel("distance from the recipe's pictures (0 to 255)", y=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    return figure


def _name_points(axes: Axes, rows: pandas.DataFrame, top: float, below: bool) -> None:
    """Write each point's name slanting below it, or beside it where nothing stands in the way."""
    line = {"arrowstyle": "-", "color": "#999999", "lw": 0.6, "shrinkA": 0}
    points = list(zip(rows["times faster"], rows["distance"], strict=True))
    placed: list[tuple[float, float, str]] = []
    for label, (faster, distance) in zip(rows.index, points, strict=True):
        style: dict[str, Any] = {"va": "center", "ha": "left", "fontsize": 9}
        if below:
            x, y = max([faster, *(1.07 * x for x, _, _ in placed)]), -0.12 * top
            style |= {"rotation": -55, "va": "top", "rotation_mode": "anchor"}
        else:
            ahead = [1 < x / faster < 1.6 and abs(y - distance) < 0.1 * top for x, y in points]
            style["ha"] = "right" if any(ahead) else "left"
            beside = [y for x, y, side in placed if side == style["ha"] and 0.5 < x / faster < 2]
            if any(ahead):  # and a point on the left is no place for a name either
                behind = [y for x, y in points if 0.6 < x / faster < 1]
                beside += [y for y in behind if abs(y - distance) < 0.04 * top]
            x = faster / 1.06 if any(ahead) else faster * 1.06
            y = max([distance, *(y + 0.055 * top for y in beside)])
        placed.append((x, y, str(style["ha"])))
        axes.annotate(str(label), (faster, distance), (x, y), arrowprops=line, **style)


def describe_trade_off(table: pandas.DataFrame) -> str:
    """Say in words what `plot_trade_off` shows, to serve as its alt text.

    Example:
        >>> import pandas
        >>> columns = ["times faster", "distance", "keeps the picture"]
        >>> both = {"compiled": [1.2, 0.0, True], "10 steps": [1.9, 7.0, False]}
        >>> describe_trade_off(pandas.DataFrame.from_dict(both, "index", columns=columns))
        'Speed against distance. Blue: compiled 1.2 times as fast. Orange: 10 steps 1.9, 7 away.'
    """
    kept = table["keeps the picture"].astype(bool)
    blue = [f"{label} {faster:.1f}" for label, faster in table[kept]["times faster"].items()]
    orange = [
        f"{label} {row['times faster']:.1f}, {row['distance']:.0f} away"
        for label, row in table[~kept].iterrows()
    ]
    said = f"Blue: {', '.join(blue)} times as fast. Orange: {'; '.join(orange)}."
    return f"Speed against distance. {said}"
