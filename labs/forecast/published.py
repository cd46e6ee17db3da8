"""Published times and peaks of memory, their forecasts, and how a measurement compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf, log
from typing import Any

import numpy as np
import pandas
import torch
from PIL import Image

from helpers.models import MODELS
from helpers.timing import Measurement
from labs.forecast.dry_run import Range, dtype_name
from labs.forecast.gpus import CARDS, find_card, read_data
from labs.forecast.memory import forecast_memory
from labs.forecast.rates import Constants, read_constants
from labs.forecast.seconds import forecast_seconds

WITH_SAFETY_CHECKER = "stable-diffusion-v1-5"  # sd15-shape and the safety checker

# Columns that are arguments of the forecasts, under the same name.
SETTINGS = ("batch_size", "height", "width", "dtype", "attention")
SECONDS_SETTINGS = (*SETTINGS, "guidance", "compiled", "channels_last", "tf32")
MEMORY_SETTINGS = (*SETTINGS, "vae_slicing")


def read_published_seconds() -> pandas.DataFrame:
    """Read the published times.

    Returns:
        A row for each, with its source: card, model, size in pixels, calls of the UNet, batch size
        and settings; `model_shape`, the model's architecture, a name of `MODELS`; `timed`, a whole
        "call" or one "step" of the UNet; its `seconds` for the whole batch; `people`, of whom it is
        the median; `family`, the generation of the card.
    """
    rows = _read("published_seconds.csv")
    return rows.assign(family=[CARDS[name].family for name in rows.gpu])


def read_published_memory() -> pandas.DataFrame:
    """Read the published peaks of memory.

    Returns:
        A row for each, with its source: card, model, size in pixels, batch size and settings;
        `mib`, the peak; `measure`, whether that is what was "allocated" at once, "reserved" by
        PyTorch, or taken by the whole "process".
    """
    return _read("published_memory.csv")


def _read(file: str) -> pandas.DataFrame:
    """Read published figures, with the architecture of each model.

    Stable Diffusion 2's UNet differs from 1's in the width of its heads and of the text embeddings;
    its seconds are alike.
    """
    rows = read_data(file)
    is_xl = rows.model.str.startswith("SDXL")
    return rows.assign(model_shape=is_xl.map({True: "sdxl-shape", False: "sd15-shape"}))


def forecast_published_seconds() -> pandas.DataFrame:
    """Forecast all published times with constants that were fitted without the card's family.

    Returns:
        What `read_published_seconds` returns, with the forecast seconds as `least`, `forecast` and
        `most`; `error`, the forecast over the published time, less one; and whether the time is
        `inside` the range.
    """
    rows = read_published_seconds()
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
        row["model_shape"],
        card,
        num_inference_steps=row["steps"],
        constants=constants,
        **{name: row[name] for name in SECONDS_SETTINGS},
    )
    return forecast.parts["UNet step"] if row["timed"] == "step" else forecast.seconds


def forecast_published_memory() -> pandas.DataFrame:
    """Forecast all published peaks of memory, each in the measure that was published.

    Returns:
        What `read_published_memory` returns, with the same columns as the forecast seconds, in MiB.
    """
    rows = read_published_memory()
    forecasts: list[Range] = []
    for row in rows.to_dict("records"):
        row["attention"] = CARDS[row["gpu"]].attention_in_memory(row["attention"])
        model = WITH_SAFETY_CHECKER if row["safety_checker"] else row["model_shape"]
        forecast = forecast_memory(model, **{name: row[name] for name in MEMORY_SETTINGS})
        ranges = {
            "allocated": np.full(3, forecast.allocated),
            "reserved": forecast.reserved,
            "process": forecast.process,
        }
        forecasts.append(ranges[row["measure"]] / 2**20)
    return _with_errors(rows, forecasts, rows.mib)


def _with_errors(
    rows: pandas.DataFrame, forecasts: list[Range], published: pandas.Series
) -> pandas.DataFrame:
    rows[["least", "forecast", "most"]] = np.array(forecasts)
    inside = published.between(rows.least, rows.most)
    return rows.assign(error=rows.forecast / published - 1, inside=inside)


def is_this_normal(
    measurement: Measurement,
    model: str = "stable-diffusion-v1-5",
    *,
    dtype: str | torch.dtype = "float16",
) -> str:
    """Say where a measurement stands among published times of the same card and settings.

    What is compared is image-steps per second: images times steps, over the seconds of the call.

    Args:
        measurement: of a call on a GPU, by `measure(..., num_inference_steps=...)`.
        model: the name in `MODELS` of the model that was called.

    Raises:
        ValueError: the measurement has no number of steps or no PIL images, or the card or model is
            not known.
    """
    steps, images = measurement.num_inference_steps, measurement.images
    if not steps:
        raise ValueError("There is no number of steps: use measure(..., num_inference_steps=20).")
    if not all(isinstance(image, Image.Image) for image in images):
        raise ValueError("The images' size is unknown: measure a call that returns PIL images.")
    card = find_card(measurement.device)
    shape = (MODELS[model].shape if model in MODELS else None) or model
    side = 1024 if shape == "sdxl-shape" else 512
    width, height = images[0].size if images else (side, side)
    batch = max(1, len(images))
    forecast = forecast_seconds(
        shape, card, batch_size=batch, num_inference_steps=steps, height=height, width=width,
        dtype=dtype,
    )  # fmt: skip
    fastest, _, slowest = batch * steps / forecast.seconds

    rows = read_published_seconds()
    same = (rows.gpu == card.name) & (rows.model_shape == shape) & (rows.height == height)
    same &= rows.guidance & ~rows.compiled & (rows.attention == "sdpa") & (rows.width == width)
    same &= rows.dtype == dtype_name(dtype).replace("bfloat16", "float16")  # equally fast
    same &= ((rows.batch_size < 4) == (batch < 4)) & ~rows.channels_last & ~rows.tf32
    speed = batch * steps / measurement.seconds
    text = f"{speed:.1f} image-steps per second on {card.name}: "
    text += f"{_compare(speed, rows[same], batch)} The forecast is {slowest:.1f} to {fastest:.1f}."
    return text + " A batch of less than 4 depends on the processor, too." * (batch < 4)


def _compare(speed: float, rows: pandas.DataFrame, batch_size: int) -> str:
    """Say how many of the published speeds are lower or higher, at the nearest batch size."""
    if rows.empty:
        return "nobody has published a time for these settings."
    published_batch = min(rows.batch_size, key=lambda size: abs(log(size / batch_size)))
    rows = rows[rows.batch_size == published_batch]
    speeds = rows.batch_size * rows.steps.where(rows.timed == "call", 1) / rows.seconds
    lower, count = (speeds < speed).sum(), len(speeds)
    order = f"faster than {lower}" if 2 * lower >= count else f"slower than {count - lower}"
    return (
        f"{order} of {count} published times for a batch of {published_batch}, which are "
        f"{min(speeds):.1f} to {max(speeds):.1f}."
    )
