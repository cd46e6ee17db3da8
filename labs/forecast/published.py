"""What others measured: their times and peaks as data, and the forecast held against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any

from labs.forecast.dry_run import Range
from labs.forecast.gpus import CARDS, DATA
from labs.forecast.memory import forecast_memory
from labs.forecast.rates import Constants, read_constants
from labs.forecast.seconds import forecast_seconds

if TYPE_CHECKING:
    import pandas

# Which embedded architecture stands for a published model. Stable Diffusion 2's UNet is that of 1
# but for the width of its heads and of what it is told: its seconds are alike.
SHAPES = {
    "SD1.4": "sd15-shape",
    "SD1.5": "sd15-shape",
    "SD1.4/1.5": "sd15-shape",
    "SD1.x/2.x checkpoints": "sd15-shape",
    "SD2.1": "sd15-shape",
    "SD2.1-base": "sd15-shape",
    "SDXL base": "sdxl-shape",
    "SDXL checkpoints": "sdxl-shape",
    "SDXL turbo": "sdxl-shape",
}

# The columns that are settings of the forecasts, under the same name.
DRAWN = ("batch_size", "height", "width", "dtype", "attention")
OF_SECONDS = (*DRAWN, "guidance", "compiled", "channels_last", "tf32")
OF_MEMORY = (*DRAWN, "vae_slicing")
WITH_CHECKER = "stable-diffusion-v1-5"  # sd15-shape with the safety checker, where a row says so


def read_published_seconds() -> pandas.DataFrame:
    """Read the published times.

    Returns:
        A row for each, with its source: card, model, size in pixels, calls of the UNet, batch size,
        and how it was drawn; `timed`, a whole "call" or one "step" of the UNet; `seconds` of that,
        for the whole batch; `people`, whose median it is; `family`, the generation of the card.

    Example:
        >>> rows = read_published_seconds()
        >>> len(rows) > 600, set(rows.timed) == {"call", "step"}
        (True, True)
    """
    import pandas

    rows = pandas.read_csv(DATA / "published_seconds.csv", keep_default_na=False)
    for name in ("compiled", "channels_last", "tf32", "guidance"):
        rows[name] = rows[name] == "yes"
    rows["family"] = [CARDS[name].family for name in rows.gpu]
    return rows


def read_published_memory() -> pandas.DataFrame:
    """Read the published peaks of memory.

    Returns:
        A row for each, with its source: card, model, size in pixels, batch size, and how it was
        drawn; `mib`, the peak; `measure`, whether that is what was "allocated" at once, what was
        "reserved" by PyTorch, or what the whole "process" took.

    Example:
        >>> sorted(set(read_published_memory().measure))
        ['allocated', 'process', 'reserved']
    """
    import pandas

    rows = pandas.read_csv(DATA / "published_memory.csv", keep_default_na=False)
    for name in ("vae_slicing", "safety_checker"):
        rows[name] = rows[name] == "yes"
    return rows


def forecast_published_seconds(
    rows: pandas.DataFrame | None = None, *, left_out: str | None = "family"
) -> pandas.DataFrame:
    """Forecast every published time by constants that know nothing of its card.

    Args:
        rows: some of `read_published_seconds()`, all if not given.
        left_out: what the constants were fitted without: the row's "family" of cards, its "gpu",
            or None for those that were fitted to all.

    Returns:
        The rows, with the forecast seconds as `least`, `forecast` and `most`, and `error`, the
        forecast over the published time, less one.

    Example:
        >>> rows = read_published_seconds().query("gpu == 'T4' and batch_size >= 4 and people == 1")
        >>> bool(forecast_published_seconds(rows).error.abs().median() < 0.12)
        True
    """
    rows = read_published_seconds() if rows is None else rows
    constants = read_constants()
    names = [f"without {one}" for one in rows[left_out]] if left_out else ["all"] * len(rows)
    forecasts = [
        forecast_row(row, constants.get(name, constants["all"]))
        for row, name in zip(rows.to_dict("records"), names, strict=True)
    ]
    return _beside(rows, forecasts, rows.seconds)


def forecast_row(row: Mapping[str, Any], constants: Constants) -> Range:
    """Forecast the seconds of what a published row timed."""
    card = CARDS[row["gpu"]]
    if row["clock_mhz"]:  # locked, so that no limit of power slows it down
        card = replace(card, boost_mhz=int(row["clock_mhz"]), watts=inf)
    forecast = forecast_seconds(
        SHAPES[row["model"]],
        card,
        num_inference_steps=row["steps"],
        constants=constants,
        **{name: row[name] for name in OF_SECONDS},
    )
    return forecast.parts["UNet step"] if row["timed"] == "step" else forecast.seconds


def forecast_published_memory(rows: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Forecast every published peak, in what it was measured in: nothing was fitted to them.

    Args:
        rows: some of `read_published_memory()`, all if not given.

    Returns:
        The rows, with the forecast MiB as `least`, `forecast` and `most`, and `error`, the forecast
        over the published peak, less one.

    Example:
        >>> rows = read_published_memory().query("gpu == 'T4'")
        >>> bool((forecast_published_memory(rows).error > -0.2).all())
        True
    """
    rows = read_published_memory() if rows is None else rows
    found: list[Range] = []
    for row in rows.to_dict("records"):
        row["attention"] = CARDS[row["gpu"]].attention_in_memory(row["attention"])
        model = WITH_CHECKER if row["safety_checker"] else SHAPES[row["model"]]
        one = _forecast_memory(model, **{name: row[name] for name in OF_MEMORY})
        ranges = {"allocated": (one.allocated,) * 3, "reserved": one.kept, "process": one.process}
        least, middle, most = (size / 2**20 for size in ranges[row["measure"]])
        found.append((least, middle, most))
    return _beside(rows, found, rows.mib)


_forecast_memory = cache(forecast_memory)  # many rows differ in nothing but the card


def _beside(
    rows: pandas.DataFrame, forecasts: list[Range], published: pandas.Series
) -> pandas.DataFrame:
    """Set the forecasts and their errors beside what was published."""
    least, middle, most = zip(*forecasts, strict=True)
    rows = rows.assign(least=least, forecast=middle, most=most)
    return rows.assign(error=rows.forecast / published - 1)
