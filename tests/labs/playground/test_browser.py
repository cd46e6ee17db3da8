"""The playground in JupyterLab, in Chromium: what a reader does, in one visit."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from browser import find_chromium, launch
from playwright.sync_api import expect

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
    news = folder / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    environment = {**os.environ, "CI": "true", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTERLAB_SETTINGS_DIR": str(news.parents[1])}
    for kind in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{kind}_DIR"] = str(folder / kind.lower())
    command = [sys.executable, "-m", "jupyterlab", "--no-browser"]
    command += ["--IdentityProvider.token=", "--ServerApp.allow_root=True"]
    command += ["--LabApp.expose_app_in_browser=True"]
    command += [f"--ServerApp.root_dir={folder}"]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **streams) as process:
        try:
            yield next(line.split()[-1] for line in process.stderr if " http://127." in line)
        finally:
            process.terminate()


def fill(page, label, value):
    control = page.get_by_label(label, exact=True)
    control.fill(str(value))
    control.press("Tab")


def test_what_a_reader_does_in_jupyterlab(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "play.ipynb")
    with launch() as browser, serve(tmp_path) as address:
        page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}/tree/play.ipynb")
        kernel = "jupyterapp?.shell.currentWidget?.sessionContext.session?.kernel"
        page.wait_for_function(f"window.{kernel}?.connectionStatus === 'connected'")
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
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
    expect(page.get_by_alt_text("A preview of the image.")).to_have_count(0)
    expect(thumbnails).to_have_count(2)
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
    page.get_by_label("Compare two").uncheck()
    expect(image).to_have_count(1)
    expect(image).to_have_attribute("alt", re.compile("a knight with a shield"))

    nameless = page.evaluate(
        "() => [...document.querySelectorAll('figure, .jp-OutputArea')].flatMap(area => ["
        "...area.querySelectorAll('input, select, textarea, button')]).filter(it => it.offsetParent"
        " && !(it.labels?.[0]?.innerText || it.innerText || it.ariaLabel).trim())"
        ".map(it => it.outerHTML)"
    )
    assert nameless == []  # screen readers read a name of every control
