"""The playground in Chromium: in JupyterLab, and as the page of `make app`."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import psutil
import pytest
import websocket
from browser import find_chromium
from jupyter_client.jsonutil import json_default
from jupyter_client.session import Session
from PIL import Image
from playwright.sync_api import TimeoutError, expect, sync_playwright

from labs.images import read_settings

ROOT = Path(__file__).parents[3]
NAME = "11_playground.ipynb"
CHROMIUM = find_chromium()
LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 360, "height": 740}
PATIENCE = 120_000  # milliseconds, as the machine may be busy
expect.set_options(timeout=PATIENCE)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="install Chromium to run these tests")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def open_page(browser, address):
    context = browser.new_context(viewport=LAPTOP)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    return page


@contextmanager
def serve(folder, *command):
    """Run a Jupyter server with its files in a folder, and give its address."""
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
    command = [sys.executable, "-m", *command, f"--port={port}", "--no-browser"]
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


@pytest.fixture
def lab(tmp_path):
    """Serve the notebook's cells that make the playground, in JupyterLab."""
    notebook = nbformat.read(ROOT / "notebooks" / NAME, nbformat.NO_CONVERT)
    notebook.cells = [cell for cell in notebook.cells if "app" in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.outputs = []
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / NAME)
    root = f"--ServerApp.root_dir={tmp_path / 'notebooks'}"
    flags = ["--IdentityProvider.token=", "--ServerApp.allow_root=True", root]
    with serve(tmp_path, "jupyterlab", *flags) as address:
        yield address


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Serve what `make app` serves."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = re.findall(r"\$\(BIN\)/(voila .*) \$\(APP_FLAGS\)", makefile)
    command = [word.replace("'", "") for word in line.split()]
    with serve(tmp_path_factory.mktemp("app"), *command) as address:
        yield address


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


@pytest.fixture(scope="module")
def visited(browser, app):
    """The app in a page that several tests use, as each visit starts a kernel."""
    page = open_page(browser, app)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    return page


def shown(page):
    """The images that the playground shows large."""
    return page.locator("figure img")


def thumbnails(page):
    return page.locator(".playground-thumbnail button")


def fill(page, label, value):
    control = page.get_by_label(label, exact=True)
    control.fill(str(value))
    control.press("Tab")


def generate(page):
    count = thumbnails(page).count()
    page.get_by_role("button", name="Generate").click()
    expect(thumbnails(page)).to_have_count(count + 1)
    expect(page.get_by_role("status").get_by_text("Done.")).to_be_visible()


def test_what_a_reader_does_in_jupyterlab(browser, lab, tmp_path):
    page = open_page(browser, f"{lab}/lab/tree/{NAME}")
    run_all(page)
    fill(page, "Steps", 4)
    fill(page, "Prompt", "oil painting of a queen on a bicycle")
    expect(page.get_by_text("read in pieces: bicycle")).to_be_visible()
    fill(page, "Seed", 7)
    generate(page)
    expect(shown(page)).to_have_attribute("alt", re.compile("seed 7 .* a queen on a bicycle"))

    fill(page, "Steps", 900)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_alt_text("A preview of the image.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"step \d+ of 900, about"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text(re.compile(r"Stopped after step \d+ of 900"))).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    page.get_by_role("button", name="Bring settings back").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("4")

    with page.expect_download() as download:
        page.get_by_role("link", name="Save as PNG").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "seed-7.png"
    assert read_settings(path).prompt == "oil painting of a queen on a bicycle"

    saved = shown(page).get_attribute("src")
    fill(page, "Prompt", "a knight")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Load an image").click()
    chooser.value.set_files(path)
    expect(thumbnails(page)).to_have_count(2)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(read_settings(path).prompt)
    expect(shown(page)).to_have_attribute("src", saved)

    page.get_by_label("Compare two").check()
    thumbnails(page).first.click()
    expect(shown(page)).to_have_count(2)


def take_screenshot(page, target):
    """Take the README's picture of the playground, in few colours so that the file is small."""
    page.set_viewport_size({"width": 1020, "height": 720})
    for seed, prompt in (
        (3, "portrait photo of a queen, green on yellow, smiling"),
        (5, "portrait photo of a young knight, front view, looking at the camera"),
        (0, "portrait photo of a old warrior chief, blue on red, side profile"),
    ):
        fill(page, "Prompt", prompt)
        fill(page, "Seed", seed)
        generate(page)
    page.mouse.move(0, 0)
    screenshot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    screenshot.quantize(256).save(target, optimize=True)


def test_as_an_app_the_playground_is_alone_and_fits_the_screen(visited, request):
    page = visited
    expect(page.get_by_role("heading")).to_have_count(0)
    expect(page.get_by_text("import helpers")).to_have_count(0)
    if target := request.config.getoption("--screenshot"):
        take_screenshot(page, target)
    nameless = page.evaluate(
        "() => [...document.querySelectorAll('input, select, textarea, button')]"
        ".filter(it => it.offsetParent && !(it.labels?.[0]?.innerText || it.innerText"
        " || it.ariaLabel).trim()).map(it => it.outerHTML)"
    )
    assert nameless == []  # screen readers read a name of every control
    for size in (LAPTOP, PHONE):
        page.set_viewport_size(size)
        fill(page, "Steps", 2)
        generate(page)
        width = page.evaluate("() => document.scrollingElement.scrollWidth")
        assert width <= size["width"]
        for name in ("Generate", "Stop"):
            box = page.get_by_role("button", name=name).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
            assert size is PHONE or box["y"] + box["height"] <= size["height"]


def tab_to(page, name):
    """Press Tab until the element with that name has the focus."""
    for _ in range(60):
        names = page.evaluate(
            "() => { const at = document.activeElement; return at === document.body ? []"
            " : [at.innerText, ...[...(at.labels || [])].map(it => it.innerText)] }"
        )
        if any(str(each).strip().startswith(name) for each in names):  # "Load an image (0)"
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {name}")


def test_the_keyboard_is_enough_and_may_be_faster_than_the_kernel(visited):
    page = visited
    count = thumbnails(page).count()
    processes = psutil.Process().children(recursive=True)
    kernels = [each for each in processes if "ipykernel_launcher" in " ".join(each.cmdline())]
    assert kernels
    for kernel in kernels:  # as if the machine were too busy to answer
        kernel.suspend()
    for label, keys in (("Prompt", "a knight"), ("Steps", "3")):
        tab_to(page, label)
        page.keyboard.press("Control+A")
        page.keyboard.type(keys)
    tab_to(page, "Generate")
    page.keyboard.press("Space")
    for kernel in kernels:
        kernel.resume()
    expect(thumbnails(page)).to_have_count(count + 1)
    expect(shown(page)).to_have_attribute("alt", re.compile("a knight"))
    for name in ("Bring settings back", "Load an image", "Compare two", "Show code"):
        tab_to(page, name)
    page.keyboard.press("Enter")
    expect(page.get_by_text("from diffusers import")).to_be_visible()


def test_a_visitor_of_the_app_can_run_no_code(visited, app, tmp_path):
    config = json.loads(visited.locator("script#jupyter-config-data").inner_text())
    target = tmp_path / "written by a visitor"
    replies = ask_kernel(app, config["kernelId"], f"open({str(target)!r}, 'w')")
    assert "kernel_info_reply" in replies  # the connection to the kernel is open
    assert not {"execute_reply", "execute_input"} & set(replies)
    assert not target.exists()


def ask_kernel(address, kernel, code):
    """Ask a kernel to run code, then for its name, and return the types of its messages."""
    url = f"{address.replace('http', 'ws')}/api/kernels/{kernel}/channels"
    connection = websocket.create_connection(url, timeout=20)
    for kind, content in (
        ("execute_request", {"code": code, "silent": False}),
        ("kernel_info_request", {}),
    ):
        message = {**Session().msg(kind, content), "channel": "shell", "buffers": []}
        connection.send(json.dumps(message, default=json_default))
    replies = []
    while "kernel_info_reply" not in replies:
        replies.append(json.loads(connection.recv())["header"]["msg_type"])
    connection.close()
    return replies


def test_the_app_listens_to_this_machine_only(app):
    port = int(app.rsplit(":", 1)[1])
    connections = [
        connection
        for process in psutil.Process().children()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    ]
    assert {connection.laddr.ip for connection in connections} == {"127.0.0.1"}
