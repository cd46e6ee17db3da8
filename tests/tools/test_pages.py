"""`make html` and `make slides`: the images keep their alt texts, and the links lead somewhere."""

import re
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup

from tools import pages

NOTEBOOKS = sorted(pages.ROOT.glob("notebooks/**/[!.]*.ipynb"))
IMAGES = ("image/png", "image/jpeg")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html")
    pages.write_pages(folder)
    return folder


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    pages.write_slides(folder)
    return folder


def read_page(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def stored_alt_texts(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [
        (output, kind) for output in outputs for kind in IMAGES if kind in output.get("data", {})
    ]
    return [output.metadata[kind]["alt"] for output, kind in kinds]


def alt_texts(page):
    return [image["alt"] for image in read_page(page).select(".jp-RenderedImage img")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_pages_and_slides_keep_the_alt_texts(path, html, slides):
    wanted = stored_alt_texts(nbformat.read(path, as_version=4))
    name = path.relative_to(pages.ROOT / "notebooks").with_suffix(".html")
    assert alt_texts(html / name) == wanted
    if path.parent.name == "notebooks":
        assert alt_texts(slides / name) == wanted


def test_an_image_without_alt_text_gets_none():
    output = nbformat.v4.new_output("display_data", {"image/png": "AAAA"})
    cell = nbformat.v4.new_code_cell(outputs=[output])
    exporter = pages.HTMLExporter(extra_template_basedirs=pages.TEMPLATES)
    html, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "No description" in html


def test_links_lead_to_pages_and_headings_that_exist(html):
    found = {path.resolve(): read_page(path) for path in html.rglob("*.html")}
    for path, page in found.items():
        for link in page.select("a[href]"):
            name, _, heading = unquote(link["href"]).partition("#")
            if name and not re.match(r"\w+:", name):
                target = (path.parent / name).resolve()
                assert target in found, f"{path.name}: {name}"
                assert not heading or found[target].find(id=heading), f"{path.name}: {heading}"
    assert "00_start_here.html" in (html / "index.html").read_text(encoding="utf-8")


def test_each_piece_of_code_starts_a_slide(slides):
    cells = read_page(slides / "00_start_here.html").select(".jp-CodeCell")
    assert cells
    assert all(cell.find_previous_sibling("div") is None for cell in cells)


def test_the_teaching_plans_add_up():
    text = (pages.ROOT / "docs/teaching/README.md").read_text(encoding="utf-8")
    plans = re.findall(r"^### (\d+) minutes(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    assert len(plans) == 3
    for minutes, plan in plans:
        rows = re.findall(r"\| (\d+) \| (\d+) \|$", plan, re.MULTILINE)
        assert sum(int(part) for row in rows for part in row) == int(minutes)
