"""Published times and peaks of memory, and the forecasts of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from labs.forecast.dry_run import Range
from labs.forecast.gpus import CARDS, DATA
from labs.forecast.memory import forecast_memory
from labs.forecast.rates import Constants, read_constants
from labs.forecast.seconds import forecast_seconds

if TYPE_CHECKING:
    import pandas

# The architecture of each published model. Stable Diffusion 2's UNet differs from 1's in the width
# of its heads and of the text embeddings; its seconds are alike.
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
WITH_SAFETY_CHECKER = "stable-diffusion-v1-5"  # sd15-shape and the safety checker

# Columns that are arguments of the forecasts, under the same name.
SETTINGS = ("batch_size", "height", "width", "dtype", "attention")
SECONDS_SETTINGS = (*SETTINGS, "guidance", "compiled", "channels_last", "tf32")
MEMORY_SETTINGS = (*SETTINGS, "vae_slicing")


def read_published_seconds() -> pandas.DataFrame:
    """Read the published times.

    Returns:
        A row for each, with its source: card, model, size in pixels, calls of the UNet, batch size
        and settings; `timed`, a whole "call" or one "step" of the UNet; its `seconds` for the whole
        batch; `people`, of whom it is the median; `family`, the generation of the card.
    """
    rows = _read("published_seconds.csv", ("compiled", "channels_last", "tf32", "guidance"))
    return rows.assign(family=[CARDS[name].family for name in rows.gpu])


def read_published_memory() -> pandas.DataFrame:
    """Read the published peaks of memory.

    Returns:
        A row for each, with its source: card, model, size in pixels, batch size and settings;
        `mib`, the peak; `measure`, whether that is what was "allocated" at once, "reserved" by
        PyTorch, or taken by the whole "process".
    """
    return _read("published_memory.csv", ("vae_slicing", "safety_checker"))


def _read(file: str, yes_or_no: tuple[str, ...]) -> pandas.DataFrame:
    import pandas

    rows = pandas.read_csv(DATA / file, keep_default_na=False)
    return rows.assign(**{name: rows[name] == "yes" for name in yes_or_no})


def forecast_published_seconds(rows: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Forecast published times with constants that were fitted without the card's family.

    Args:
        rows: some of `read_published_seconds()`, by default all.

    Returns:
        The rows, with the forecast seconds as `least`, `forecast` and `most`, and `error`, the
        forecast over the published time, less one.
    """
    rows = read_published_seconds() if rows is None else rows
    constants = read_constants()
    forecasts = [
        forecast_row(row, constants.get(f"without {row['family']}", constants["all"]))
        for row in rows.to_dict("records")
    ]
    return _with_errors(rows, forecasts, rows.seconds)


def forecast_row(row: Mapping[str, Any], constants: Constants) -> Range:
    """Forecast the seconds that a published row timed."""
    card = CARDS[row["gpu"]]
    if row["clock_mhz"]:  # a locked clock, which no power limit lowers
        card = replace(card, boost_mhz=int(row["clock_mhz"]), watts=inf)
    forecast = forecast_seconds(
        SHAPES[row["model"]],
        card,
        num_inference_steps=row["steps"],
        constants=constants,
        **{name: row[name] for name in SECONDS_SETTINGS},
    )
    return forecast.parts["UNet step"] if row["timed"] == "step" else forecast.seconds


def forecast_published_memory(rows: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """Forecast published peaks of memory, each in the measure that was published.

    Args:
        rows: some of `read_published_memory()`, by default all.

    Returns:
        The rows, with the forecast MiB as `least`, `forecast` and `most`, and `error`, the forecast
        over the published peak, less one.
    """
    rows = read_published_memory() if rows is None else rows
    forecasts: list[Range] = []
    for row in rows.to_dict("records"):
        row["attention"] = CARDS[row["gpu"]].attention_in_memory(row["attention"])
        model = WITH_SAFETY_CHECKER if row["safety_checker"] else SHAPES[row["model"]]
        forecast = forecast_memory(model, **{name: row[name] for name in MEMORY_SETTINGS})
        ranges = {
            "allocated": (forecast.allocated,) * 3,
            "reserved": forecast.reserved,
            "process": forecast.process,
        }
        least, likely, most = (size / 2**20 for size in ranges[row["measure"]])
        forecasts.append((least, likely, most))
    return _with_errors(rows, forecasts, rows.mib)


def _with_errors(
    rows: pandas.DataFrame, forecasts: list[Range], published: pandas.Series
) -> pandas.DataFrame:
    least, likely, most = zip(*forecasts, strict=True)
    rows = rows.assign(least=least, forecast=likely, most=most)
    return rows.assign(error=rows.forecast / published - 1)
