"""Chromium for the tests, and what they do with the page that `make page` builds."""

import os
import shutil
import threading
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import torch

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
READY = "#generate:not([disabled])"


def find_chromium():
    """Return the path of Chromium, or None; where CHROMIUM names one, as in CI, it must exist."""
    if name := os.environ.get("CHROMIUM"):
        assert shutil.which(name), f"CHROMIUM names {name}, which is not installed"
        return shutil.which(name)
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launch():
    """Start Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serve(folder, threads=True):
    """Serve a built page, and give its address; in a room, browsers give it a single thread."""
    from tools.page import PageHandler, PageServer

    class RoomHandler(PageHandler):
        def send_header(self, name, value):
            if not name.startswith("Cross-Origin-"):
                super().send_header(name, value)

    handler = PageHandler if threads else RoomHandler
    server = PageServer(("localhost", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()
    server.server_close()


def set_controls(page, **settings):
    """Set the page's controls, by their names."""
    for control, value in settings.items():
        if control == "scheduler":
            page.select_option("#scheduler", value)
        else:
            page.fill(f"#{control.replace('_', '-')}", str(value))


def generate(page, **settings):
    """Set the controls, generate, and return the image as an array (128 x 128 x 3)."""
    set_controls(page, **settings)
    page.click("#generate")  # disables the button at once, and a single step may enable it soon
    page.wait_for_selector(READY)
    pixels = page.evaluate(
        "[...document.getElementById('image').getContext('2d').getImageData(0, 0, 128, 128).data]"
    )
    return np.array(pixels, int).reshape(128, 128, 4)[..., :3]


@cache
def load(scheduler):
    """Diffusers' pipeline in float32: with LCM, also with the weights for few steps."""
    from helpers import MODELS, MODELS_FOLDER, load_pipeline
    from labs.fast import use_few_steps

    few = scheduler == "LCMScheduler"
    pipeline = load_pipeline(device="cpu", dtype="float32", scheduler=None if few else scheduler)
    pipeline.set_progress_bar_config(disable=True)
    if few:
        use_few_steps(pipeline, MODELS_FOLDER / MODELS["tiny-portraits"].few_steps)
    return pipeline


def of_pytorch(scheduler, prompt, seed, steps, negative_prompt=""):
    """The same image by Diffusers, as an array; few steps take no guidance."""
    image = load(scheduler)(
        prompt, negative_prompt=negative_prompt, num_inference_steps=steps,
        generator=torch.Generator().manual_seed(seed),
        guidance_scale=1 if scheduler == "LCMScheduler" else 7.5,
    ).images[0]  # fmt: skip
    return np.asarray(image, int)
