"""`make html`, `make slides` and `make handout`: nothing that notebooks say is lost on the way."""

import re
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup

from tools import handout, pages, slides
from tools.check import find_chromium

NOTEBOOKS = sorted(pages.ROOT.glob("notebooks/**/[!.]*.ipynb"))
TAUGHT = [path for path in NOTEBOOKS if path.parent.name == "notebooks"]
PICTURES = ("image/png", "image/jpeg")


def described(path):
    """What the notebook says that each of its pictures shows."""
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    kinds = [(one, kind) for one in outputs for kind in PICTURES if kind in one.get("data", {})]
    return [output.metadata[kind]["alt"] for output, kind in kinds]


def shown(page):
    """What the page says of each picture that it holds."""
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    return [image["alt"] for image in soup.select(".jp-RenderedImage img")]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html")
    pages.main([str(path) for path in NOTEBOOKS], folder)
    return folder


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    slides.main([str(path) for path in TAUGHT], folder)
    return folder


def page_of(path, folder):
    return folder / path.relative_to(pages.ROOT / "notebooks").with_suffix(".html")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_notebook_has_a_page_that_says_what_its_pictures_show(path, html):
    assert shown(page_of(path, html)) == described(path)


def test_pages_lead_to_one_another(html):
    pages = {
        page.resolve(): BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        for page in html.rglob("*.html")
    }
    for page, soup in pages.items():
        for link in soup.select("a[href]"):
            name, _, place = unquote(link["href"]).partition("#")
            if name and not re.match(r"\w+:", name):
                target = (page.parent / name).resolve()
                assert target in pages, f"{page.name}: {name}"
                assert not place or pages[target].find(id=place), f"{page.name}: {place}"
    assert "00_start_here.html" in (html / "index.html").read_text()


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)
def test_slides_hold_all_pictures_and_all_code(path, decks):
    assert shown(decks / f"{path.stem}.html") == described(path)
    cells = nbformat.read(path, as_version=4).cells
    tags = {cell.source: {*cell.metadata.get("tags", [])} for cell in cells}
    code = {cell.source for cell in cells if cell.cell_type == "code"}
    parts = {part.source for part in slides.lay_out(cells)}
    assert code - parts == {source for source in code if tags[source] & slides.PREPARING}


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)
def test_slides_need_no_network(path, decks):
    soup = BeautifulSoup((decks / f"{path.stem}.html").read_text(encoding="utf-8"), "html.parser")
    needed = [one.get("src") or one.get("href") for one in soup.select("script, link")]
    assert {str(one).split("/")[0] for one in needed if one} == {"reveal.js"}


def test_a_picture_without_words_stays_without():
    output = nbformat.v4.new_output("display_data", {"image/png": "AAAA"})
    cell = nbformat.v4.new_code_cell(outputs=[output])
    exporter = pages.HTMLExporter(extra_template_basedirs=pages.TEMPLATES)
    html, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "No description" in html


def test_the_hand_out_is_one_sheet(tmp_path, capsys):
    handout.main(tmp_path)
    assert "<h1" in (tmp_path / "handout.html").read_text(encoding="utf-8")
    if find_chromium():
        pdf = (tmp_path / "handout.pdf").read_bytes()
        assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
        assert "/MediaBox [0 0 594" in pdf.decode("latin-1")  # A4, in points


def test_without_a_browser_the_hand_out_is_a_page_and_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    handout.main(tmp_path)
    assert "print it from a browser, or install Chromium" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["handout.html"]


def test_a_plan_takes_as_long_as_it_says_and_no_lesson_is_left_out():
    text = (pages.ROOT / "docs/teaching/README.md").read_text(encoding="utf-8")
    plans = re.findall(r"^### (\d+) minutes(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    assert len(plans) == 3
    for minutes, plan in plans:
        rows = re.findall(r"\| (\d+) \| (\d+) \|$", plan, re.MULTILINE)
        assert sum(int(one) for row in rows for one in row) == int(minutes)
    assert re.findall(r"^\| (L\d+) ", text, re.MULTILINE) == [
        *(f"L{number}" for number in [*range(1, 12), 18, *range(12, 18)])
    ]
