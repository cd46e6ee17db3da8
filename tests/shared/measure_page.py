"""Measure the page that `make page` built, in Chromium: all of it, or the parts that are named.

python tests/shared/measure_page.py visitors seconds images memory
"""

import json
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from browser import READY, generate, launch, of_pytorch, serve

from tools.page import PAGE

WHO = ("warrior chief", "knight", "queen", "wizard", "jester", "pirate", "ranger", "astronaut")
PROMPTS = [
    *(f"portrait photo of a {name}" for name in WHO),
    *(f"oil painting of a old {name}, blue on red, side profile, smiling" for name in WHO),
]
IMAGES, VISITORS = 200, 30


def open_page(browser, address):
    page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    page.wait_for_selector(READY)
    return page


def compare_images(browser, address):
    """Sixteen prompts and seeds: the largest difference of a pixel to PyTorch's image, of 255."""
    page = open_page(browser, address)
    for scheduler, steps in (
        ("LCMScheduler", 4), ("DPMSolverMultistepScheduler", 20), ("DDIMScheduler", 20),
    ):  # fmt: skip
        print(f"{scheduler}, {steps} steps:", end="", flush=True)
        for seed, prompt in enumerate(PROMPTS):
            shown = generate(page, scheduler=scheduler, steps=steps, prompt=prompt, seed=str(seed))
            difference = np.abs(shown - of_pytorch(scheduler, prompt, seed, steps))
            print(f" {difference.max()}", end="", flush=True)
        print()


def processor_seconds():
    """What Chromium's processes have computed: on a busy machine, more telling than the clock."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return sum(each.user + each.system for each in times)


def time_images(browser, address):
    """Seconds to the first image and of later ones, and the longest task on the main thread."""
    start, before = time.perf_counter(), processor_seconds()
    page = open_page(browser, address)
    print(page.inner_text("#status"))
    generate(page)
    spent = processor_seconds() - before
    print(f"opened to first image: {time.perf_counter() - start:.1f} s, {spent:.1f} of a processor")
    categories = ["toplevel", "disabled-by-default-devtools.timeline"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        browser.start_tracing(page=page, path=path, categories=categories)
        for scheduler in ("DPMSolverMultistepScheduler", "LCMScheduler", "LCMScheduler"):
            before = processor_seconds()
            generate(page, scheduler=scheduler)
            spent = processor_seconds() - before
            print(f"{scheduler}: {page.inner_text('#status')} {spent:.1f} s of a processor")
        browser.stop_tracing()
        events = json.loads(path.read_text())["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    tasks = [
        event for event in events
        if event["name"] == "RunTask" or event["name"].endswith("::RunTask")
        if names.get((event["pid"], event["tid"])) == "CrRendererMain"
    ]  # fmt: skip
    for key, what in (("dur", "by the clock"), ("tdur", "of a processor")):
        longest = max(event.get(key, 0) for event in tasks) / 1000
        print(f"longest of {len(tasks)} tasks on the main thread: {longest:.0f} ms {what}")


def watch_memory(browser, address):
    """Memory of all of Chromium's processes, while 200 images are generated."""
    page = open_page(browser, address)
    for number in range(IMAGES + 1):
        generate(page, steps=20 if number % 10 == 0 else 2, seed=str(number))
        if number % 20 == 0:
            page.request_gc()
            processes = [
                process.memory_full_info().pss for process in psutil.Process().children(True)
                if "type=renderer" in " ".join(process.cmdline())
            ]  # fmt: skip
            print(f"{number} images: {sum(processes) / 1e6:.0f} MB", flush=True)


def visit(address):
    """Ask for what a browser asks for, and return the bytes that came."""
    files = [path for path in PAGE.rglob("*") if path.is_file() and path.suffix != ".gz"]
    names = [path.relative_to(PAGE).as_posix() for path in files]
    size = 0
    for name in names:
        request = urllib.request.Request(address + name, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as response:
            size += len(response.read())
    return size


def count_visitors(browser, address):
    """Thirty visitors at once, each of whom fetches everything, the few-step weights included."""
    start = time.perf_counter()
    with ThreadPoolExecutor(VISITORS) as pool:
        sizes = list(pool.map(visit, [address] * VISITORS))
    seconds = time.perf_counter() - start
    print(f"{VISITORS} visitors, {sizes[0] / 1e6:.1f} MB each: all loaded in {seconds:.1f} s")


if __name__ == "__main__":
    parts = {
        "visitors": count_visitors, "seconds": time_images, "images": compare_images,
        "memory": watch_memory,
    }  # fmt: skip
    with launch() as browser, serve(PAGE) as address:
        for name in sys.argv[1:] or parts:
            parts[name](browser, address)
