"""The playground in real browsers: JupyterLab, Notebook 7, and the page that `make app` serves."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import psutil
import pytest
import websocket
from browser import find_chromium
from PIL import Image
from playwright.sync_api import TimeoutError, expect, sync_playwright

from labs.images import read_settings

ROOT = Path(__file__).parents[2]
NAME = "08_playground.ipynb"
CHROMIUM = find_chromium()  # where the environment names one, as .ci/run does, it must be there
LAPTOP, PHONE = {"width": 1366, "height": 768}, {"width": 360, "height": 740}
PATIENCE = 240_000  # milliseconds, for a machine that does other things too
expect.set_options(timeout=PATIENCE)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="install Chromium to run these tests")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport=LAPTOP, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    yield page
    context.close()


@contextmanager
def serve(folder, *command):
    """Run a Jupyter server in a folder of its own, and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    news = folder / "settings" / "@jupyterlab" / "apputils-extension"
    news.mkdir(parents=True)
    (news / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    environment = {
        **os.environ,
        "CI": "true",
        "HF_HUB_OFFLINE": "1",
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYTHONPATH": str(ROOT),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        **{
            f"JUPYTER_{kind}_DIR": str(folder / kind.lower())
            for kind in ("CONFIG", "DATA", "RUNTIME")
        },
    }
    command = [sys.executable, "-m", *command, f"--port={port}", "--no-browser"]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            wait_for(port, process, folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        except BaseException:
            print((folder / "server.log").read_text())  # pytest shows it below the failure
            raise
        finally:
            process.terminate()
            process.wait(30)


def wait_for(port, process, log):
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@contextmanager
def jupyter(folder):
    """Serve a copy of the notebook without outputs, up to where it is done with the playground."""
    notebook = nbformat.read(ROOT / "notebooks" / NAME, nbformat.NO_CONVERT)
    ends = [cell.source.startswith("## Vary two settings") for cell in notebook.cells].index(True)
    notebook.cells = notebook.cells[:ends]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / NAME)
    root = f"--ServerApp.root_dir={folder / 'notebooks'}"
    flags = ["--IdentityProvider.token=", "--ServerApp.allow_root=True", root]
    with serve(folder, "jupyterlab", *flags) as address:
        yield address


@contextmanager
def app(folder):
    """Serve what `make app` serves."""
    (line,) = re.findall(r"\$\(BIN\)/(voila .*) \$\(APP_FLAGS\)", (ROOT / "Makefile").read_text())
    command = [word.replace("'", "") for word in line.split()]
    with serve(folder, *command) as address:
        yield address


def run_all(page):
    """Choose Run > Run All Cells until the cells run, and wait for the last of them."""
    expect(page.get_by_role("heading", name="Play with prompts and seeds")).to_be_visible()
    expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible()
    run, run_all_cells = (
        page.get_by_role("menuitem", name=name, exact=True) for name in ("Run", "Run All Cells")
    )
    running = page.locator(".jp-InputPrompt").filter(has_text="[*]:").first
    for _ in range(20):  # a menu that is opened while the page still loads closes again
        run.click()
        with suppress(TimeoutError, AssertionError):
            run_all_cells.click(timeout=3_000)
            # Until the kernel answers, cells may be passed over without a word, idle or not.
            expect(running).to_be_visible(timeout=10_000)
            break
        page.keyboard.press("Escape")
    expect(page.get_by_text("Not tried yet: put a picture in")).to_have_count(1)  # in the last
    page.get_by_role("button", name="Generate").scroll_into_view_if_needed()


def shown(page):
    """The pictures that the playground shows large."""
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


def play_through(page, folder):
    """Do what a reader does, and see that the page answers."""
    fill(page, "Steps", 4)
    generate(page)
    before = shown(page).get_attribute("src")

    fill(page, "Prompt", "oil painting of a queen on a bicycle")
    expect(page.get_by_text("read in pieces: bicycle")).to_be_visible()
    fill(page, "Seed", 7)
    generate(page)
    expect(shown(page)).to_have_attribute("alt", re.compile("seed 7 .* a queen on a bicycle"))
    assert shown(page).get_attribute("src") != before

    count = thumbnails(page).count()
    fill(page, "Steps", 900)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_alt_text("The picture as it forms.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"step \d+ of 900, about"))).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text(re.compile(r"Stopped after step \d+ of 900"))).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    expect(thumbnails(page)).to_have_count(count)

    fill(page, "Seed", 1)
    thumbnails(page).last.click()
    page.get_by_role("button", name="Use its seed").click()
    expect(page.get_by_label("Seed", exact=True)).to_have_value("7")
    page.get_by_role("button", name="Bring settings back").click()
    expect(page.get_by_label("Steps", exact=True)).to_have_value("4")

    with page.expect_download() as download:
        page.get_by_role("link", name="Save as PNG").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "seed-7.png"
    assert read_settings(path).prompt == "oil painting of a queen on a bicycle"

    saved = shown(page).get_attribute("src")
    fill(page, "Prompt", "a knight")
    load(page, path)
    expect(thumbnails(page)).to_have_count(count + 1)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(read_settings(path).prompt)
    expect(shown(page)).to_have_attribute("src", saved)

    page.get_by_label("Compare two").check()
    thumbnails(page).first.click()
    expect(shown(page)).to_have_count(2)
    page.get_by_label("Compare two").uncheck()
    expect(shown(page)).to_have_count(1)
    page.locator("summary", has_text="Show code").click()
    expect(page.get_by_text("from diffusers import DiffusionPipeline").last).to_be_visible()


def load(page, path):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Load a picture").click()
    chooser.value.set_files(path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab's server, which serves Notebook 7 as well."""
    with jupyter(tmp_path_factory.mktemp("lab")) as address:
        yield address


def test_in_jupyterlab(page, lab, tmp_path):
    page.goto(f"{lab}/lab/tree/{NAME}")
    run_all(page)
    play_through(page, tmp_path)


def test_in_notebook_7_once_more_in_the_same_kernel(page, lab, tmp_path):
    page.goto(f"{lab}/notebooks/{NAME}")
    run_all(page)
    play_through(page, tmp_path)


def take_screenshot(page, target):
    """Take the picture of the playground for the README, in few colours so that it stays small."""
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
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    picture.quantize(256).save(target, optimize=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    with app(folder) as address:
        yield address


def visit(page, address):
    page.goto(address, timeout=PATIENCE)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()


def test_as_an_app_the_playground_is_alone_and_works(page, served, tmp_path, request):
    visit(page, served)
    expect(page.get_by_role("heading")).to_have_count(0)
    expect(page.get_by_text("import helpers")).to_have_count(0)
    if target := request.config.getoption("--screenshot"):
        take_screenshot(page, target)
    play_through(page, tmp_path)


@contextmanager
def held_up():
    """Hold the kernels meanwhile, as a machine that has too much to do does."""
    everything = psutil.Process().children(recursive=True)
    kernels = [one for one in everything if "ipykernel_launcher" in " ".join(one.cmdline())]
    assert kernels
    for kernel in kernels:
        kernel.suspend()
    yield
    for kernel in kernels:
        kernel.resume()


def test_the_keyboard_alone_is_enough_and_may_be_faster_than_the_machine(page, served):
    visit(page, served)
    page.keyboard.press("Tab")
    with held_up():
        for label, keys in (("Prompt", "a knight"), ("Steps", "3")):
            tab_to(page, label)
            page.keyboard.press("Control+A")
            page.keyboard.type(keys)
        tab_to(page, "Generate")
        page.keyboard.press("Space")
    expect(thumbnails(page)).to_have_count(1)
    expect(shown(page)).to_have_attribute("alt", re.compile("a knight"))
    for name in ("Use its seed", "Load a picture", "Compare two", "Show code"):
        tab_to(page, name)
    page.keyboard.press("Enter")
    expect(page.get_by_text("from diffusers import DiffusionPipeline")).to_be_visible()


def tab_to(page, name):
    """Press Tab until the element with that name has the focus."""
    for _ in range(60):
        names = page.evaluate(
            "() => { const at = document.activeElement;"
            " return [at.innerText, ...[...(at.labels || [])].map(one => one.innerText)] }"
        )
        if any(str(one).strip().startswith(name) for one in names):  # "Load a picture (0)"
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reaches {name}")


@pytest.fixture(scope="module")
def visited(browser, served):
    """A page that several tests look at, and none leaves in another state than it was."""
    context = browser.new_context(viewport=LAPTOP)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    visit(page, served)
    yield page
    context.close()


def test_every_control_has_a_name_that_screen_readers_read(visited):
    nameless = visited.evaluate(
        "() => [...document.querySelectorAll('input, select, textarea, button')]"
        ".filter(one => one.offsetParent && !(one.labels?.[0]?.innerText || one.innerText"
        " || one.ariaLabel).trim()).map(one => one.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_it_fits_the_screen(visited, size):
    page = visited
    page.set_viewport_size(size)
    fill(page, "Steps", 2)
    generate(page)
    width = page.evaluate("() => document.scrollingElement.scrollWidth")
    assert width <= size["width"]
    for name in ("Generate", "Stop"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
        if size is LAPTOP:
            assert box["y"] + box["height"] <= size["height"]


def kernel_of(page):
    config = page.locator("script#jupyter-config-data").inner_text()
    return json.loads(config)["kernelId"]


def test_a_visitor_has_a_kernel_of_their_own_and_can_run_no_code(page, visited, served, tmp_path):
    visit(page, served)
    kernel = kernel_of(page)
    assert kernel_of(visited) != kernel
    target = tmp_path / "written by a visitor"
    replies = ask_kernel(served, kernel, f"open({str(target)!r}, 'w')")
    assert "kernel_info_reply" in replies  # the line to the kernel is open
    assert not {"execute_reply", "execute_input"} & set(replies)
    assert not target.exists()


def ask_kernel(address, kernel, code):
    """Ask a kernel to run code, then who it is, and return the kinds of what comes back."""
    line = websocket.create_connection(
        f"{address.replace('http', 'ws')}/api/kernels/{kernel}/channels", timeout=20
    )
    contents = {
        "execute_request": {"code": code, "silent": False},
        "kernel_info_request": {},
    }
    for kind, content in contents.items():
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": "visitor",
            "username": "visitor",
            "version": "5.3",
        }
        parts = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        line.send(json.dumps({**parts, "channel": "shell", "buffers": []}))
    replies = []
    while "kernel_info_reply" not in replies:
        replies.append(json.loads(line.recv())["header"]["msg_type"])
    line.close()
    return replies


def listening(port):
    """Where processes of ours listen on that port."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a kernel may end while we look
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
                    yield one.laddr.ip


def test_the_app_listens_to_this_machine_alone_unless_asked(served):
    assert set(listening(int(served.rsplit(":", 1)[1]))) == {"127.0.0.1"}
