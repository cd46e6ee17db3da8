"""The page in Chromium: its images are PyTorch's, and whatever goes wrong gets a sentence."""

import threading
from functools import partial
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
from browser import find_chromium

from helpers import MODELS, MODELS_FOLDER, load_pipeline, make_generators
from labs.images import read_settings
from tools import page as page_tool

pytestmark = [
    pytest.mark.skipif(not find_chromium(), reason="Chromium is not installed"),
    pytest.mark.skipif(not page_tool.RUNTIME.is_dir(), reason="run `make page` once"),
]
AXE = page_tool.WEB / "node_modules" / "axe-core" / "axe.min.js"
READY = "#generate:not([disabled])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "page"
    page_tool.build_page(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    handler = partial(page_tool.PageHandler, directory=str(folder))
    server = ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, address):
    """A page whose errors fail the test."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    page, errors = context.new_page(), []
    page.set_default_timeout(120_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector(READY)
    yield page
    context.close()
    assert errors == []


def generate(page, **settings):
    """Set the controls, generate, and return the image as an array (128 x 128 x 3)."""
    for control, value in settings.items():
        if control == "scheduler":
            page.select_option("#scheduler", value)
        elif control in ("steps", "guidance"):
            page.evaluate(
                "([id, value]) => { const input = document.getElementById(id); input.value = value;"
                " input.dispatchEvent(new Event('input', {bubbles: true})); }",
                [control, value],
            )
        else:
            page.fill(f"#{control.replace('_', '-')}", value)
    page.click("#generate")
    page.wait_for_function("document.getElementById('generate').disabled")
    page.wait_for_selector(READY)
    pixels = page.evaluate(
        "[...document.getElementById('image').getContext('2d').getImageData(0, 0, 128, 128).data]"
    )
    return np.array(pixels, int).reshape(128, 128, 4)[..., :3]


def status(page):
    return page.inner_text("#status")


def of_pytorch(scheduler, prompt, seed, steps, negative_prompt="", guidance_scale=7.5, lora=None):
    pipeline = load_pipeline(device="cpu", dtype="float32", scheduler=scheduler)
    if lora:
        pipeline.load_lora_weights(lora)
    image = pipeline(
        prompt, negative_prompt=negative_prompt, generator=make_generators(seed),
        num_inference_steps=steps, guidance_scale=guidance_scale,
    ).images[0]  # fmt: skip
    return np.asarray(image, int)


@pytest.mark.parametrize(
    ("scheduler", "seed"),
    [("DPMSolverMultistepScheduler", 0), ("DDIMScheduler", 2**32 - 1)],
)
def test_the_image_is_pytorchs(opened, scheduler, seed):
    prompt = "portrait photo of a old warrior chief, smiling"
    shown = generate(
        opened, prompt=prompt, negative_prompt="blue on red", seed=str(seed), scheduler=scheduler,
        steps=10,
    )  # fmt: skip
    wanted = of_pytorch(scheduler, prompt, seed, 10, "blue on red")
    assert np.abs(shown - wanted).max() <= 2
    assert status(opened).startswith("Done: 10 steps")


def test_four_steps_with_weights_that_are_fetched_when_asked_for(opened):
    shown = generate(opened, prompt="a knight", seed="5", scheduler="LCMScheduler")
    lora = MODELS_FOLDER / MODELS["tiny-portraits"].few_steps
    wanted = of_pytorch("DDIMScheduler", "a knight", 5, 4, lora=lora)
    assert shown.shape == wanted.shape
    assert status(opened).startswith("Done: 4 steps")


def test_the_strip_shows_every_step_and_can_be_scrubbed(opened):
    last = generate(opened, steps=6)
    assert opened.locator("#strip li").count() == 6
    opened.locator("#step").focus()
    opened.keyboard.press("ArrowLeft")
    assert opened.inner_text("#step-value") == "5 of 6"
    assert opened.locator("#attended button").count() == 7  # the words of the prompt
    assert last.std() > 10


def test_stop_stops_and_the_next_image_can_be_generated(opened):
    opened.evaluate("document.getElementById('steps').value = 50")
    opened.click("#generate")
    opened.wait_for_function("document.getElementById('status').textContent.startsWith('Step')")
    opened.click("#stop")
    opened.wait_for_selector(READY)
    assert status(opened).startswith("Stopped")
    generate(opened, steps=2)
    assert status(opened).startswith("Done")


def test_a_saved_image_is_read_by_the_notebooks_and_opened_again(opened, tmp_path):
    generate(opened, prompt="a quéen, smiling", seed="18446744073709551615", steps=3)
    with opened.expect_download() as download:
        opened.click("#save")
    path = tmp_path / "saved.png"
    download.value.save_as(path)
    settings = read_settings(path)
    assert (settings.prompt, settings.seed) == ("a quéen, smiling", 2**64 - 1)
    assert settings.num_inference_steps == 3
    opened.fill("#prompt", "something else")
    opened.set_input_files("#open", path)
    opened.wait_for_function("document.getElementById('prompt').value === 'a quéen, smiling'")


def test_images_can_be_compared_and_a_link_holds_the_settings(opened, chromium):
    generate(opened, prompt="a knight", seed="1", steps=2)
    generate(opened, seed="2", steps=2)
    opened.locator("#results li").last.get_by_text("Compare").click()
    assert opened.locator("#other").is_visible()
    opened.click("#link")
    other = chromium.new_context().new_page()
    other.goto(opened.url)
    assert other.input_value("#prompt") == "a knight" and other.input_value("#seed") == "2"
    other.context.close()


def test_words_are_put_into_the_prompt_by_chips(opened):
    opened.fill("#prompt", "portrait photo of a knight")
    opened.get_by_role("button", name="queen", exact=True).click()
    opened.get_by_role("button", name="smiling", exact=True).click()
    assert opened.input_value("#prompt") == "portrait photo of a queen, smiling"


def test_a_prompt_with_unknown_words_is_named(opened):
    generate(opened, prompt="a knight on a bicycle", steps=1)
    assert "never seen: bicycle" in opened.inner_text("#prompt-note")


def test_without_a_connection_it_goes_on_once_it_is_loaded(opened):
    opened.context.set_offline(True)
    generate(opened, steps=2)
    assert status(opened).startswith("Done")
    opened.select_option("#scheduler", "LCMScheduler")
    opened.click("#generate")
    opened.wait_for_function("document.getElementById('status').textContent.includes('download')")
    assert "could not be downloaded: check the connection" in status(opened)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("abort", "could not be downloaded: check the connection"),
        ("missing", "could not be downloaded (error 404)"),
        ("no simd", "lacks WebAssembly SIMD"),
    ],
)
def test_what_goes_wrong_at_the_start_gets_a_sentence(chromium, address, broken, sentence):
    context = chromium.new_context()
    page = context.new_page()
    if broken == "no simd":
        page.add_init_script("WebAssembly.validate = () => false")
    elif broken == "abort":
        context.route("**/unet.onnx", lambda route: route.abort())
    else:
        context.route("**/unet.onnx", lambda route: route.fulfill(status=404))
    page.goto(address)
    page.wait_for_function(
        "(text) => document.getElementById('status').textContent.includes(text)", arg=sentence
    )
    assert page.is_disabled("#generate")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 390])
def test_it_is_accessible_and_fits_the_screen(chromium, address, scheme, width):
    context = chromium.new_context(
        viewport={"width": width, "height": 768}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(READY)
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run().then((result) => result.violations)")
    serious = [item["id"] for item in found if item["impact"] in ("serious", "critical")]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_the_download_is_small(folder):
    files = [path for path in folder.rglob("*") if path.suffix != ".gz"]
    sizes = [
        min(path.stat().st_size, packed.stat().st_size) if packed.is_file() else path.stat().st_size
        for path in files
        if path.is_file() and path.name != "unet-few-steps.onnx"
        for packed in [path.with_name(f"{path.name}.gz")]
    ]
    assert sum(sizes) <= 20 * 10**6
