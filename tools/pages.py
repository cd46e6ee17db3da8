"""`make html` and `make slides`: the notebooks as web pages and as slides, with their alt texts."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter, SlidesExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
TEMPLATES = [str(ROOT / "tools/templates")]
START = '<meta http-equiv="refresh" content="0; url=00_start_here.html">'
HANDOUT = """\
<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Hand-out</title><style>
@page {{ size: A4; margin: 11mm 13mm }}
body {{ font: 8.6pt/1.3 Arial, sans-serif; max-width: 184mm; margin: auto }}
h1 {{ font-size: 15pt; margin: 0 0 1mm }} h2 {{ font-size: 11pt; margin: 3mm 0 1mm }}
p, ul {{ margin: 1mm 0 }} code {{ font-size: 8pt }} .anchor-link {{ display: none }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 0.3pt solid #999; padding: 0.6mm 1mm; text-align: left }}
</style><body>{}</body></html>
"""


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


def write_pages(folder: Path) -> None:
    """Write a page for each notebook, arranged as the notebooks are, an index and the hand-out."""
    exporter = HTMLExporter(extra_template_basedirs=TEMPLATES)
    for path in sorted(ROOT.glob("notebooks/**/[!.]*.ipynb")):
        name = {"metadata": {"name": path.stem}}
        html, _ = exporter.from_notebook_node(read_notebook(path), name)
        page = folder / path.relative_to(ROOT / "notebooks").with_suffix(".html")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(html, encoding="utf-8")
    (folder / "index.html").write_text(START, encoding="utf-8")
    handout = markdown2html((ROOT / "docs/teaching/handout.md").read_text(encoding="utf-8"))
    (folder / "handout.html").write_text(HANDOUT.format(handout), encoding="utf-8")


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


def main() -> None:
    """Write build/html or, with --slides, build/slides."""
    parser = argparse.ArgumentParser("python -m tools.pages", description=__doc__)
    parser.add_argument("--slides", action="store_true")
    if parser.parse_args().slides:
        write_slides(ROOT / "build/slides")
        print("Open build/slides/00_start_here.html in a browser.")
    else:
        write_pages(ROOT / "build/html")
        print("Open build/html/index.html in a browser.")


if __name__ == "__main__":
    main()
