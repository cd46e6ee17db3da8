"""The site and the slides: images keep their alt texts, and links lead somewhere."""

import re
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup

from tools import site, slides

NOTEBOOKS = sorted(site.ROOT.glob("notebooks/**/[!.]*.ipynb"))
IMAGES = ("image/png", "image/jpeg")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html")
    site.build_site(folder)
    return folder


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    slides.write_slides(folder)
    return folder


def read_page(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def stored_alt_texts(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [
        (output, kind) for output in outputs for kind in IMAGES if kind in output.get("data", {})
    ]
    return [output.metadata[kind]["alt"] for output, kind in kinds]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_site_and_slides_keep_the_alt_texts(path, html, deck):
    wanted = stored_alt_texts(nbformat.read(path, as_version=4))
    page = html / path.relative_to(site.ROOT).with_suffix(".html")
    shown = [image["alt"] for image in read_page(page).select(".cell_output img")]
    assert shown == wanted
    if path.parent.name == "notebooks":
        images = read_page(deck / f"{path.stem}.html").select(".jp-RenderedImage img")
        assert [image["alt"] for image in images] == wanted


def test_links_of_the_site_lead_to_pages_and_headings_that_exist(html):
    found = {path.resolve(): read_page(path) for path in html.rglob("*.html")}
    for path, page in found.items():
        for link in page.select("article a[href], nav a[href]"):
            name, _, heading = unquote(link["href"]).partition("#")
            target = (path.parent / name).resolve() if name else path.resolve()
            if re.match(r"\w+:", name) or target.suffix != ".html":
                continue
            assert target in found, f"{path.name}: {name}"
            assert not heading or found[target].find(id=heading), f"{path.name}: {heading}"


def test_the_site_hides_colabs_cell(html):
    assert "google.colab" not in (html / "notebooks/00_start_here.html").read_text("utf-8")


def test_each_piece_of_code_starts_a_slide(deck):
    cells = read_page(deck / "00_start_here.html").select(".jp-CodeCell")
    assert cells
    assert all(cell.find_previous_sibling("div") is None for cell in cells)


def test_the_teaching_plans_add_up():
    text = (site.ROOT / "docs/teaching/README.md").read_text(encoding="utf-8")
    plans = re.findall(r"^### (\d+) minutes(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    assert len(plans) == 3
    for minutes, plan in plans:
        rows = re.findall(r"\| (\d+) \| (\d+) \|$", plan, re.MULTILINE)
        assert sum(int(part) for row in rows for part in row) == int(minutes)
