"""The page in Chromium: its images are PyTorch's, and whatever goes wrong gets a sentence."""

import urllib.error
import urllib.request
from itertools import product

import browser
import numpy as np
import pytest
from browser import READY, generate, load, of_pytorch, set_controls

from labs.images import read_settings
from labs.images.describe import describe_settings
from tools import page as page_tool

pytestmark = [
    pytest.mark.skipif(not browser.find_chromium(), reason="Chromium is not installed"),
    pytest.mark.skipif(not page_tool.RUNTIME.is_dir(), reason="run `make page` once"),
]
AXE = page_tool.WEB / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "page"
    page_tool.build_page(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with browser.serve(folder) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    with browser.launch() as chromium:
        yield chromium


@pytest.fixture
def context(chromium):
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(120_000)
    yield context
    context.close()


@pytest.fixture
def opened(context, address):
    """A page whose errors fail the test."""
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector(READY)
    yield page
    assert errors == []


def status(page):
    return page.inner_text("#status")


def test_a_room_without_https_has_one_thread_and_the_same_image(context, folder):
    with browser.serve(folder, threads=False) as address:
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(READY)
        assert "with 1 thread" in status(page)
        shown = generate(page, prompt="a knight", steps=2)
    assert np.abs(shown - of_pytorch("DPMSolverMultistepScheduler", "a knight", 0, 2)).max() <= 2


@pytest.mark.parametrize(
    ("scheduler", "seed", "steps", "negative"),
    [
        ("DPMSolverMultistepScheduler", 0, 10, "blue on red"),
        ("DDIMScheduler", 2**64 - 1, 10, "blue\non red"),
        ("LCMScheduler", 9, 4, ""),  # whose weights are fetched when they are asked for
    ],
)
def test_the_image_is_pytorchs_and_the_notebooks_read_its_settings(
    opened, scheduler, seed, steps, negative
):
    # Weights that are rounded to float16 change this image by up to 17 of 255 with LCM.
    prompt = "oil painting of a old knight, blue on red, side profile, smiling é"
    shown = generate(
        opened, prompt=prompt, negative_prompt=negative, seed=str(seed), scheduler=scheduler,
        steps=steps,
    )  # fmt: skip
    assert np.abs(shown - of_pytorch(scheduler, prompt, seed, steps, negative)).max() <= 2
    assert status(opened).startswith(f"Done: {steps} steps")
    with opened.expect_download() as download:
        opened.click("#save")
    assert read_settings(path := download.value.path()) == describe_settings(
        load(scheduler), prompt, seed=seed, num_inference_steps=steps, negative_prompt=negative,
        guidance_scale=1 if scheduler == "LCMScheduler" else 7.5,
    )  # fmt: skip
    set_controls(opened, prompt="something else")
    opened.set_input_files("#open", path)
    opened.wait_for_function("document.getElementById('prompt').value.endsWith('é')")


def test_steps_can_be_scrubbed_words_light_up_and_a_steps_guidance_can_be_changed(opened):
    generate(opened, steps=5)
    assert opened.locator("#strip li").count() == 5
    opened.locator("#step").focus()
    opened.keyboard.press("ArrowLeft")
    assert opened.inner_text("#step-value") == "4 of 5"
    assert opened.locator("#attended button").count() == 7  # the words of the prompt
    opened.locator("#attended button").last.focus()
    assert opened.evaluate("document.getElementById('attention').style.opacity") == "1"
    opened.click("#explain summary")
    for scale in ("7.5", "3"):
        set_controls(opened, scale=scale)
        opened.wait_for_selector(f"#predictions figcaption:has-text('guided, scale {scale}')")
    asked = opened.evaluate(
        """() => {
          let asked = 0;
          const post = Worker.prototype.postMessage;
          Worker.prototype.postMessage = function (message) { asked++; post.call(this, message); };
          const input = document.getElementById("scale");
          for (let scale = 1; scale <= 12; scale++) {
            input.value = scale;
            input.dispatchEvent(new Event("input"));
          }
          Worker.prototype.postMessage = post;
          return asked;
        }"""
    )
    assert asked == 1  # and once more when the answer has come
    opened.wait_for_selector("#predictions figcaption:has-text('guided, scale 12')")
    generate(opened, guidance=1, steps=1)
    assert "without guidance" in opened.inner_text("#unexplained")
    assert opened.locator("#predictions").is_hidden()


def test_stop_stops_and_the_next_image_can_be_generated(opened):
    opened.evaluate("document.getElementById('steps').value = 50")
    opened.click("#generate")
    opened.wait_for_function("document.getElementById('status').textContent.startsWith('Step')")
    opened.click("#stop")
    opened.wait_for_selector(READY)
    assert status(opened).startswith("Stopped")
    generate(opened, steps=2)
    assert status(opened).startswith("Done")


def test_images_can_be_compared_and_a_link_holds_the_settings(opened):
    generate(opened, prompt="a knight", seed="1", steps=2)
    generate(opened, seed="2", steps=2)
    opened.locator("#results li").last.get_by_text("Compare").click()
    assert opened.locator("#other").is_visible()
    opened.click("#link")
    other = opened.context.new_page()
    other.goto(opened.url)
    assert other.input_value("#prompt") == "a knight" and other.input_value("#seed") == "2"


def test_chips_put_words_into_the_prompt_and_unknown_words_are_named(opened):
    opened.fill("#prompt", "portrait photo of a knight on a bicycle")
    opened.get_by_role("button", name="queen", exact=True).click()
    opened.get_by_role("button", name="smiling", exact=True).click()
    assert opened.input_value("#prompt") == "portrait photo of a queen on a bicycle, smiling"
    generate(opened, steps=1)
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
        ("no memory", "ran out of memory"),
        ("no simd", "lacks WebAssembly SIMD"),
    ],
)
def test_what_goes_wrong_at_the_start_gets_a_sentence(context, address, broken, sentence):
    page = context.new_page()
    if broken == "no simd":
        page.add_init_script("WebAssembly.validate = () => false")
    elif broken == "no memory":  # in the worker, which sees no init script
        fail = "throw new RangeError('WebAssembly.Memory(): could not allocate memory');"
        context.route("**/pipeline.js", lambda route: route.fulfill(
            body=f"export class Pipeline {{ constructor() {{ {fail} }} }}",
            content_type="text/javascript"))  # fmt: skip
    elif broken == "abort":
        context.route("**/unet.onnx", lambda route: route.abort())
    else:
        context.route("**/unet.onnx", lambda route: route.fulfill(status=404))
    page.goto(address)
    page.wait_for_function(
        "(text) => document.getElementById('status').textContent.includes(text)", arg=sentence
    )
    assert page.is_disabled("#generate")


def test_it_is_accessible_and_fits_the_screen(opened):
    opened.add_script_tag(path=AXE)
    for scheme, width in product(["light", "dark"], [1366, 390]):
        opened.set_viewport_size({"width": width, "height": 768})
        opened.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = opened.evaluate("axe.run().then((result) => result.violations)")
        serious = [item["id"] for item in found if item["impact"] in ("serious", "critical")]
        assert serious == [], (scheme, width)
        assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_the_download_is_small_and_a_second_visit_needs_none(folder, address):
    size = 0
    for path in folder.rglob("*"):
        if not path.is_file() or path.suffix == ".gz" or path.name == "unet-few-steps.onnx":
            continue
        url = address + path.relative_to(folder).as_posix()
        request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as response:
            size += len(response.read())
            assert response.headers["Content-Type"] != "application/gzip"
            assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        request.add_header("If-Modified-Since", response.headers["Last-Modified"])
        with pytest.raises(urllib.error.HTTPError, match="304"):
            urllib.request.urlopen(request)
    assert size <= 20 * 10**6
