"""Lay pictures out in a grid, show them, tell how far apart they are."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from math import ceil, isqrt, sqrt
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageStat

from helpers.labels import draw_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEN, SHOWN = 256, 384  # pixels across: narrower pictures are enlarged in a grid, and alone


def image_grid(
    images: Sequence[Image.Image],
    rows: int | None = None,
    cols: int | None = None,
    labels: Sequence[object] | None = None,
) -> Image.Image:
    """Lay pictures of one size out in rows, each with its label below it.

    A sentence is printed if some of them are black (see `explain_black`).

    Args:
        images: in reading order, W x H pixels each; enlarged if W is below 256.
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
        (768, 256)
        >>> image_grid(squares, cols=1, labels=["seed 0", "seed 1", "seed 2"]).width
        256
    """
    rows, cols = _grid_shape(len(images), rows, cols)
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise ValueError(f"Pictures in a grid must be of one size, not {sorted(sizes)}.")
    explain_black(images)
    images = [enlarge(image, SEEN) for image in images]
    width, height = images[0].size
    captions = draw_labels(labels, len(images), width)
    cell_height = height + captions[0].height
    grid = Image.new("RGB", (cols * width, rows * cell_height), "white")
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % cols * width, index // cols * cell_height
        grid.paste(image, (x, y))
        grid.paste(caption, (x, y + height))
    return grid


def enlarge(image: Image.Image, width: int) -> Image.Image:
    """Return a picture in RGB, a whole number of times as large, at least `width` pixels across.

    Example:
        >>> enlarge(Image.new("RGB", (128, 96)), 256).size
        (256, 192)
    """
    times = ceil(width / image.width)
    size = (image.width * times, image.height * times)
    image = image.convert("RGB")
    return image if times == 1 else image.resize(size, Image.Resampling.LANCZOS)


def show(image_or_figure: Image.Image | Figure, alt: str) -> None:
    """Display a picture or a matplotlib figure in the notebook, with text for who cannot see it.

    A sentence is printed if the picture is black (see `explain_black`).

    Args:
        image_or_figure: a picture, displayed as JPEG and enlarged if it is small; or a figure, as
            PNG.
        alt: what the picture shows, in a sentence.

    Raises:
        ValueError: the alt text is empty.

    Source: jupyter/accessibility issue 98.

    Example:
        >>> show(Image.new("RGB", (8, 8), "navy"), alt="A navy square.")
        {'image/jpeg': '...', 'text/plain': 'A navy square.'}
    """
    if not alt.strip():
        raise ValueError("The alt text is empty: say in a sentence what the picture shows.")
    from IPython.display import display

    data = io.BytesIO()
    if isinstance(image_or_figure, Image.Image):
        kind = "image/jpeg"
        explain_black([image_or_figure])
        enlarge(image_or_figure, SHOWN).save(data, format="JPEG", quality=92, subsampling=0)
    else:
        kind = "image/png"
        image_or_figure.savefig(data, format="png")
    shown = {kind: base64.b64encode(data.getvalue()).decode(), "text/plain": alt}
    display(shown, raw=True, metadata={kind: {"alt": alt}})


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
