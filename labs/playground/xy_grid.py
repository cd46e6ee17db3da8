"""Vary two inputs of one image, and lay out the image of each pair of values."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable
from math import ceil
from numbers import Number
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps
from tqdm.auto import tqdm

from helpers import make_generators, use_scheduler
from helpers.grids import draw_labels, explain_black
from labs.images import Settings
from labs.images.generate import call_arguments, default_size

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Inputs = dict[str, Any]
Change = Callable[[Inputs, Any], Inputs]
CELL = 256  # pixels across, at least
CHECKED = ("seed", "num_inference_steps", "guidance_scale", "height", "width")


def xy_grid(
    pipeline: DiffusionPipeline,
    x: tuple[str | Change, Iterable[Any]],
    y: tuple[str | Change, Iterable[Any]],
    **inputs: Any,
) -> Image.Image:
    """Generate an image for each pair of values of two inputs, and lay them out with labels.

    A sentence is printed if some of them are black.

    Args:
        x, y: each an input and its values. The input is the name of an argument of the pipeline,
            "seed" or "scheduler"; or a function that takes the inputs and a value and returns
            changed inputs, such as `replace_words("old")`.
        inputs: the other arguments, such as the prompt; the seed is 0 unless it is given.

    Returns:
        An RGB image with the values of x along the top and those of y down the left side.

    Raises:
        ValueError: a value cannot be used. No image has been generated then.
        TypeError: the pipeline has no such argument.

    Source: AUTOMATIC1111/stable-diffusion-webui, the script "X/Y/Z plot".
    """
    copied = copy.copy(pipeline)  # it shares the weights, and may have another scheduler
    (x_input, across), (y_input, down) = ((name, list(values)) for name, values in (x, y))
    if x_input == y_input:
        raise ValueError(f"Both axes vary {x_input!r}: give each its own input.")
    if not (across and down):
        raise ValueError("Each axis needs at least one value.")
    plan = [
        _prepare(copied, {"seed": 0, **inputs}, {x_input: x_value, y_input: y_value})
        for y_value in down
        for x_value in across
    ]
    copied.set_progress_bar_config(disable=True)
    bar = tqdm(plan, unit="image", disable=bool(os.environ.get("CI")))  # there outputs are compared
    images = [_generate(copied, pipeline.scheduler, chosen) for chosen in bar]
    if black := explain_black(images):
        print(black)
    labels = [_label(x_input, *pair) for pair in enumerate(across, start=1)]
    return _lay_out(images, labels, [_label(y_input, *pair) for pair in enumerate(down, start=1)])


def replace_words(words: str) -> Change:
    """Make an axis of `xy_grid` from words of the prompt, which each value replaces.

    Only whole words are replaced: "old" leaves "golden" as it is.

    Example:
        >>> replace_words("old")({"prompt": "an old chief in gold"}, "aged")
        {'prompt': 'an aged chief in gold'}
    """
    pattern = rf"(?<!\w){re.escape(words)}(?!\w)"

    def change(inputs: Inputs, value: Any) -> Inputs:
        prompt = inputs.get("prompt")
        if not isinstance(prompt, str) or not re.search(pattern, prompt):
            raise ValueError(f"{words!r} is not in the prompt: {prompt!r}.")
        return {**inputs, "prompt": re.sub(pattern, lambda _: str(value), prompt)}

    return change


def _prepare(
    pipeline: DiffusionPipeline, inputs: Inputs, values: dict[str | Change, Any]
) -> Inputs:
    """Return the inputs with these values, checked: a bad one would stop the grid half-way."""
    chosen = inputs | {name: val for name, val in values.items() if not callable(name)}
    for change, value in values.items():
        if callable(change):
            chosen = change(chosen, value)
    given = [name for name in CHECKED if name == "seed" or chosen.get(name) is not None]
    settings = Settings("", **{name: chosen[name] for name in given})
    chosen = chosen | {name: getattr(settings, name) for name in given}
    if "scheduler" in chosen:
        use_scheduler(copy.copy(pipeline), chosen["scheduler"])
    for side, other in (("height", "width"), ("width", "height")):
        if chosen.get(side) and not chosen.get(other):  # given alone, a side has no effect
            chosen = {**chosen, other: default_size(pipeline)}
    if unknown := chosen.keys() - call_arguments(pipeline) - {"seed", "scheduler"}:
        raise TypeError(f"A {type(pipeline).__name__} has no argument {min(unknown)!r}.")
    return chosen


def _generate(pipeline: DiffusionPipeline, scheduler: Any, chosen: Inputs) -> Image.Image:
    given = {name: val for name, val in chosen.items() if name not in ("seed", "scheduler")}
    pipeline.scheduler = scheduler
    if "scheduler" in chosen:
        use_scheduler(pipeline, chosen["scheduler"])
    return pipeline(**given, generator=make_generators(chosen["seed"])).images[0]


def _label(name: str | Change, number: int, value: Any) -> str:
    """Name a value briefly: one long label makes the font of all labels small."""
    if isinstance(value, float):
        text = f"{value:.4g}"
    elif value is None or isinstance(value, str | Number):
        text = str(value)
    else:  # a scheduler's class has a name; images and tensors are counted
        text = getattr(value, "__name__", str(number))
    if callable(name):
        return text
    return f"{name.removeprefix('num_inference_').replace('_', ' ')} {text}"


def _lay_out(images: list[Image.Image], across: list[str], down: list[str]) -> Image.Image:
    """Paste images row by row, with a label above each column and to the left of each row."""
    factor = ceil(CELL / max(image.width for image in images))
    images = [ImageOps.scale(image.convert("RGB"), factor, Image.LANCZOS) for image in images]
    width = max(image.width for image in images)
    above, left = draw_labels(across, len(across), width), draw_labels(down, len(down), width)
    top = above[0].height
    height = max(left[0].height, *(image.height for image in images))
    grid = Image.new("RGB", (width * (1 + len(across)), top + height * len(down)), "white")
    for column, label in enumerate(above, start=1):
        grid.paste(label, (column * width, 0))
    for row, label in enumerate(left):
        grid.paste(label, (0, top + row * height + (height - label.height) // 2))
    for number, image in enumerate(images):
        row, column = divmod(number, len(across))
        grid.paste(image, ((column + 1) * width, top + row * height))
    return grid
