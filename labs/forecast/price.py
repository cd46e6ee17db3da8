"""What many images would take on each card: whether they fit, hours, money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import pandas

from labs.forecast.dry_run import Range, check_count
from labs.forecast.gpus import CARDS, Card, find_card
from labs.forecast.memory import forecast_memory
from labs.forecast.seconds import forecast_seconds

BATCHES = (1, 2, 4, 8, 16)
SHARED_SETTINGS = {"height", "width", "dtype", "attention"}  # of both forecasts
COLUMNS = ("fits", "batch", "seconds per image", "hours", "hours at best", "hours at worst")


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
        model: as for `forecast_memory`.
        price_per_hour: of each card, in any currency.
        gpus: names of `CARDS`; by default those that have a price, or else all.
        batch_size: images at once; by default the most of 1, 2, 4, 8 and 16 that surely fits.
        settings: of `forecast_seconds`, such as `num_inference_steps`.

    Returns:
        A row for each card, the cheapest first, or the fastest if there are no prices: whether it
        `fits` ("surely", "perhaps" or why not), the batch, seconds per image, hours (and at best
        and at worst) and the price (and at worst).

    Raises:
        ValueError: a name or a setting is not known, or a number is not valid.
    """
    check_count("images", images)
    prices = {find_card(name).name: price for name, price in (price_per_hour or {}).items()}
    if wrong := [price for price in prices.values() if not isinstance(price, Real)]:
        raise ValueError(f"price_per_hour has {wrong[0]!r}: use numbers.")
    gpus = [gpus] if isinstance(gpus, str) else gpus
    cards = [find_card(name) for name in (gpus if gpus is not None else prices or CARDS)]
    batches = BATCHES if batch_size is None else (batch_size,)
    how = {name: settings[name] for name in SHARED_SETTINGS & settings.keys()}
    rows = {}
    for card in cards:
        how["attention"] = card.attention_in_memory(settings.get("attention", "sdpa"))
        takes = {size: forecast_memory(model, batch_size=size, **how).process for size in batches}
        rows[card.name] = _row(model, images, card, takes, settings)
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=COLUMNS).rename_axis("GPU")
    if prices:
        hourly = pandas.Series(prices, dtype=float)  # aligned by the card's name
        table["price"] = table["hours"] * hourly
        table["at worst"] = table["hours at worst"] * hourly
    return table.sort_values("price" if prices else "hours")


def _row(
    model: str | Path, images: int, card: Card, takes: Mapping[int, Range], settings: dict[str, Any]
) -> list[Any]:
    """Return what one card would take, in the order of `COLUMNS`."""
    if str(settings.get("dtype")).endswith("bfloat16") and not card.bfloat16:
        return ["no bfloat16"] + [None] * 5
    memory = card.memory_gib * 2**30
    surely = [batch for batch, (_, _, most) in takes.items() if most <= memory]
    perhaps = [batch for batch, (least, _, _) in takes.items() if least <= memory]
    if not perhaps:
        return ["too little memory"] + [None] * 5
    batch = max(surely) if surely else min(perhaps)
    seconds = forecast_seconds(model, card, batch_size=batch, **settings).seconds_per_image
    least, likely, most = images * seconds / 3600
    return ["surely" if surely else "perhaps", batch, seconds[1], likely, least, most]
