"""Draw what is written below a picture: wrapped to its width, as large as fits."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from PIL import Image, ImageDraw, ImageFont


def draw_labels(labels: Sequence[object] | None, count: int, width: int) -> list[Image.Image]:
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
    return font  # type: ignore[return-value]  # Pillow comes with FreeType


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
