"""The site: images keep their alt texts, links lead somewhere."""

import re
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup

from tools import site

NOTEBOOKS = site.notebooks()


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html")
    site.build_site(folder)
    return folder


def read_page(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def stored_alt_texts(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    stored = [output.get("metadata", {}) for output in outputs]
    return [image["alt"] for entry in stored for image in entry.values() if "alt" in image]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_site_keeps_the_alt_texts(path, html):
    wanted = stored_alt_texts(nbformat.read(path, as_version=4))
    page = html / path.relative_to(site.ROOT).with_suffix(".html")
    shown = [image["alt"] for image in read_page(page).select(".cell_output img")]
    assert shown == wanted


def test_links_of_the_site_lead_to_pages_and_headings_that_exist(html):
    found = {path.resolve(): read_page(path) for path in html.rglob("*.html")}
    ids = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in found.items()}
    for path, page in found.items():
        for link in page.select("article a[href], nav a[href]"):
            name, _, heading = unquote(link["href"]).partition("#")
            target = (path.parent / name).resolve() if name else path.resolve()
            if re.match(r"\w+:", name) or target.suffix != ".html":
                continue
            assert target in found, f"{path.name}: {name}"
            assert not heading or heading in ids[target], f"{path.name}: {heading}"


def test_jupyterlabs_checkpoints_are_no_notebooks(tmp_path, monkeypatch):
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in ("01.ipynb", ".ipynb_checkpoints/01-checkpoint.ipynb"):
        (tmp_path / name).touch()
    monkeypatch.setattr(site, "NOTEBOOKS", tmp_path)
    assert site.notebooks() == [tmp_path / "01.ipynb"]


def test_the_site_hides_colabs_cell(html):
    assert "google.colab" not in (html / "notebooks/00_start_here.html").read_text("utf-8")
