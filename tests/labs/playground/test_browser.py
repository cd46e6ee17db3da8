"""The playground in JupyterLab, in Chromium: what a reader does, in one visit.

Run as a program, this file takes the picture that notebook 11 shows:
`PYTHONPATH=.:tests/shared python tests/labs/playground/test_browser.py docs/playground.jpg`.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import pytest
from browser import find_chromium, launch
from playwright.sync_api import TimeoutError, expect

from labs.images import read_settings

ROOT = Path(__file__).parents[3]
PATIENCE = 120_000  # milliseconds, as the machine may be busy
CELL = """\
from helpers import load_judge, load_pipeline
from labs.playground import playground

playground(load_pipeline("tiny-portraits"), vocabulary=load_judge().vocabulary)"""
expect.set_options(timeout=PATIENCE)

pytestmark = pytest.mark.skipif(not find_chromium(), reason="install Chromium to run this test")


@contextmanager
def serve(folder):
    """Run JupyterLab with the files in a folder, and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    news = folder / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    environment = {**os.environ, "CI": "true", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTERLAB_SETTINGS_DIR": str(news.parents[1])}
    for kind in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{kind}_DIR"] = str(folder / kind.lower())
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}", "--no-browser"]
    command += ["--IdentityProvider.token=", "--ServerApp.allow_root=True"]
    command += [f"--ServerApp.root_dir={folder}"]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            while not answers(port):
                assert process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)
            print((folder / "server.log").read_text())  # pytest shows it below a failure


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_all(page):
    """Choose Run > Run All Cells, again and again as long as the kernel does not answer."""
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible()
    for _ in range(20):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        with suppress(TimeoutError, AssertionError):
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click(timeout=3_000)
            running = page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[[*1-9]\]:"))
            expect(running.first).to_be_visible(timeout=10_000)
            break
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Generate").scroll_into_view_if_needed()


def fill(page, label, value):
    control = page.get_by_label(label, exact=True)
    control.fill(str(value))
    control.press("Tab")


@contextmanager
def open_playground(folder):
    """Run a notebook with a playground alone in JupyterLab, and give its page."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, folder / "play.ipynb")
    with launch() as browser, serve(folder) as address:
        page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}/lab/tree/play.ipynb")
        run_all(page)
        yield page


def test_what_a_reader_does_in_jupyterlab(tmp_path):
    with open_playground(tmp_path) as page:
        play(page, tmp_path)


def play(page, folder):
    image, thumbnails = page.locator("figure img"), page.locator(".playground-thumbnail button")
    fill(page, "Steps", 4)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a knight with a shield")
    prompt.press("Control+Enter")
    expect(image).to_have_attribute("alt", re.compile("a knight with a shield"))
    expect(thumbnails).to_have_count(1)  # and the cell, whose key that is, did not run again
    expect(prompt).to_be_focused()
    fill(page, "Prompt", "oil painting of a queen on a bicycle")
    expect(page.get_by_text("read in pieces: bicycle")).to_be_visible()
    page.get_by_text("Words that the model knows").click()
    page.get_by_role("button", name="smiling", exact=True).click()
    fill(page, "Seed", 7)
    page.get_by_role("button", name="Generate").click()
    expect(thumbnails).to_have_count(2)
    expect(image).to_have_attribute("alt", re.compile("seed 7 .* a queen on a bicycle, smiling"))

    fill(page, "Steps", 900)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_alt_text("A preview of the image.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"step \d+ of 900, about"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text(re.compile(r"Stopped after step \d+ of 900"))).to_be_visible()
    page.get_by_role("button", name="Bring settings back").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("4")

    with page.expect_download() as download:
        page.get_by_role("link", name="Save as PNG").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "seed-7.png"
    assert read_settings(path).prompt == "oil painting of a queen on a bicycle, smiling"

    fill(page, "Prompt", "a knight")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Load an image").click()
    chooser.value.set_files(path)
    expect(thumbnails).to_have_count(3)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(read_settings(path).prompt)
    page.get_by_label("Compare two").check()
    thumbnails.first.click()
    expect(image).to_have_count(2)

    nameless = page.evaluate(
        "() => [...document.querySelectorAll('figure, .jp-OutputArea')].flatMap(area => ["
        "...area.querySelectorAll('input, select, textarea, button')]).filter(it => it.offsetParent"
        " && !(it.labels?.[0]?.innerText || it.innerText || it.ariaLabel).trim())"
        ".map(it => it.outerHTML)"
    )
    assert nameless == []  # screen readers read a name of every control


def take_picture(page, path):
    """Show nine seeds and the words of the model, and save the playground as JPEG."""
    page.set_viewport_size({"width": 1366, "height": 1400})
    page.get_by_text("Words that the model knows").click()
    page.get_by_role("button", name="smiling", exact=True).click()
    fill(page, "Steps", 10)
    page.get_by_role("button", name="Nine seeds").click()
    thumbnails = page.locator(".playground-thumbnail button")
    expect(thumbnails).to_have_count(9)
    expect(page.get_by_text("Done.")).to_be_visible()
    thumbnails.nth(2).click()
    page.locator(".playground").screenshot(path=path, type="jpeg", quality=85)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, open_playground(Path(scratch)) as shown:
        take_picture(shown, sys.argv[1])
