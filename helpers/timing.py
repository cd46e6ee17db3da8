"""Measure a call: how long it took, how much memory, on what; and set measurements side by side."""

from __future__ import annotations

import gc
import html
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

BLUE = "#0072B2"  # of Okabe and Ito's palette, told apart by colour-blind readers
PACKAGES = ("torch", "diffusers", "transformers")  # whose versions move the figures


@dataclass(frozen=True)
class Measurement:
    """What one call cost: the median of its timed runs.

    Example:
        >>> once = Measurement("20 steps", [], 0.5, 0.1, num_inference_steps=20, device="CPU")
        >>> print(once)
        20 steps: 0.500 s an image (runs differ by 0.100 s), 40.0 steps/s, on CPU
    """

    label: str
    images: list[Any] = field(repr=False, compare=False)  # what the first run drew
    seconds: float  # of a whole call, the median of the runs
    spread: float  # seconds between the fastest and the slowest run
    peak_memory: int | None = None  # bytes of GPU memory, weights included; None if not on CUDA
    num_inference_steps: int | None = None
    times_faster: float | None = None  # an image, than the call that took turns with this one
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def seconds_per_image(self) -> float:
        """Seconds of a whole call, shared among its images."""
        return self.seconds / max(1, len(self.images))

    @property
    def steps_per_second(self) -> float | None:
        """Denoising steps in a second of a whole call, None if their number was not given."""
        return self.num_inference_steps and self.num_inference_steps / self.seconds

    def figures(self) -> dict[str, Any]:
        """All of it as plain values, the number of images in the place of the images.

        Example:
            >>> once = Measurement("20 steps", [], 0.5, 0.1, num_inference_steps=20, device="CPU")
            >>> once.figures()["seconds"], once.figures()["images"]
            (0.5, 0)
        """
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return values | {"images": len(self.images)}

    def _line(self) -> str:
        parts = [f"{self.seconds_per_image:.3f} s an image (runs differ by {self.spread:.3f} s)"]
        if len(self.images) > 1:
            parts.append(f"{len(self.images)} images at once")
        if self.steps_per_second:
            parts.append(f"{self.steps_per_second:.1f} steps/s")
        if self.times_faster:
            parts.append(f"{self.times_faster:.2f} times as fast as the call beside it")
        if self.peak_memory:
            parts.append(f"{self.peak_memory / 1e9:.2f} GB at most")
        if self.device:
            parts.append(f"on {self.device}")
        return ", ".join(parts + [f"{name} {version}" for name, version in self.versions.items()])

    def __str__(self) -> str:
        return f"{self.label or 'Measured'}: {self._line()}"

    def _repr_html_(self) -> str:
        label = html.escape(self.label or "Measured")
        return f"<p><strong>{label}</strong>: {html.escape(self._line())}</p>"


def measure(
    fn: Callable[[], Any],
    *,
    label: str = "",
    warmup: int = 1,
    repeats: int = 3,
    num_inference_steps: int | None = None,
    beside: Callable[[], Any] | None = None,
) -> Measurement:
    """Time a call, waiting for the device each time, and take the median of the runs.

    Two calls that are measured one after the other may meet a machine that has slowed down in
    between. Give the one as `beside`, and they take turns: whatever slows one run slows the next.

    Args:
        fn: called without arguments; it may return an object with `.images`, a list, or anything.
            Make the generators inside it: one made outside moves on from run to run.
        label: what tells this measurement from the others.
        warmup: runs that are not timed, for caches and compilers to settle.
        repeats: runs that are timed.
        num_inference_steps: the steps of one call, for steps per second.
        beside: a call to compare with. `times_faster` is the median of the ratios, turn by turn,
            of the seconds per image; and as both are in memory, there is no `peak_memory`.

    Raises:
        ValueError: there is no timed run, or a negative number of others.

    Example:
        >>> measurement = measure(lambda: [sum(range(1000))] * 4, label="sums", repeats=5)
        >>> measurement.label, len(measurement.images), measurement.seconds > 0
        ('sums', 4, True)
        >>> measure(lambda: [1] * 8, beside=lambda: [1]).times_faster > 0  # an image
        True
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"Timing needs repeats >= 1 and warmup >= 0, not {repeats} and {warmup}.")
    gc.collect()  # what earlier cells left behind is not this call's memory
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    memory_before = torch.cuda.memory_allocated() if on_cuda else 0

    images: list[Any] = []
    runs, ratios = [], []
    disable = bool(os.environ.get("CI"))
    for turn in tqdm(range(warmup + repeats), desc=label or "runs", leave=False, disable=disable):
        seconds, drawn = _time(fn)
        runs.append(seconds)
        images = images if turn else drawn
        if beside is not None:
            others, drawn_beside = _time(beside)
            share = max(1, len(drawn)) / max(1, len(drawn_beside))
            ratios.append(share * others / seconds)
    timed = runs[warmup:]

    # A call that took no GPU memory at all ran elsewhere, whatever else the machine has.
    peak = torch.cuda.max_memory_allocated() if on_cuda else 0
    used_cuda = peak > memory_before
    measurement = Measurement(
        label=label,
        images=images,
        seconds=median(timed),
        spread=max(timed) - min(timed),
        peak_memory=peak if used_cuda and beside is None else None,
        num_inference_steps=num_inference_steps,
        times_faster=median(ratios[warmup:]) if ratios else None,
        device=_device_name(used_cuda),
        versions={name: metadata.version(name) for name in PACKAGES},
    )
    if path := os.environ.get("TUTORIAL_RESULTS"):  # set by `make benchmark`
        with open(path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(measurement.figures()) + "\n")
    return measurement


def compare(measurements: Sequence[Measurement]) -> pandas.DataFrame:
    """Set measurements side by side, each against the first, or the call that took turns with it.

    Returns:
        A row for each measurement, by label: images, seconds per image, times faster, spread in
        seconds of a call, steps per second, peak memory in GB; without the columns that none of
        them has.

    Raises:
        ValueError: there is nothing to compare.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> compare([slow, fast])["times faster"].to_dict()
        {'50 steps': 1.0, '20 steps': 4.0}
    """
    import pandas

    _check_some(measurements)
    rows = [
        {
            "images": max(1, len(one.images)),
            "seconds per image": one.seconds_per_image,
            "times faster": _times_faster(one, measurements[0]),
            "spread (s)": one.spread,
            "steps per second": one.steps_per_second,
            "peak memory (GB)": one.peak_memory and one.peak_memory / 1e9,
        }
        for one in measurements
    ]
    labels = pandas.Index([one.label for one in measurements], name="measurement")
    return pandas.DataFrame(rows, index=labels).dropna(axis="columns", how="all")


def plot_comparison(
    measurements: Sequence[Measurement], title: str = "Seconds per image (shorter is better)"
) -> Figure:
    """Draw the seconds per image of each measurement as a bar, the first at the top.

    Show it with `show(figure, describe(measurements))`, which gives it its text for readers who
    do not see it.

    Raises:
        ValueError: there is nothing to draw.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> figure = plot_comparison([slow, fast])
        >>> [float(bar.get_width()) for bar in figure.axes[0].patches]
        [2.0, 0.5]
    """
    from matplotlib.figure import Figure

    _check_some(measurements)
    seconds = [one.seconds_per_image for one in measurements]
    figure = Figure(figsize=(8, 1 + 0.5 * len(measurements)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(range(len(measurements)), seconds, color=BLUE)
    axes.bar_label(bars, labels=[f"{value:.3f} s" for value in seconds], padding=4)
    axes.set_yticks(range(len(measurements)), [one.label for one in measurements])
    axes.invert_yaxis()
    axes.margins(x=0.15)  # room for the figures at the ends of the bars
    axes.set(title=title, xlabel="seconds per image")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def describe(measurements: Sequence[Measurement]) -> str:
    """Say in a sentence what `plot_comparison` shows, to serve as its alt text.

    Raises:
        ValueError: there is nothing to describe.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> describe([slow, fast])
        'Bar chart of seconds per image: 50 steps 2.000; 20 steps 0.500 (4.0 times as fast).'
    """
    _check_some(measurements)
    first, *others = measurements
    parts = [f"{first.label} {first.seconds_per_image:.3f}"]
    for one in others:
        ratio = _times_faster(one, first)
        parts.append(f"{one.label} {one.seconds_per_image:.3f} ({ratio:.1f} times as fast)")
    return f"Bar chart of seconds per image: {'; '.join(parts)}."


def _check_some(measurements: Sequence[Measurement]) -> None:
    if not measurements:
        raise ValueError("There is nothing to compare: give at least one Measurement.")


def _times_faster(one: Measurement, first: Measurement) -> float:
    return one.times_faster or first.seconds_per_image / one.seconds_per_image


def _time(call: Callable[[], Any]) -> tuple[float, list[Any]]:
    """The seconds of a call on an idle device, and the images that it returned."""
    wait = torch.accelerator.synchronize if torch.accelerator.is_available() else bool
    wait()
    start = time.perf_counter()
    result = call()
    wait()
    return time.perf_counter() - start, _images_of(result)


def _images_of(result: object) -> list[Any]:
    if hasattr(result, "images"):
        return list(result.images)
    return list(result) if isinstance(result, list | tuple) else [result]


def _device_name(used_cuda: bool) -> str:
    if used_cuda:
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available() and torch.mps.current_allocated_memory():
        return f"{platform.machine()} GPU (MPS)"
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    name = capabilities.get("cpu_name") or platform.processor() or platform.machine()
    return f"{name} (CPU, {torch.get_num_threads()} threads)"
