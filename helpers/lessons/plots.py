"""Plot measurements, each plot with a function that writes its alt text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import chain, cycle
from typing import TYPE_CHECKING

from helpers.grids import explain_black

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

# From the palette of Okabe and Ito, which color-blind readers can tell apart.
BLUE, ORANGE, SKY_BLUE, YELLOW, VERMILION = "#0072B2", "#E69F00", "#56B4E9", "#F0E442", "#D55E00"
GREEN, GREY, BLACK = "#009E73", "#999999", "#000000"
# The lines of `plot_lines`: one that lies on another leaves it visible.
LINE_COLORS = (BLACK, BLUE, VERMILION, GREEN, ORANGE)
LINE_STYLES, MARKERS, MARKER_SIZES = ("-", "--", "-.", ":", "-"), "osX^v", (9, 6, 6, 6, 6)


def plot_lines(
    lines: Mapping[str, Mapping[float, float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    xscale: str = "log",
) -> Figure:
    """Plot lines, with a legend; after five, their looks are repeated.

    `describe_lines` writes the alt text.

    Args:
        lines: by name, y by x.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    looks = cycle(zip(LINE_COLORS, LINE_STYLES, MARKERS, MARKER_SIZES, strict=True))
    for (name, line), (color, style, marker, size) in zip(lines.items(), looks, strict=False):
        (drawn,) = axes.plot(list(line), list(line.values()), style, color=color, label=name)
        drawn.set(marker=marker, markersize=size)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale=xscale, ylim=(0, None))
    ticks = sorted({x for line in lines.values() for x in line})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def describe_lines(lines: Mapping[str, Mapping[float, float]], what: str) -> str:
    """Write the alt text of `plot_lines`: what is plotted, and the values of each line."""
    texts = [
        f"{name}: {', '.join(f'{y:.0f} at {x:g}' for x, y in line.items())}."
        for name, line in lines.items()
    ]
    return f"{what}. {' '.join(texts)}"


def plot_images(
    rows: Mapping[str, Sequence[Image.Image]], columns: Sequence[str], below: Sequence[str] = ()
) -> Image.Image:
    """Lay images out in rows: one name to the left of each row, one above each column.

    Args:
        below: a text below each column, if there is something to say.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    inches = (2.2 * len(columns) + 1.2, 2.3 * len(rows) + 0.4)
    figure = Figure(figsize=inches, layout="compressed")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, interpolation="lanczos")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation="horizontal", ha="right", va="center")
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(name)
    for axes, text in zip(grid[-1], below, strict=False):
        axes.set_xlabel(text)
    drawn = io.BytesIO()
    figure.savefig(drawn, bbox_inches="tight", pad_inches=0.05)  # as wide as the names need
    result = Image.open(drawn).convert("RGB")
    result.info["note"] = explain_black(chain(*rows.values()))  # for `show`
    return result
