"""Lay pictures out in a grid, vary two settings over one, show pictures, tell how far apart."""

from __future__ import annotations

import base64
import inspect
import io
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from math import ceil, isqrt, sqrt
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageStat

from helpers.inputs import make_generators
from helpers.loading import use_scheduler

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Axis = tuple[str, Sequence[object]]  # a setting, or words of the prompt, and its values


def image_grid(
    images: Sequence[Image.Image],
    rows: int | None = None,
    cols: int | None = None,
    labels: Sequence[object] | None = None,
) -> Image.Image:
    """Lay pictures of one size out in rows, each with its label below it.

    A sentence is printed if some of them are black (see `explain_black`).

    Args:
        images: W x H pixels each, in reading order.
        rows, cols: what is not given is worked out; with neither, the grid is near square.
        labels: one for each picture (a seed, a number of steps, seconds); wrapped to its width.

    Returns:
        An RGB picture of cols * W pixels across; white where there is no picture.

    Raises:
        ValueError: the number of pictures does not fit the grid, that of labels does not fit the
            pictures, or the pictures differ in size.

    Example:
        >>> squares = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
        >>> image_grid(squares).size
        (192, 64)
        >>> image_grid(squares, cols=1, labels=["seed 0", "seed 1", "seed 2"]).width
        64
    """
    rows, cols = _grid_shape(len(images), rows, cols)
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise ValueError(f"Pictures in a grid must be of one size, not {sorted(sizes)}.")
    explain_black(images)
    width, height = sizes.pop()
    captions = _draw_labels(labels, len(images), width)
    cell_height = height + captions[0].height
    grid = Image.new("RGB", (cols * width, rows * cell_height), "white")
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % cols * width, index // cols * cell_height
        grid.paste(image.convert("RGB"), (x, y))
        grid.paste(caption, (x, y + height))
    return grid


def xy_grid(
    pipeline: Callable[..., Any],
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


def show(image_or_figure: Image.Image | Figure, alt: str) -> None:
    """Display a picture or a matplotlib figure in the notebook, with text for who cannot see it.

    A sentence is printed if the picture is black (see `explain_black`).

    Args:
        image_or_figure: what to display, as PNG.
        alt: what the picture shows, in a sentence.

    Raises:
        ValueError: the alt text is empty.

    Source: jupyter/accessibility issue 98.

    Example:
        >>> show(Image.new("RGB", (8, 8), "navy"), alt="A navy square.")
        {'image/png': '...', 'text/plain': 'A navy square.'}
    """
    if not alt.strip():
        raise ValueError("The alt text is empty: say in a sentence what the picture shows.")
    from IPython.display import display

    png = io.BytesIO()
    if isinstance(image_or_figure, Image.Image):
        explain_black([image_or_figure])
        image_or_figure.save(png, format="PNG", optimize=True)
    else:
        image_or_figure.savefig(png, format="png")
    data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt}})


def explain_black(images: Sequence[Image.Image]) -> None:
    """Print why pictures may be black, if some of them are, and what to do about it.

    A model with a safety checker returns a black picture in place of one that the checker took
    for indecent; numbers that overflow make one too. The pictures do not tell which it was, a
    pipeline's output does: its `nsfw_content_detected`.

    Source: CompVis/stable-diffusion issue 239; huggingface/diffusers issue 14438 for Macs.

    Example:
        >>> explain_black([Image.new("RGB", (8, 8), colour) for colour in ("red", "black")])
        Picture 2 of 2 is black: ...
    """
    black = [
        str(number)
        for number, image in enumerate(images, start=1)
        if image.convert("RGB").getbbox() is None
    ]
    if black:
        which = f"Picture {black[0]} of {len(images)} is"
        if len(black) > 1:
            which = f"Pictures {', '.join(black)} of {len(images)} are"
        print(
            f"{which} black: either the model's safety checker withheld what it drew, which it "
            "also does by mistake (try another seed), or the numbers overflowed (load it with "
            "dtype='float32'; on a Mac, do without attention slicing)."
        )


def image_distance(a: Image.Image, b: Image.Image) -> float:
    """Return how far apart two pictures are: the root mean square of their differences.

    Args:
        a, b: pictures of the same size.

    Returns:
        0 for equal pictures, 255 for black and white.

    Raises:
        ValueError: the pictures differ in size.

    Example:
        >>> image_distance(Image.new("RGB", (8, 8), "black"), Image.new("RGB", (8, 8), "white"))
        255.0
    """
    if a.size != b.size:
        raise ValueError(f"Only pictures of one size can be compared, not {a.size} and {b.size}.")
    bands = ImageStat.Stat(ImageChops.difference(a.convert("RGB"), b.convert("RGB"))).rms
    return sqrt(sum(band**2 for band in bands) / len(bands))


def _settings_of(pipeline: Callable[..., Any]) -> set[str]:
    """Return the names that are settings; any other can only be words of the prompt."""
    return {*inspect.signature(pipeline).parameters, "seed", "scheduler"}


def _check_axes(pipeline: Callable[..., Any], x: Axis, y: Axis, inputs: dict[str, object]) -> None:
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


def _draw(pipeline: Callable[..., Any], settings: dict[str, Any]) -> Image.Image:
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
    across, down = (_draw_labels(texts, len(texts), width) for texts in labels)
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


def _grid_shape(count: int, rows: int | None, cols: int | None) -> tuple[int, int]:
    if count == 0:
        raise ValueError("There is no picture to lay out: give at least one.")
    if rows is None and cols is None:
        # Rows without a gap (8 is 2 x 4) unless that makes a ribbon (7 is not 1 x 7).
        rows = max(row for row in range(1, isqrt(count) + 1) if count % row == 0)
        cols = count // rows
        if cols > 2 * rows + 1:
            cols = ceil(sqrt(count))
            rows = ceil(count / cols)
    elif rows is None or cols is None:
        given = rows or cols or 0
        if given < 1:
            raise ValueError("A grid needs at least one row and one column.")
        other = ceil(count / given)
        rows, cols = rows or other, cols or other
    elif rows * cols != count:
        raise ValueError(
            f"{count} pictures do not fill a grid of {rows} x {cols} = {rows * cols}: "
            "change rows or cols, or leave one of them out."
        )
    return rows, cols


def _draw_labels(labels: Sequence[object] | None, count: int, width: int) -> list[Image.Image]:
    """Draw each label on white, as wide as its picture and as high as the longest label needs."""
    if labels is None:
        return [Image.new("RGB", (width, 0))] * count
    if len(labels) != count:
        raise ValueError(f"{len(labels)} labels do not fit {count} pictures: give one for each.")
    texts = [str(label) for label in labels]
    font = _fitting_font(texts, width)
    wrapped = [_wrap(text, font, width) for text in texts]
    line = ceil(1.25 * font.size)
    strips = []
    for lines in wrapped:
        strip = Image.new("RGB", (width, line * max(map(len, wrapped)) + line // 3), "white")
        for number, text in enumerate(lines):
            place = (width / 2, line * (number + 0.6))
            ImageDraw.Draw(strip).text(place, text, "black", font, anchor="mm")
        strips.append(strip)
    return strips


def _fitting_font(texts: Sequence[str], width: int) -> ImageFont.FreeTypeFont:
    """Return the largest font, from a tenth of the width down, in which every word fits."""
    words = " ".join(texts).split()
    for size in range(max(12, width // 10), 5, -1):
        font = ImageFont.load_default(size)
        if all(font.getlength(word) <= width for word in words):
            break
    return font


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
