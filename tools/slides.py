"""`make slides`: the notebooks as slides, with their images' alt texts."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = [str(ROOT / "tools/templates")]


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook without the cells for Colab, and with links to pages, not to notebooks."""
    notebook = nbformat.read(path, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    colab = next(index for index, names in enumerate(tags) if "colab" in names)
    del notebook.cells[colab - 1 : colab + 1]  # the cell, and the sentence above it
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(([\w./]+)\.ipynb([#)])", r"](\1.html\2", cell.source)
    return notebook


def write_slides(folder: Path) -> None:
    """Write slides for each notebook: a heading or a code cell starts the next one.

    They load reveal.js from the network. A slide longer than the screen scrolls.
    """
    exporter = SlidesExporter(
        extra_template_basedirs=TEMPLATES, template_name="slides", reveal_scroll=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        notebook = read_notebook(path)
        for cell in notebook.cells:
            kind = "subslide" if cell.cell_type == "code" else "-"
            kind = "slide" if re.match(r"##? ", cell.source) else kind
            cell.metadata.slideshow = {"slide_type": kind}
        html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
        (folder / f"{path.stem}.html").write_text(html, encoding="utf-8")


if __name__ == "__main__":
    write_slides(ROOT / "build/slides")
    print("Open build/slides/00_start_here.html in a browser.")
