"""Vary two settings of one picture, and lay out what comes of each pair."""

from __future__ import annotations

import inspect
import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.changes import use_scheduler
from helpers.grids import draw_labels, explain_black
from helpers.inputs import make_generators

if TYPE_CHECKING:
    from helpers.pipelines import Pipeline

Axis = tuple[str, Sequence[object]]  # a setting, or words of the prompt, and its values


def xy_grid(
    pipeline: Pipeline,
    x: Axis,
    y: Axis,
    *,
    made: dict[str, Image.Image] | None = None,
    **inputs: object,
) -> Image.Image:
    """Draw a picture for each pair of values of two settings, and lay them out with their axes.

    A sentence is printed if some of them are black (see `explain_black`).

    Args:
        pipeline: called with the settings by name; it returns an object with `.images`.
        x, y: a name and its values. The name is that of an argument of the pipeline, or "seed", or
            "scheduler" (see `use_scheduler`), or words of the prompt: those each value replaces.
        made: the pictures made so far, by settings. Give the same dict again to go on where a run
            was stopped; a picture in it is not made again.
        inputs: all other settings, such as the prompt; the seed is 0 unless given.

    Returns:
        The values of x along the top, those of y down the left side.

    Raises:
        ValueError: an axis is neither a setting nor words of the prompt, or has no values; both
            are the same; or a generator is given, which would move on from picture to picture.

    Source: AUTOMATIC1111/stable-diffusion-webui, the script "X/Y/Z plot".

    Example:
        >>> from types import SimpleNamespace
        >>> def pipeline(prompt, num_inference_steps, generator):
        ...     return SimpleNamespace(images=[Image.new("RGB", (64, 64), prompt.split()[-1])])
        >>> steps = ("num_inference_steps", [5, 10, 20])
        >>> xy_grid(pipeline, steps, ("red", ["red", "blue"]), prompt="a wall in red").width
        256
    """
    _check_axes(pipeline, x, y, inputs)
    made = {} if made is None else made
    pairs = [{"seed": 0, **inputs, x[0]: across, y[0]: down} for down in y[1] for across in x[1]]
    plan = [_replace_words(pair, {x[0], y[0]} - _settings_of(pipeline)) for pair in pairs]
    keys = [repr(sorted(settings.items())) for settings in plan]
    todo = {key: settings for key, settings in zip(keys, plan, strict=True) if key not in made}
    start = time.perf_counter()
    for count, (key, settings) in enumerate(todo.items()):
        _report_progress(count, len(todo), time.perf_counter() - start)
        made[key] = _draw(pipeline, settings)
    _report_progress(len(todo), len(todo), time.perf_counter() - start)
    return _frame([made[key] for key in keys], x, y, _settings_of(pipeline))


def _settings_of(pipeline: Pipeline) -> set[str]:
    """Return the names that are settings; any other can only be words of the prompt."""
    return {*inspect.signature(pipeline).parameters, "seed", "scheduler"}


def _check_axes(pipeline: Pipeline, x: Axis, y: Axis, inputs: dict[str, object]) -> None:
    """Refuse what cannot be drawn before the first picture is."""
    if x[0] == y[0]:
        raise ValueError(f"Both axes are {x[0]!r}: let each vary something of its own.")
    if "generator" in (x[0], y[0], *inputs):
        raise ValueError("A generator moves on with each picture: give a seed in its place.")
    prompts = [axis[1] for axis in (x, y) if axis[0] == "prompt"] or [[inputs.get("prompt", "")]]
    for name, values in (x, y):
        if not list(values):
            raise ValueError(f"The axis {name!r} has no values: give at least one.")
        if name in _settings_of(pipeline):
            continue
        if not any(re.search(_whole_words([name]), str(prompt)) for prompt in prompts[0]):
            raise ValueError(
                f"{name!r} is neither a setting of the pipeline nor words of the prompt: name one "
                "such as 'num_inference_steps', 'guidance_scale', 'scheduler' or 'seed'."
            )


def _whole_words(phrases: Iterable[str]) -> str:
    return rf"(?<!\w)(?:{'|'.join(map(re.escape, phrases))})(?!\w)"


def _replace_words(settings: dict[str, Any], words: set[str]) -> dict[str, Any]:
    """Take the words out of the settings, and put what replaces them into the prompt."""
    if not words:
        return settings
    longest_first = sorted(words, key=len, reverse=True)
    prompt = re.sub(
        _whole_words(longest_first),
        lambda match: str(settings[match[0]]),  # in one go: no replacement is replaced again
        settings["prompt"],
    )
    return {name: val for name, val in settings.items() if name not in words} | {"prompt": prompt}


def _draw(pipeline: Pipeline, settings: dict[str, Any]) -> Image.Image:
    """Draw one picture; a scheduler among the settings is the pipeline's for that time only."""
    arguments = {k: val for k, val in settings.items() if k not in ("seed", "scheduler")}
    arguments["generator"] = make_generators(settings["seed"])
    if "scheduler" not in settings:
        return pipeline(**arguments).images[0]
    before = pipeline.scheduler
    try:
        return use_scheduler(pipeline, settings["scheduler"])(**arguments).images[0]
    finally:
        pipeline.scheduler = before


def _report_progress(done: int, count: int, seconds: float) -> None:
    """Say on one line how far it is; nothing in CI, where outputs are compared."""
    if os.environ.get("CI"):
        return
    left = f", about {seconds / done * (count - done):.0f} s left" if 0 < done < count else ""
    print(f"\r{done} of {count} pictures{left}".ljust(60), end="\n" if done == count else "")


def _frame(images: list[Image.Image], x: Axis, y: Axis, settings: set[str]) -> Image.Image:
    """Set the values of x above a grid of pictures, and those of y to the left of it."""
    explain_black(images)
    width, height = (max(sides) for sides in zip(*(image.size for image in images), strict=True))
    labels = [
        [f"{name.replace('_', ' ')} {value}" if name in settings else value for value in values]
        for name, values in (x, y)
    ]
    across, down = (draw_labels(texts, len(texts), width) for texts in labels)
    top, row_height = across[0].height, max(height, down[0].height)
    size = (width * (1 + len(across)), top + row_height * len(down))
    frame = Image.new("RGB", size, "white")
    for column, label in enumerate(across, start=1):
        frame.paste(label, (column * width, 0))
    for row, label in enumerate(down):
        y_row = top + row * row_height
        frame.paste(label, (0, y_row + (row_height - label.height) // 2))
        for column in range(len(across)):
            frame.paste(images[row * len(across) + column], ((column + 1) * width, y_row))
    return frame
