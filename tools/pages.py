"""`make html`: the notebooks as web pages, which keep what each picture shows in words."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = [str(ROOT / "tools/templates")]
FOLDER = ROOT / "build/html"
START = '<meta http-equiv="refresh" content="0; url=00_start_here.html">'


def read_linked(path: Path) -> NotebookNode:
    """Read a notebook without what is for Colab alone, its links to others made links to pages.

    Example:
        >>> len(read_linked(ROOT / "notebooks/00_start_here.ipynb").cells) > 1
        True
    """
    notebook = nbformat.read(path, as_version=4)
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    colab = next(index for index, some in enumerate(tags) if "colab" in some)
    del notebook.cells[colab - 1 : colab + 1]  # the cell, and the sentence that leads to it
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(([\w./]+)\.ipynb([#)])", r"](\1.html\2", cell.source)
    return notebook


def main(paths: list[str], folder: Path = FOLDER) -> None:
    """Write the page of each notebook into a folder, laid out as the notebooks are."""
    exporter = HTMLExporter(extra_template_basedirs=TEMPLATES)
    for path in map(Path, paths):
        html, _ = exporter.from_notebook_node(read_linked(path), {"metadata": {"name": path.stem}})
        page = folder / path.resolve().relative_to(ROOT / "notebooks").with_suffix(".html")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(html, encoding="utf-8")
    (folder / "index.html").write_text(START, encoding="utf-8")
    print(f"{len(paths)} pages lie in {folder}: open index.html in a browser.")


if __name__ == "__main__":
    main(sys.argv[1:])
