"""`make slides`: the notebooks as slides, laid out by what their cells hold."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools.pages import ROOT, TEMPLATES, read_linked

FOLDER = ROOT / "build/slides"
PREPARING = {"colab", "parameters"}  # tags of cells that a room need not see
HEIGHT = 660  # pixels of a slide of 1280 x 720 that can be filled
HEADING, PROSE, CODE, PICTURE = 90, 42, 27, 460  # pixels of a line, and of a picture
WIDTH = 88  # characters of prose in a line


def parts(cell: NotebookNode) -> Iterator[NotebookNode]:
    """Part a cell: paragraph by paragraph, and a picture from the code that draws it.

    Hints that unfold stay in the notebook.

    Example:
        >>> [part.source for part in parts(new_markdown_cell("That was it.\\n\\n## And this"))]
        ['That was it.', '## And this']
    """
    if cell.cell_type == "markdown":
        text = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)
        yield from map(new_markdown_cell, re.split(r"\n\s*\n", text.strip()))
    elif height(cell) < PICTURE:
        yield new_code_cell(cell.source, outputs=cell.outputs)
    else:
        yield new_code_cell(cell.source)
        hidden = {"transient": {"remove_source": True}}
        yield new_code_cell(outputs=cell.outputs, metadata=hidden)


def height(part: NotebookNode) -> int:
    """How many pixels of a slide a part takes, about.

    Example:
        >>> height(new_markdown_cell("# A heading")) == HEADING
        True
    """
    if part.cell_type == "markdown":
        joined = re.sub(r"\n(?!\s*([-*|]|\d+\.))", " ", part.source)  # but for lists and tables
        lines = sum(ceil(len(line) / WIDTH) for line in joined.splitlines())
        return HEADING if part.source.startswith("#") else PROSE * lines + PROSE
    pixels = CODE * len(part.source.splitlines()) + CODE
    for output in part.outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        rows = data.get("text/html", "").count("<tr")
        lines = len(data.get("text/plain", "").splitlines())
        picture = {"image/png", "image/jpeg"} & data.keys()
        pixels += PICTURE if picture else PROSE * rows or CODE * lines
    return pixels


def lay_out(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Begin a slide at each heading, and one below it where the last one is full.

    Example:
        >>> slides = lay_out([new_markdown_cell("# Title\\n\\nText.\\n\\n## Heading")])
        >>> [part.metadata.slideshow.slide_type for part in slides]
        ['slide', '-', 'slide']
    """
    prepare = [bool(PREPARING & set(cell.metadata.get("tags", []))) for cell in cells] + [False]
    seen = [cell for index, cell in enumerate(cells) if not any(prepare[index : index + 2])]
    slides, filled = [part for cell in seen for part in parts(cell)], 0
    for part in slides:
        needed, kind = height(part), "-"
        if re.match("##? ", part.source):
            kind = "slide"
        elif part.source.startswith("### ") or filled + needed > HEIGHT:
            kind = "subslide"
        filled = needed + (filled if kind == "-" else 0)
        part.metadata.slideshow = {"slide_type": kind}
    return slides


def main(paths: list[str], folder: Path = FOLDER) -> None:
    """Write the slides of some notebooks into the folder in which reveal.js lies."""
    exporter = SlidesExporter(
        extra_template_basedirs=TEMPLATES,
        template_name="deck",
        reveal_url_prefix="reveal.js",
        reveal_theme="white",
    )
    for path in map(Path, paths):
        notebook = read_linked(path)
        notebook.cells = lay_out(notebook.cells)
        html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
        (folder / f"{path.stem}.html").write_text(html, encoding="utf-8")
    print(f"{len(paths)} decks lie in {folder}: open one in a browser.")


if __name__ == "__main__":
    main(sys.argv[1:])
