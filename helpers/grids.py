"""Lay images out in a grid, show them, measure how different two are."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from math import ceil, isqrt, sqrt
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageStat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID_WIDTH, SHOWN_WIDTH = 256, 384  # pixels: narrower images are enlarged in a grid, and alone


def image_grid(
    images: Iterable[Image.Image],
    rows: int | None = None,
    cols: int | None = None,
    labels: Sequence[object] | None = None,
) -> Image.Image:
    """Lay images of one size out in rows, each with its label below it.

    Args:
        images: in reading order, W x H pixels each; enlarged if W is below 256.
        rows, cols: what is not given is computed; with neither, the grid is nearly square.
        labels: one for each image; wrapped to its width.

    Returns:
        An RGB image of cols * W pixels across; white where there is no image.
    """
    images = require_images(images)
    rows, cols = _grid_shape(len(images), rows, cols)
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        raise ValueError(f"The images of a grid must have one size, not {sorted(sizes)}.")
    images = [enlarge(image, GRID_WIDTH) for image in images]
    width, height = images[0].size
    captions = draw_labels(labels, len(images), width)
    cell_height = height + captions[0].height
    grid = Image.new("RGB", (cols * width, rows * cell_height), "white")
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % cols * width, index // cols * cell_height
        grid.paste(image, (x, y))
        grid.paste(caption, (x, y + height))
    grid.info["note"] = explain_black(images)  # for `show`, which sees the grid alone
    return grid


def show(image_or_figure: Image.Image | Figure, alt: str) -> None:
    """Display an image or a matplotlib figure in the notebook, with alt text.

    A sentence is printed if the image, or one in an `image_grid`, is black.

    Args:
        image_or_figure: an image, displayed as JPEG and enlarged if small; or a figure, as JPEG if
            it holds images, and as PNG of 256 colors otherwise.
        alt: what it shows, in a sentence, for readers who cannot see it.

    Source: jupyter/accessibility issue 98.
    """
    from IPython.display import display

    kind, data = "image/jpeg", io.BytesIO()
    if hasattr(image_or_figure, "savefig"):
        drawn = io.BytesIO()
        image_or_figure.savefig(drawn, format="png")
        image = Image.open(drawn).convert("RGB")
        if any(axes.images for axes in image_or_figure.axes):
            image.save(data, format="JPEG", quality=90)
        else:
            kind = "image/png"
            image.quantize(256).save(data, format="PNG", optimize=True)
    else:
        (image,) = require_images([image_or_figure])
        if note := image.info.get("note") or explain_black([image]):
            print(note)
        enlarge(image, SHOWN_WIDTH).save(data, format="JPEG", quality=85)
    shown = {kind: base64.b64encode(data.getvalue()).decode(), "text/plain": alt}
    display(shown, raw=True, metadata={kind: {"alt": alt}})


def explain_black(images: Iterable[Image.Image]) -> str:
    """Say why images may be black and what to do about it; "" if none is.

    Source: CompVis/stable-diffusion issue 239; diffusers issue 14438 for Macs.
    """
    black = [str(i) for i, image in enumerate(images, 1) if image.convert("RGB").getbbox() is None]
    if not black:
        return ""
    which = ("Image {} is" if len(black) == 1 else "Images {} are").format(", ".join(black))
    return (
        f"{which} black: either the model's safety checker flagged the result, which it also does "
        "by mistake (try another seed), or the numbers overflowed (load the pipeline with "
        "dtype='float32'; on a Mac, do not slice attention)."
    )


def image_distance(a: Image.Image, b: Image.Image) -> float:
    """Return how different two images of one size are: the root mean square of their differences.

    Returns:
        0 for equal images, 255 for black and white.
    """
    a, b = require_images([a, b])
    if a.size != b.size:
        raise ValueError(f"Only images of one size can be compared, not {a.size} and {b.size}.")
    bands = ImageStat.Stat(ImageChops.difference(a.convert("RGB"), b.convert("RGB"))).rms
    return sqrt(sum(band**2 for band in bands) / len(bands))


def require_images(images: Any) -> list[Image.Image]:
    """Return images as a list, converting NumPy arrays of pixels; refuse anything else."""
    found = []
    single = isinstance(images, Image.Image) or getattr(images, "shape", ())[2:] in ((3,), (4,))
    for item in [images] if single else images:
        if getattr(item, "ndim", 0) == 3 and str(getattr(item, "dtype", "")) == "uint8":
            item = Image.fromarray(item)
        if not isinstance(item, Image.Image):
            kind = type(item).__name__
            raise ValueError(f"A {kind} is not an image: give PIL images, or arrays of uint8.")
        found.append(item)
    if not found:
        raise ValueError("There is no image: give at least one.")
    return found


def enlarge(image: Image.Image, width: int) -> Image.Image:
    """Return an image in RGB, enlarged by a whole number to at least `width` pixels across."""
    factor = ceil(width / image.width)
    size = (image.width * factor, image.height * factor)
    image = image.convert("RGB")
    return image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)


def draw_labels(labels: Sequence[object] | None, count: int, width: int) -> list[Image.Image]:
    """Draw labels in black on white, `width` pixels across with a margin, all of one height."""
    if labels is None:
        return [Image.new("RGB", (width, 0))] * count
    if len(labels) != count:
        raise ValueError(f"{len(labels)} labels do not fit {count} images: give one for each.")
    texts = [str(label) for label in labels]
    room = width - width // 12
    font = _fitting_font(texts, room)
    wrapped = [_wrap(text, font, room) for text in texts]
    line = ceil(1.25 * font.size)
    strips = []
    for lines in wrapped:
        strip = Image.new("RGB", (width, line * max(map(len, wrapped)) + line // 3), "white")
        for number, text in enumerate(lines):
            position = (width / 2, line * (number + 0.6))
            ImageDraw.Draw(strip).text(position, text, "black", font, anchor="mm")
        strips.append(strip)
    return strips


def _fitting_font(texts: Sequence[str], width: int) -> Any:
    """The largest font, from a tenth of the width down, in which every word fits."""
    words = " ".join(texts).split()
    for size in range(max(12, width // 10), max(8, width // 20), -1):
        font = ImageFont.load_default(size)
        if all(font.getlength(word) <= width for word in words):
            break
    return font


def _wrap(text: str, font: Any, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        while font.getlength(word) > width:  # in the smallest font, too
            word = word[:-4] + "..."
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _grid_shape(count: int, rows: int | None, cols: int | None) -> tuple[int, int]:
    if any(given is not None and given < 1 for given in (rows, cols)):
        raise ValueError("A grid needs at least one row and one column.")
    if rows and cols and rows * cols != count:
        raise ValueError(f"{count} images do not fill a grid of {rows} x {cols}: change one.")
    if rows is None and cols is None:
        # Full rows (8 is 2 x 4) unless that makes a ribbon (7 is not 1 x 7).
        rows = max(row for row in range(1, isqrt(count) + 1) if count % row == 0)
        if count // rows > 2 * rows + 1:
            rows = ceil(count / ceil(sqrt(count)))
    rows = rows or ceil(count / (cols or 1))
    return rows, cols or ceil(count / rows)
