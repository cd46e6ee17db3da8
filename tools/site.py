"""`make html`: the notebooks as a site with search, built from their stored outputs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS, DOCS = ROOT / "notebooks", ROOT / "docs"
SETTINGS = DOCS / "site"
SOURCE, SITE, PAGE = (
    ROOT / "build" / "site-source",
    ROOT / "build" / "html",
    ROOT / "build" / "page",
)
PART_TWO = "06"  # the number of its first notebook


def jupyter_anchor(heading: str) -> str:
    """The anchor of a heading as JupyterLab makes it, which the notebooks' links use."""
    return heading.replace(" ", "-")


def one_image_each(cell: NotebookNode) -> Iterator[NotebookNode]:
    """Split a cell after each of its images, since MyST-NB has one alt text for a cell."""
    part, outputs = cell, cell.get("outputs", [])
    if outputs:
        cell.outputs = []
    for output in outputs:
        alts = [entry["alt"] for entry in output.get("metadata", {}).values() if "alt" in entry]
        if alts and "mystnb" in part.metadata:
            yield part
            part = nbformat.v4.new_code_cell("...", metadata={"tags": ["remove-input"]})
        if alts:
            part.metadata["mystnb"] = {"image": {"alt": alts[0]}}
        part.outputs.append(output)
    yield part


def prepare_notebook(path: Path) -> NotebookNode:
    """Read a notebook as the site shows it: without Colab's cell, with its images' alt texts."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "colab" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]
    notebook.cells = [part for cell in notebook.cells for part in one_image_each(cell)]
    colab_at = [index for index, cell in enumerate(notebook.cells)
                if "colab" in cell.metadata.get("tags", [])]  # fmt: skip
    for index in colab_at:
        notebook.cells[index - 1].metadata["tags"] = ["remove-cell"]  # the sentence before it
    return notebook


def write_index() -> str:
    """The first page: what the tutorial is, the notebooks in order, where to generate images."""
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    solutions = sorted(path.stem for path in NOTEBOOKS.glob("solutions/*.ipynb"))
    labs = sorted(path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("labs/**/README.md"))
    parts = {
        "Part one: the walkthrough": [f"notebooks/{name}" for name in names if name < PART_TWO],
        "Part two: labs": [f"notebooks/{name}" for name in names if name >= PART_TWO],
        "Solutions": [f"notebooks/solutions/{name}" for name in solutions],
        "The labs' code": [path.as_posix() for path in labs],
    }
    lines = ["# Effective and efficient diffusion", ""]
    lines += [(SETTINGS / "index.md").read_text(encoding="utf-8")]
    if PAGE.is_dir():
        button = '<a class="sd-btn sd-btn-primary" href="draw/index.html">Generate images here</a>'
        lines += [f"<p>{button}</p>", ""]
    for caption, pages in parts.items():
        lines += ["```{toctree}", ":maxdepth: 1", f":caption: {caption}", "", *pages, "```", ""]
    return "\n".join(lines)


def build_site(site: Path = SITE) -> None:
    """Write the site into a folder, linked to a copy of the page in build/page."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(SETTINGS, SOURCE)
    for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
        target = SOURCE / "notebooks" / path.relative_to(NOTEBOOKS)
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(prepare_notebook(path), target)
    (SOURCE / "index.md").write_text(write_index(), encoding="utf-8")
    for path in ROOT.glob("labs/**/README.md"):
        (SOURCE / path.parent.relative_to(ROOT)).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, SOURCE / path.relative_to(ROOT))
    for path in DOCS.glob("*.jpg"):  # that notebooks show
        (SOURCE / "docs").mkdir(exist_ok=True)
        shutil.copy(path, SOURCE / "docs")
    extra = SOURCE / "extra"
    extra.mkdir()
    if PAGE.is_dir():
        shutil.copytree(PAGE, extra / "draw")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going",
               str(SOURCE), str(site)]  # fmt: skip
    subprocess.run(command, check=True)


if __name__ == "__main__":
    build_site()
    print("Open build/html/index.html in a browser.")
