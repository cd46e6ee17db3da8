"""`make html`: the notebooks as a site with search, built from their stored outputs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools import colab

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS, SETTINGS = ROOT / "notebooks", ROOT / "docs" / "site"
SOURCE, SITE, PAGE = (
    ROOT / "build" / "site-source",
    ROOT / "build" / "html",
    ROOT / "build" / "page",
)
PART_TWO = "06"  # the number of its first notebook


def jupyter_anchor(heading: str) -> str:
    """The anchor of a heading as JupyterLab makes it, which the notebooks' links use."""
    return heading.replace(" ", "-")


def prepare_notebook(path: Path) -> NotebookNode:
    """Read a notebook as the site shows it: without Colab's cell, with its images' alt texts."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "colab" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]
        for output in cell.get("outputs", []):
            alts = [entry["alt"] for entry in output.get("metadata", {}).values() if "alt" in entry]
            if alts:
                cell.metadata["mystnb"] = {"image": {"alt": alts[0]}}
    colab_at = [index for index, cell in enumerate(notebook.cells)
                if "colab" in cell.metadata.get("tags", [])]  # fmt: skip
    for index in colab_at:
        notebook.cells[index - 1].metadata["tags"] = ["remove-cell"]  # the sentence before it
    return notebook


def write_index(address: str) -> str:
    """The first page: what the tutorial is, the notebooks in order, where to generate images."""
    lines = ["# Effective and efficient diffusion", ""]
    lines += [(SETTINGS / "index.md").read_text(encoding="utf-8")]
    if PAGE.is_dir():
        lines += [
            '<p><a class="sd-btn sd-btn-primary" href="draw/index.html">Draw now, in this browser</a></p>',
            "",
        ]
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    parts = {
        "Part one: the walkthrough": [name for name in names if name < PART_TWO],
        "Part two: labs": [name for name in names if name >= PART_TWO],
    }
    for part, names in parts.items():
        lines += ["```{toctree}", ":maxdepth: 1", f":caption: {part}", ""]
        lines += [f"notebooks/{name}" for name in names] + ["```", ""]
    solutions = [path.stem for path in sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))]
    lines += ["```{toctree}", ":maxdepth: 1", ":caption: Solutions", ":hidden:", ""]
    lines += [f"notebooks/solutions/{name}" for name in solutions] + ["```", ""]
    return "\n".join(lines)


def build_site() -> None:
    """Write the site to build/html, with the page in build/page as its "Draw now"."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(SETTINGS, SOURCE)
    for path in sorted(NOTEBOOKS.rglob("*.ipynb")):
        target = SOURCE / "notebooks" / path.relative_to(NOTEBOOKS)
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(prepare_notebook(path), target)
    (SOURCE / "index.md").write_text(write_index(colab.read_address()), encoding="utf-8")
    extra = SOURCE / "extra"
    extra.mkdir()
    if PAGE.is_dir():
        shutil.copytree(PAGE, extra / "draw")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going",
               str(SOURCE), str(SITE)]  # fmt: skip
    subprocess.run(command, check=True)
    print(f"The site is in {SITE.relative_to(ROOT)}: open index.html in a browser.")


if __name__ == "__main__":
    build_site()
