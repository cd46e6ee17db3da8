"""Compare a measurement with what others measured on the same card."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from helpers.hub import nearest
from helpers.models import MODELS
from labs.forecast.gpus import find_card
from labs.forecast.published import SHAPES, read_published_seconds
from labs.forecast.seconds import forecast_seconds

if TYPE_CHECKING:
    from helpers.timing import Measurement

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

    Example:
        >>> from helpers.timing import Measurement
        >>> mine = Measurement("mine", [], 4.0, 0.1, num_inference_steps=20, device="Tesla T4")
        >>> print(is_this_normal(mine))
        5.0 image-steps per second on T4: slower than ... published times for a batch of 1, ...
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
    forecast = forecast_seconds(
        shape,
        card,
        batch_size=batch,
        num_inference_steps=steps,
        height=height,
        width=width,
        dtype=dtype,
        compiled=compiled,
    )
    speed = batch * steps / measurement.seconds
    slowest, _, fastest = (batch * steps / seconds for seconds in reversed(forecast.seconds))
    published_batch, speeds = _published(card.name, shape, height, batch, dtype, compiled)
    text = f"{speed:.1f} image-steps per second on {card.name}: "
    text += _compare(speed, speeds, published_batch)
    text += f" The forecast is {slowest:.1f} to {fastest:.1f}."
    if batch < 4:
        text += " A batch of less than 4 depends on the processor, too."
    return text


def _published(
    gpu: str, shape: str, height: int | None, batch_size: int, dtype: str, compiled: bool
) -> tuple[int, list[float]]:
    """Return the nearest published batch size, and its image-steps per second."""
    rows = read_published_seconds()
    same = (rows.gpu == gpu) & (rows.model.map(SHAPES) == shape) & (rows.height == height)
    same &= rows.guidance & (rows.compiled == compiled)
    same &= rows.dtype == dtype.replace("bfloat16", "float16")  # they are equally fast
    rows = rows[same & ((rows.batch_size < 4) == (batch_size < 4))]
    nearest_size = min(
        rows.batch_size, key=lambda size: abs(log(size / batch_size)), default=batch_size
    )
    rows = rows[rows.batch_size == nearest_size]
    steps = rows.steps.where(rows.timed == "call", 1)
    return nearest_size, (rows.batch_size * steps / rows.seconds).tolist()


def _compare(speed: float, speeds: list[float], batch_size: int) -> str:
    """Say how many of the published speeds are lower, or how many are higher."""
    if not speeds:
        return "nobody has published a time for these settings."
    lower = sum(published < speed for published in speeds)
    is_faster = 2 * lower >= len(speeds)
    return (
        f"{'faster' if is_faster else 'slower'} than {lower if is_faster else len(speeds) - lower} "
        f"of {len(speeds)} published times for a batch of {batch_size}, which are "
        f"{min(speeds):.1f} to {max(speeds):.1f}."
    )
