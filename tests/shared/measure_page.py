"""Measure the page that `make page` built, in Chromium, against its bars.

All of it takes a quarter of an hour on a quiet machine of two cores; parts can be named, and be
made smaller to try them:

    python tests/shared/measure_page.py
    python tests/shared/measure_page.py images seconds --prompts 2 --repeats 1
"""

import argparse
import statistics
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
from browser import READY, generate, launch, of_pytorch, serve, set_controls

from tools.page import PAGE

WHO = ("warrior chief", "knight", "queen", "wizard", "jester", "pirate", "ranger", "astronaut")
PROMPTS = [
    *(f"portrait photo of a {name}" for name in WHO),
    *(f"oil painting of a old {name}, blue on red, side profile, smiling" for name in WHO),
]
DPM, DDIM, LCM = "DPMSolverMultistepScheduler", "DDIMScheduler", "LCMScheduler"
# Seconds from a click on Generate to the image, by the page's own clock.
CLICK = """() => new Promise((resolve) => {
  const button = document.getElementById("generate");
  const start = performance.now();
  new MutationObserver((_, observer) => {
    if (button.disabled) return;
    observer.disconnect();
    resolve((performance.now() - start) / 1000);
  }).observe(button, { attributeFilter: ["disabled"] });
  button.click();
})"""
LONG_TASKS = """window.longTasks = [];
new PerformanceObserver((list) => window.longTasks.push(...list.getEntries()))
  .observe({ type: "longtask" });"""


def report(what, value, bar=None):
    """Print a figure, and whether it is at most its bar."""
    verdict = "" if bar is None else f"   bar {bar:g}: {'met' if value <= bar else 'MISSED'}"
    print(f"{what}: {value:.2f}{verdict}", flush=True)


def open_page(browser, address):
    page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
    page.set_default_timeout(600_000)
    page.add_init_script(LONG_TASKS)
    page.goto(address)
    page.wait_for_selector(READY)
    return page


def compare_images(browser, options):
    """Prompts and seeds: the largest difference of a pixel to PyTorch's image, of 255."""
    with serve(PAGE) as address:
        page = open_page(browser, address)
        for scheduler, steps in ((DPM, 20), (DDIM, 20), (LCM, 4)):
            largest = 0
            for seed, prompt in enumerate(PROMPTS[: options.prompts]):
                shown = generate(
                    page, scheduler=scheduler, steps=steps, prompt=prompt, seed=str(seed)
                )
                difference = np.abs(shown - of_pytorch(scheduler, prompt, seed, steps)).max()
                largest = max(largest, int(difference))
            what = f"{options.prompts} images, {scheduler}, {steps} steps: of 255, at most"
            report(what, largest, 2)


def time_images(browser, options):
    """Seconds to the first image and of later ones, and long tasks of the main thread meanwhile.

    The bars are those of one thread, which is what browsers give a page that a room's server sends.
    """
    for threads in (False, True):
        with serve(PAGE, threads=threads) as address:
            page = open_page(browser, address)
            count = page.inner_text("#status").partition("with ")[2].partition(":")[0]
            start = page.evaluate("performance.now()")
            bars = (None, None, None) if threads else (6, 2.5, 0.6)
            page.evaluate(CLICK)
            opened = page.evaluate("performance.now()") / 1000
            report(f"{count}: page opened to first image of 20 steps, seconds", opened, bars[0])
            seconds = [page.evaluate(CLICK) for _ in range(options.repeats)]
            report(f"{count}: each next image, seconds", statistics.median(seconds), bars[1])
            set_controls(page, scheduler=LCM)
            page.evaluate(CLICK)  # fetches the weights
            seconds = [page.evaluate(CLICK) for _ in range(options.repeats)]
            report(f"{count}: four steps, seconds", statistics.median(seconds), bars[2])
            tasks = page.evaluate(
                "(start) => longTasks.filter((task) => task.startTime > start)"
                ".map((task) => task.duration)", start,
            )  # fmt: skip
            report(f"{count}: longest task over 50 ms, milliseconds", max(tasks, default=0), 50)
            page.context.close()


def renderer_memory():
    """Megabytes that Chromium's renderers hold, each shared page counted once."""
    processes = psutil.Process().children(recursive=True)
    renderers = [each for each in processes if "type=renderer" in " ".join(each.cmdline())]
    return sum(each.memory_full_info().pss for each in renderers) / 1e6


def watch_memory(browser, options):
    """Growth of memory while many images are generated; the history is full after fifty."""
    with serve(PAGE) as address:
        page, held = open_page(browser, address), []
        for number in range(options.images + 1):
            generate(page, steps=20 if number % 10 == 0 else 2, seed=str(number))
            if number % max(1, options.images // 10) == 0:
                page.request_gc()
                held.append(renderer_memory())
        page.context.close()
    print("MB:", *(f"{megabytes:.0f}" for megabytes in held))
    later = held[len(held) // 4 :]
    report(f"{options.images} images: memory grows by %", 100 * (max(later) / later[0] - 1), 10)


def visit(address):
    """Ask for what a browser asks for, and return the bytes that came."""
    files = [path for path in PAGE.rglob("*") if path.is_file() and path.suffix != ".gz"]
    size = 0
    for name in (path.relative_to(PAGE).as_posix() for path in files):
        request = urllib.request.Request(address + name, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as response:
            size += len(response.read())
    return size


def count_visitors(browser, options):
    """Visitors at once, each of whom fetches everything, the few-step weights included."""
    with serve(PAGE) as address, ThreadPoolExecutor(options.visitors) as pool:
        start = time.perf_counter()
        sizes = list(pool.map(visit, [address] * options.visitors))
        seconds = time.perf_counter() - start
    what = f"{options.visitors} visitors, {sizes[0] / 1e6:.1f} MB each: seconds until all loaded"
    report(what, seconds, 30)


PARTS = {
    "visitors": count_visitors, "seconds": time_images, "images": compare_images,
    "memory": watch_memory,
}  # fmt: skip


def main():
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--visitors", type=int, default=30)
    options = parser.parse_args()
    with launch() as browser:
        for name in options.parts or PARTS:
            PARTS[name](browser, options)


if __name__ == "__main__":
    main()
