"""`make handout`: the page to hand out, as HTML and as one sheet of PDF."""

from __future__ import annotations

from pathlib import Path

from nbconvert.filters import markdown2html

from tools.check import find_chromium

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build/handout"
STYLE = """
@page { size: A4; margin: 11mm 13mm }
body { font: 8.6pt/1.3 Arial, sans-serif; max-width: 184mm; margin: auto }
h1 { font-size: 15pt; margin: 0 0 1mm } h2 { font-size: 11pt; margin: 3mm 0 1mm }
p, ul { margin: 1mm 0 } code { font-size: 8pt } .anchor-link { display: none }
table { border-collapse: collapse; width: 100%; table-layout: fixed }
th, td { border-bottom: 0.3pt solid #999; padding: 0.6mm 1mm; text-align: left }
th:nth-child(1) { width: 38% } th:nth-child(4) { width: 9% }
"""


def main(folder: Path = FOLDER) -> None:
    """Write the sheet into a folder."""
    text = (ROOT / "docs/teaching/handout.md").read_text(encoding="utf-8")
    title = text.splitlines()[0].removeprefix("# ")
    html = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    html += f"<style>{STYLE}</style><body>{markdown2html(text)}</body></html>"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handout.html").write_text(html, encoding="utf-8")
    if (chromium := find_chromium()) is None:
        print(f"handout.html lies in {folder}: print it from a browser, or install Chromium.")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content(html)
        page.pdf(path=folder / "handout.pdf", prefer_css_page_size=True, tagged=True)
        browser.close()
    print(f"handout.html and handout.pdf lie in {folder}.")


if __name__ == "__main__":
    main()
