"""The glossary of the first notebook: each term first comes up where its link leads."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
START = NOTEBOOKS[0].name
POINTERS = {"Where to go on", "On your own", "In practice", "Further reading"}  # to later notebooks
ENTRY = r"^- \*\*(.+?)\*\*.*\[\d\d\]\(([\w.]*)#?([^)\s]*)\)$"


def prose(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def sections(text):
    """Headings, each with its section, title and text; what is above the first ## is the title."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)[1:]
    return {title: f"{title}\n{body}" for title, body in zip(parts[::2], parts[1::2], strict=True)}


def names(term, text):
    words = r"\s+".join(map(re.escape, term.split()))
    return re.search(rf"(?<!\w){words}", text, re.IGNORECASE)


GLOSSARY = sections(prose(NOTEBOOKS[0]))["Glossary"]
ENTRIES = re.findall(ENTRY, GLOSSARY, re.MULTILINE)


def test_every_line_of_the_glossary_is_an_entry_in_order():
    terms = [term for term, _, _ in ENTRIES]
    assert len(terms) == len(re.findall("^- ", GLOSSARY, re.MULTILINE)) >= 30
    assert terms == sorted(terms, key=str.lower)


@pytest.mark.parametrize(("term", "name", "anchor"), ENTRIES, ids=[entry[0] for entry in ENTRIES])
def test_a_term_first_comes_up_where_its_link_leads(term, name, anchor):
    for path in NOTEBOOKS:
        found = sections(prose(path))
        if path.name == (name or START):
            (section,) = (s for title, s in found.items() if title.replace(" ", "-") == anchor)
            assert names(term, section), f"{term} is not in this section"
            return
        if path.name != START:
            title, *rest = found
            earlier = [name for name in rest if name not in POINTERS and names(term, found[name])]
            assert earlier == [], f"{term} comes up earlier, in {path.stem}"
    raise AssertionError(f"there is no notebook {name}")
