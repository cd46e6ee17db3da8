"""What a pile of pictures would take on each card: whether it fits, hours, money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.forecast.dry_run import Range
from labs.forecast.gpus import CARDS, Card, find_card
from labs.forecast.memory import forecast_memory
from labs.forecast.seconds import forecast_seconds

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

BATCHES = (1, 2, 4, 8, 16)
# What `forecast_memory` and `forecast_seconds` both take, and what the first takes alone.
SHARED = {"height", "width", "dtype", "attention"}
OF_MEMORY = {"vae_slicing", "vae_tiling"}
COLUMNS = ("fits", "batch", "seconds per image", "hours", "hours at best", "hours at worst")
BLUE, ORANGE = "#0072B2", "#E69F00"  # of Okabe and Ito's palette, told apart by all readers


def what_will_it_take(
    model: str | Path,
    images: int = 1000,
    price_per_hour: Mapping[str, float] | None = None,
    *,
    gpus: Iterable[str] | None = None,
    batch_size: int | None = None,
    **settings: Any,
) -> pandas.DataFrame:
    """Forecast for each card whether a run fits, how long it takes and what it costs.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x or XL.
        images: how many to draw.
        price_per_hour: of each card, in a currency of your own; none is made up here.
        gpus: names of `CARDS`; if not given, those that have a price, or else all.
        batch_size: images at once; if not given, the most of 1, 2, 4, 8 and 16 that surely fits.
        settings: those of `forecast_seconds`, such as `num_inference_steps`; and `vae_slicing` and
            `vae_tiling`, of `forecast_memory`.

    Returns:
        A row for each card, the cheapest first, or the fastest if there are no prices: whether it
        `fits` ("surely", "perhaps" or why not), the batch, seconds an image, hours (and at best and
        at worst) and the price (and at worst).

    Raises:
        ValueError: a name or a setting is not known, a price is below 0, or nothing is to be drawn.

    Example:
        >>> table = what_will_it_take("sd15-shape", 10_000, {"T4": 0.5, "L4": 1}, batch_size=4)
        >>> table["fits"].to_dict()
        {'L4': 'surely', 'T4': 'surely'}
    """
    import pandas

    if images < 1:
        raise ValueError(f"{images} images take nothing: ask for at least 1.")
    prices = {find_card(name).name: price for name, price in (price_per_hour or {}).items()}
    if wrong := [name for name, price in prices.items() if not price >= 0]:
        price = prices[wrong[0]]
        raise ValueError(f"{price} is no price: give what an hour on {wrong[0]} costs.")
    names = gpus if gpus is not None else prices or CARDS
    cards = [find_card(name) for name in names]
    batches = BATCHES if batch_size is None else (batch_size,)
    of_memory = {name: settings.pop(name) for name in OF_MEMORY & settings.keys()}
    of_memory |= {name: settings[name] for name in SHARED & settings.keys()}

    @cache
    def takes(attention: str) -> dict[int, Range]:
        how = of_memory | {"attention": attention}
        return {one: forecast_memory(model, batch_size=one, **how).process for one in batches}

    attention = settings.get("attention", "sdpa")
    rows = {
        card.name: _row(model, images, card, takes(card.attention_in_memory(attention)), settings)
        for card in cards
    }
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("GPU")
    if prices:
        hourly = table.index.map(prices)
        table["price"] = table["hours"] * hourly
        table["at worst"] = table["hours at worst"] * hourly
    return table.sort_values("price" if prices else "hours")


def _row(
    model: str | Path,
    images: int,
    card: Card,
    takes: Mapping[int, Range],
    settings: Mapping[str, Any],
) -> list[Any]:
    """What one card would take, by `COLUMNS`."""
    if str(settings.get("dtype")).endswith("bfloat16") and not card.bfloat16:
        return ["no bfloat16"] + [None] * 5
    surely = [batch for batch, (_, _, most) in takes.items() if most <= card.memory]
    perhaps = [batch for batch, (least, _, _) in takes.items() if least <= card.memory]
    if not perhaps:
        return ["too little memory"] + [None] * 5
    batch = max(surely) if surely else min(perhaps)
    forecast = forecast_seconds(model, card, batch_size=batch, **settings)
    least, middle, most = (images * one / 3600 for one in forecast.seconds_per_image)
    fits = "surely" if surely else "perhaps"
    return [fits, batch, forecast.seconds_per_image[1], middle, least, most]


def plot_prices(table: pandas.DataFrame) -> Figure:
    """Draw hours against price, a labelled point for each card, with the forecast's range.

    Show it with `show(figure, describe_prices(table))`, which gives it its text for readers who do
    not see it.

    Args:
        table: what `what_will_it_take` returns, with prices.

    Raises:
        ValueError: there are no prices, or no card fits.

    Example:
        >>> table = what_will_it_take("sd15-shape", 1000, {"T4": 0.5, "L4": 1.0}, batch_size=4)
        >>> [text.get_text() for text in plot_prices(table).axes[0].texts]
        ['L4', 'T4']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    fit = _priced(table)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for sure, colour, marker in (("surely", BLUE, "o"), ("perhaps", ORANGE, "s")):
        some = fit[fit["fits"] == sure]
        below, above = some["hours"] - some["hours at best"], some["hours at worst"] - some["hours"]
        label = f"fits {sure}" if len(some) else None
        axes.errorbar(
            some["hours"], some["price"], xerr=[below, above], fmt=marker, color=colour, label=label
        )
    for name, row in fit.iterrows():
        at = (row["hours"], row["price"])
        axes.annotate(name, at, xytext=(6, 6), textcoords="offset points")
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
    """Say in a sentence what `plot_prices` shows, to serve as its alt text.

    Raises:
        ValueError: there are no prices, or no card fits.

    Example:
        >>> table = what_will_it_take("sd15-shape", 1000, {"T4": 0.5, "L4": 1.0}, batch_size=4)
        >>> describe_prices(table)
        'Scatter plot of hours against price: L4 ... hours for ...; T4 ... hours for ....'
    """
    points = [
        f"{name} {row['hours']:.2g} hours for {row['price']:.2g}"
        for name, row in _priced(table).iterrows()
    ]
    return f"Scatter plot of hours against price: {'; '.join(points)}."


def _priced(table: pandas.DataFrame) -> pandas.DataFrame:
    """The rows that have a point in the plot."""
    if "price" not in table:
        raise ValueError(
            "There are no prices to draw: give what_will_it_take(..., price_per_hour={...})."
        )
    fit = table.dropna(subset=["price"])
    if fit.empty:
        raise ValueError("No card holds even one image: try a smaller size, or vae_slicing=True.")
    return fit
