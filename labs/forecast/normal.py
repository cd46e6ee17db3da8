"""Tell where a measurement stands among what others measured on the same card."""

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


OWN_SIZE = {"sd15-shape": 512, "sdxl-shape": 1024}  # pixels across, where there are no pictures


def is_this_normal(
    measurement: Measurement,
    model: str = "stable-diffusion-v1-5",
    *,
    dtype: str = "float16",
    compiled: bool = False,
) -> str:
    """Say where a measurement stands among published figures of the same card and setting.

    What is compared is image-steps a second: images times steps, over the seconds of the call.

    Args:
        measurement: of a call on a GPU, made with `measure(..., num_inference_steps=...)`.
        model: a name of `MODELS`: what was drawn with.
        dtype: what it was drawn in.
        compiled: whether the UNet was compiled.

    Returns:
        A few sentences.

    Raises:
        ValueError: the measurement does not tell its steps, the card is not in `CARDS`, or the
            model not in `MODELS`.

    Example:
        >>> from helpers.timing import Measurement
        >>> mine = Measurement("mine", [], 4.0, 0.1, num_inference_steps=20, device="Tesla T4")
        >>> print(is_this_normal(mine))
        5.0 image-steps a second on T4: slower than ... published figures for a batch of 1, ...
    """
    if not measurement.num_inference_steps:
        raise ValueError(
            f"{measurement.label or 'The measurement'} does not tell its steps: measure it with "
            "measure(..., num_inference_steps=20)."
        )
    if model not in MODELS:
        raise ValueError(f"{model!r} is no name of MODELS. {nearest(model, MODELS)}")
    card = find_card(measurement.device)
    batch = max(1, len(measurement.images))
    shape = MODELS[model].shape or model
    first = measurement.images[0] if measurement.images else None
    width, height = getattr(first, "size", (OWN_SIZE.get(shape),) * 2)
    steps = measurement.num_inference_steps
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
    image_steps = batch * steps
    own = image_steps / measurement.seconds
    least, _, most = (image_steps / seconds for seconds in reversed(forecast.seconds))
    size, others = _others(card.name, shape, height, batch, dtype, compiled)
    words = f"{own:.1f} image-steps a second on {card.name}: {_among(own, others, size)}"
    words += f" The forecast is {least:.1f} to {most:.1f}."
    if batch < 4:
        words += " A batch of less than 4 depends on the processor, too."
    return words


def _others(
    gpu: str, shape: str, height: int | None, batch_size: int, dtype: str, compiled: bool
) -> tuple[int, list[float]]:
    """The nearest batch that others drew with, and their image-steps a second."""
    rows = read_published_seconds()
    alike = (rows.gpu == gpu) & (rows.model.map(SHAPES) == shape) & (rows.height == height)
    alike &= rows.guidance & (rows.compiled == compiled)
    rows = rows[alike & (rows.dtype == dtype.replace("bfloat16", "float16"))]  # as fast
    small = batch_size < 4  # where the processor has a say
    sizes = [size for size in rows.batch_size if (size < 4) == small]
    nearest = min(sizes, key=lambda size: abs(log(size / batch_size)), default=0)
    rows = rows[rows.batch_size == nearest]
    steps = rows.steps.where(rows.timed == "call", 1)
    return nearest, (rows.batch_size * steps / rows.seconds).tolist()


def _among(own: float, others: list[float], batch_size: int) -> str:
    """Say how many of the others are beaten, or by how many."""
    if not others:
        return "nobody has published a figure for it at such a setting."
    beaten = sum(one < own for one in others)
    faster = 2 * beaten >= len(others)
    number = beaten if faster else len(others) - beaten
    return (
        f"{'faster' if faster else 'slower'} than {number} of {len(others)} published figures for "
        f"a batch of {batch_size}, which go from {min(others):.1f} to {max(others):.1f}."
    )
