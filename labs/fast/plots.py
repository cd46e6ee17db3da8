"""Plot what each change brings and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

from helpers.lessons.plots import BLUE, GREY


def plot_trade_off(table: pandas.DataFrame) -> Figure:
    """Plot each row's values as three columns of dots, sorted by the speedup, the fastest on top.

    Args:
        table: a row for each change, by label, with the columns "speedup", "noise" (the factor
            between two runs of the same call), "adherence" (0 to 1) and "distance" (0 to 255). A
            dot is hollow where the speedup is within the noise.
    """
    from matplotlib.figure import Figure

    table = table.sort_values("speedup")
    titles = {"speedup": "speedup", "adherence": "adherence (%)", "distance": "distance (of 255)"}
    figure = Figure(figsize=(10, 1.2 + 0.4 * len(table)), layout="constrained")
    columns = zip(figure.subplots(1, 3, sharey=True), titles, strict=True)
    positions = range(len(table))
    for axes, name in columns:
        values = table[name] * (100 if name == "adherence" else 1)
        factor = table["speedup"].where(table["speedup"] >= 1, 1 / table["speedup"])
        within = (name == "speedup") & (factor <= table["noise"])
        axes.scatter(values, positions, 60, [BLUE] * len(table), zorder=3)
        axes.scatter(values[within], [p for p in positions if within.iloc[p]], 25, "w", zorder=4)
        axes.set(title=titles[name], yticks=positions, yticklabels=table.index)
        axes.tick_params(axis="y", length=0)
        axes.grid(color=GREY, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
        if name == "adherence":  # or the loss of one detail would look large
            axes.set_xlim(min(90, values.min() - 1), 101)
    return figure


def describe_trade_off(table: pandas.DataFrame) -> str:
    """Write the alt text of `plot_trade_off`."""
    rows = table.sort_values("speedup", ascending=False)
    parts = [
        f"{label} {row['speedup']:.1f}x, adherence {row['adherence']:.1%}, "
        f"distance {row['distance']:.0f}"
        for label, row in rows.iterrows()
    ]
    return f"Dot plot of speedup, adherence and distance, the fastest first: {'; '.join(parts)}."
