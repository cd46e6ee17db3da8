"""Compare a measurement with what others measured on the same card."""

from __future__ import annotations

from math import log

import pandas

from helpers.hub import nearest
from helpers.models import MODELS
from helpers.timing import Measurement
from labs.forecast.gpus import find_card
from labs.forecast.published import read_published_seconds
from labs.forecast.seconds import forecast_seconds

DEFAULT_SIZE = {"sd15-shape": 512, "sdxl-shape": 1024}  # pixels, if there are no images


def is_this_normal(
    measurement: Measurement,
    model: str = "stable-diffusion-v1-5",
    *,
    dtype: str = "float16",
    compiled: bool = False,
) -> str:
    """Say where a measurement stands among published times of the same card and settings.

    What is compared is image-steps per second: images times steps, over the seconds of the call.

    Args:
        measurement: of a call on a GPU, by `measure(..., num_inference_steps=...)`.
        model: the name in `MODELS` of the model that was called.
        dtype: the dtype of the pipeline.
        compiled: whether the UNet was compiled.

    Raises:
        ValueError: the measurement has no number of steps, or the card or the model is not known.
    """
    steps = measurement.num_inference_steps
    if not steps:
        raise ValueError(
            f"{measurement.label or 'The measurement'} has no number of steps: use "
            "measure(..., num_inference_steps=20)."
        )
    if model not in MODELS:
        raise ValueError(f"{model!r} is no name of MODELS. {nearest(model, MODELS)}")
    card = find_card(measurement.device)
    batch = max(1, len(measurement.images))
    shape = MODELS[model].shape or model
    first = measurement.images[0] if measurement.images else None
    width, height = getattr(first, "size", (DEFAULT_SIZE.get(shape),) * 2)
    settings = {"batch_size": batch, "num_inference_steps": steps, "compiled": compiled}
    settings |= {"height": height, "width": width, "dtype": dtype}
    forecast = forecast_seconds(shape, card, **settings)
    slowest, _, fastest = (batch * steps / seconds for seconds in reversed(forecast.seconds))

    rows = read_published_seconds()
    same = (rows.gpu == card.name) & (rows.model_shape == shape) & (rows.height == height)
    same &= rows.guidance & (rows.compiled == compiled)
    same &= rows.dtype == dtype.replace("bfloat16", "float16")  # they are equally fast
    same &= (rows.batch_size < 4) == (batch < 4)
    speed = batch * steps / measurement.seconds
    text = (
        f"{speed:.1f} image-steps per second on {card.name}: {_compare(speed, rows[same], batch)}"
    )
    text += f" The forecast is {slowest:.1f} to {fastest:.1f}."
    if batch < 4:
        text += " A batch of less than 4 depends on the processor, too."
    return text


def _compare(speed: float, rows: pandas.DataFrame, batch_size: int) -> str:
    """Say how many of the published speeds are lower or higher, at the nearest batch size."""
    if rows.empty:
        return "nobody has published a time for these settings."
    published_batch = min(rows.batch_size, key=lambda size: abs(log(size / batch_size)))
    rows = rows[rows.batch_size == published_batch]
    speeds = rows.batch_size * rows.steps.where(rows.timed == "call", 1) / rows.seconds
    lower = (speeds < speed).sum()
    is_faster = 2 * lower >= len(speeds)
    return (
        f"{'faster' if is_faster else 'slower'} than {lower if is_faster else len(speeds) - lower} "
        f"of {len(speeds)} published times for a batch of {published_batch}, which are "
        f"{min(speeds):.1f} to {max(speeds):.1f}."
    )
