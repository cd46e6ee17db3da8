"""`make html`: the notebooks as a site with search, built from their stored outputs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS, DOCS = ROOT / "notebooks", ROOT / "docs"
SETTINGS = DOCS / "site"
BUILD = ROOT / "build"
SOURCE, SITE, PAGE = BUILD / "site-source", BUILD / "html", BUILD / "page"


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
    for before, cell in pairwise(notebook.cells):
        if "colab" in cell.metadata.get("tags", []):
            for hidden in (before, cell):  # the sentence before it, too
                hidden.metadata["tags"] = ["remove-cell"]
    notebook.cells = [part for cell in notebook.cells for part in one_image_each(cell)]
    return notebook


def notebooks() -> list[Path]:
    """The paths of all notebooks, without JupyterLab's checkpoints of them."""
    return sorted([*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")])


def build_site(site: Path = SITE) -> None:
    """Write the site into a folder, linked to a copy of the page in build/page."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(SETTINGS, SOURCE)
    for path in notebooks():
        target = SOURCE / "notebooks" / path.relative_to(NOTEBOOKS)
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(prepare_notebook(path), target)
    for path in ROOT.glob("labs/**/README.md"):
        (SOURCE / path.parent.relative_to(ROOT)).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, SOURCE / path.relative_to(ROOT))
    for path in DOCS.glob("*.jpg"):  # that notebooks show
        (SOURCE / "docs").mkdir(exist_ok=True)
        shutil.copy(path, SOURCE / "docs")
    (SOURCE / "extra").mkdir()
    options = ["--quiet", "--fail-on-warning", "--keep-going"]
    if PAGE.is_dir():
        shutil.copytree(PAGE, SOURCE / "extra" / "draw")
        options += ["--tag", "page"]
    subprocess.run([sys.executable, "-m", "sphinx", *options, SOURCE, site], check=True)


if __name__ == "__main__":
    build_site()
    print("Open build/html/index.html in a browser.")
