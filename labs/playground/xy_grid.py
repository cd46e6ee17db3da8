"""Vary two arguments of one picture, and lay out what comes of each pair."""

from __future__ import annotations

import copy
import inspect
import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.grids import GRID_WIDTH, draw_labels, enlarge, explain_black
from helpers.inputs import make_generators
from helpers.loading import use_scheduler
from labs.images.generate import default_size
from labs.images.origin import fingerprint

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Axis = tuple[str, Sequence[object]]  # a setting, or words of the prompt, and its values


def xy_grid(
    pipeline: DiffusionPipeline,
    x: Axis,
    y: Axis,
    *,
    made: dict[str, Image.Image] | None = None,
    **inputs: object,
) -> Image.Image:
    """Draw a picture for each pair of values of two arguments, and lay them out with their axes.

    A sentence is printed if some of them are black (see `explain_black`).

    Args:
        pipeline: called with the arguments by name; it returns an object with `.images`.
        x, y: a name and its values. The name is that of an argument of the pipeline, or "seed", or
            "scheduler" (see `use_scheduler`), or words of the prompt: those each value replaces.
        made: the pictures made so far, by arguments, weights and scheduler. Give the same dict
            again to go on where a run was stopped; a picture in it is not made again.
        inputs: all other arguments, such as the prompt; the seed is 0 unless given.

    Returns:
        The values of x along the top, those of y down the left side.

    Raises:
        ValueError: an axis is neither an argument nor words of the prompt, or has no values or
            one that cannot be drawn; both are the same; or a generator is given, which would move
            on from picture to picture. Nothing has been drawn then.

    Source: AUTOMATIC1111/stable-diffusion-webui, the script "X/Y/Z plot".

    Example:
        >>> from types import SimpleNamespace
        >>> def pipeline(prompt, num_inference_steps, generator):
        ...     return SimpleNamespace(images=[Image.new("RGB", (64, 64), prompt.split()[-1])])
        >>> steps = ("num_inference_steps", [5, 10, 20])
        >>> xy_grid(pipeline, steps, ("red", ["red", "blue"]), prompt="a wall in red").width
        1024
    """
    x, y = _read_axis(x), _read_axis(y)
    _check_axes(pipeline, x, y, inputs)
    made = {} if made is None else made
    pairs = [{"seed": 0, **inputs, x[0]: across, y[0]: down} for down in y[1] for across in x[1]]
    plan = [_replace_words(pair, {x[0], y[0]} - _arguments_of(pipeline)) for pair in pairs]
    plan = [_whole_size(pipeline, arguments) for arguments in plan]
    for arguments in plan:
        _check_values(pipeline, arguments)
    drawer = _describe(pipeline)
    keys = [f"{drawer} {sorted(arguments.items())!r}" for arguments in plan]
    todo = {key: arguments for key, arguments in zip(keys, plan, strict=True) if key not in made}
    start = time.perf_counter()
    for count, (key, arguments) in enumerate(todo.items()):
        _report_progress(count, len(todo), time.perf_counter() - start)
        made[key] = _draw(pipeline, arguments)
    _report_progress(len(todo), len(todo), time.perf_counter() - start)
    return _frame([made[key] for key in keys], x, y, _arguments_of(pipeline))


def _read_axis(axis: Axis) -> tuple[str, list[object]]:
    name, values = axis
    if isinstance(values, str):
        raise ValueError(f"The axis {name!r} has the text {values!r} for values: give a list.")
    return name, list(values)


def _describe(pipeline: DiffusionPipeline) -> str:
    """What a picture depends on beside its arguments: the weights, and the scheduler as it is."""
    scheduler = getattr(pipeline, "scheduler", None)
    config = sorted(getattr(scheduler, "config", {}).items(), key=str)
    return f"{fingerprint(pipeline)} {type(scheduler).__name__} {config}"


def _whole_size(pipeline: DiffusionPipeline, arguments: dict[str, Any]) -> dict[str, Any]:
    """Add the other side to one that is given alone: pipelines would take neither."""
    given = [side for side in ("height", "width") if arguments.get(side) is not None]
    if len(given) != 1:
        return arguments
    return {side: default_size(pipeline) for side in ("height", "width")} | arguments


def _check_values(pipeline: DiffusionPipeline, arguments: dict[str, Any]) -> None:
    """Refuse a value that would stop the grid half-way."""
    make_generators(arguments["seed"])
    if "scheduler" in arguments:
        use_scheduler(copy.copy(pipeline), arguments["scheduler"])
    for name, least, step in (("num_inference_steps", 1, 1), ("height", 8, 8), ("width", 8, 8)):
        value = arguments.get(name)
        if value is not None and (type(value) is not int or value < least or value % step):
            raise ValueError(
                f"{name} {value!r} cannot be drawn: use a multiple of {step}, {least} or more."
            )


def _arguments_of(pipeline: DiffusionPipeline) -> set[str]:
    """Return the names that are arguments; any other can only be words of the prompt."""
    return {*inspect.signature(pipeline).parameters, "seed", "scheduler"}


def _check_axes(pipeline: DiffusionPipeline, x: Axis, y: Axis, inputs: dict[str, object]) -> None:
    """Refuse what cannot be drawn before the first picture is."""
    if x[0] == y[0]:
        raise ValueError(f"Both axes are {x[0]!r}: let each vary something of its own.")
    if "generator" in (x[0], y[0], *inputs):
        raise ValueError("A generator moves on with each picture: give a seed in its place.")
    prompts = [axis[1] for axis in (x, y) if axis[0] == "prompt"] or [[inputs.get("prompt", "")]]
    for name, values in (x, y):
        if not values:
            raise ValueError(f"The axis {name!r} has no values: give at least one.")
        if name in _arguments_of(pipeline):
            continue
        if not any(re.search(_whole_words([name]), str(prompt)) for prompt in prompts[0]):
            raise ValueError(
                f"{name!r} is neither an argument of the pipeline nor words of the prompt: name "
                "one such as 'num_inference_steps', 'guidance_scale', 'scheduler' or 'seed'."
            )


def _whole_words(phrases: Iterable[str]) -> str:
    return rf"(?<!\w)(?:{'|'.join(map(re.escape, phrases))})(?!\w)"


def _replace_words(arguments: dict[str, Any], words: set[str]) -> dict[str, Any]:
    """Take the words out of the arguments, and put what replaces them into the prompt."""
    if not words:
        return arguments
    longest_first = sorted(words, key=len, reverse=True)
    prompt = re.sub(
        _whole_words(longest_first),
        lambda match: str(arguments[match[0]]),  # in one go: no replacement is replaced again
        arguments["prompt"],
    )
    return {name: val for name, val in arguments.items() if name not in words} | {"prompt": prompt}


def _draw(pipeline: DiffusionPipeline, arguments: dict[str, Any]) -> Image.Image:
    """Draw one picture; a scheduler among the arguments is the pipeline's for that time only."""
    given = {name: val for name, val in arguments.items() if name not in ("seed", "scheduler")}
    given["generator"] = make_generators(arguments["seed"])
    if "scheduler" not in arguments:
        return pipeline(**given).images[0]
    before = pipeline.scheduler
    try:
        return use_scheduler(pipeline, arguments["scheduler"])(**given).images[0]
    finally:
        pipeline.scheduler = before


def _report_progress(done: int, count: int, seconds: float) -> None:
    """Say on one line how far it is; nothing in CI, where outputs are compared."""
    if os.environ.get("CI"):
        return
    left = f", about {seconds / done * (count - done):.0f} s left" if 0 < done < count else ""
    print(f"\r{done} of {count} pictures{left}".ljust(60), end="\n" if done == count else "")


def _label(value: object) -> str:
    """A value as short as it can be told from others; one long number would shrink all labels."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _frame(images: list[Image.Image], x: Axis, y: Axis, arguments: set[str]) -> Image.Image:
    """Set the values of x above a grid of pictures, and those of y to the left of it."""
    print(explain_black(images), end="")
    images = [enlarge(image, GRID_WIDTH) for image in images]
    width, height = (max(sides) for sides in zip(*(image.size for image in images), strict=True))
    labels = [
        [
            f"{name.replace('_', ' ')} {_label(value)}" if name in arguments else _label(value)
            for value in values
        ]
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
