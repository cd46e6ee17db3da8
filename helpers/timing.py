"""Measure a call: how long it took, how much memory, on what; and set measurements side by side."""

from __future__ import annotations

import gc
import html
import inspect
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import metadata
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

if TYPE_CHECKING:
    import pandas

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
    ratios: tuple[float, ...] = ()  # an image's speed over that of the call beside, turn by turn
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

    @property
    def times_faster(self) -> float | None:
        """The median of the ratios; None if no call took turns with this one."""
        return median(self.ratios) if self.ratios else None

    @property
    def is_faster(self) -> bool | None:
        """Whether every turn was faster than the call beside it, or none was; None: no telling."""
        if not self.ratios or min(self.ratios) <= 1 <= max(self.ratios):
            return None
        return min(self.ratios) > 1

    def figures(self) -> dict[str, Any]:
        """All of it as plain values, with the number of images in the place of the images.

        Example:
            >>> once = Measurement("20 steps", [], 0.5, 0.1, num_inference_steps=20, device="CPU")
            >>> once.figures()["seconds"], once.figures()["images"]
            (0.5, 0)
        """
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return values | {"images": len(self.images), "times_faster": self.times_faster}

    def _line(self) -> str:
        parts = [f"{self.seconds_per_image:.3f} s an image (runs differ by {self.spread:.3f} s)"]
        if len(self.images) > 1:
            parts.append(f"{len(self.images)} images at once")
        if self.steps_per_second:
            parts.append(f"{self.steps_per_second:.1f} steps/s")
        if self.ratios:
            seen = ", which is no difference seen" if self.is_faster is None else ""
            turns = f"turns from {min(self.ratios):.2f} to {max(self.ratios):.2f}"
            parts.append(f"{self.times_faster:.2f} times as fast as the one beside{seen} ({turns})")
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
        repeats: runs that are timed; with `TUTORIAL_ONCE` in the environment one, without warm-up.
        num_inference_steps: the steps of one call, for steps per second.
        beside: a call to compare with. `ratios` are those of the seconds per image, turn by turn,
            and `is_faster` says whether they leave a doubt; as both are in memory, there is no
            `peak_memory`.

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
    warmup, repeats = (0, 1) if "TUTORIAL_ONCE" in os.environ else (warmup, repeats)
    gc.collect()  # what earlier cells left behind is not this call's memory
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    for gpu in gpus:
        torch.cuda.reset_peak_memory_stats(gpu)
    before = [torch.cuda.memory_allocated(gpu) for gpu in gpus]

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
    peaks = {gpu: torch.cuda.max_memory_allocated(gpu) for gpu in gpus}
    used = next((gpu for gpu in gpus if peaks[gpu] > before[gpu]), None)
    measurement = Measurement(
        label=label,
        images=images,
        seconds=median(timed),
        spread=max(timed) - min(timed),
        peak_memory=peaks[used] if used is not None and beside is None else None,
        num_inference_steps=num_inference_steps,
        ratios=tuple(ratios[warmup:]),
        device=device_name(_device_of(fn) if used is None else torch.device("cuda", used)),
        versions={name: metadata.version(name) for name in PACKAGES},
    )
    if path := os.environ.get("TUTORIAL_RESULTS"):  # set by `make benchmark`
        with open(path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(measurement.figures()) + "\n")
    return measurement


def compare(measurements: Sequence[Measurement]) -> pandas.DataFrame:
    """Set measurements side by side, each against the first, or the call that took turns with it.

    Returns:
        A row for each measurement, by label: images, seconds per image, times faster, the least
        and the most of its turns, spread in seconds of a call, steps per second, peak memory in GB;
        without the columns that none of them has.

    Raises:
        ValueError: there is nothing to compare.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> compare([slow, fast])["times faster"].to_dict()
        {'50 steps': 1.0, '20 steps': 4.0}
    """
    import pandas

    check_some(measurements)
    rows = [
        {
            "images": max(1, len(one.images)),
            "seconds per image": one.seconds_per_image,
            "times faster": times_faster(one, measurements[0]),
            "at least": min(one.ratios, default=None),
            "at most": max(one.ratios, default=None),
            "spread (s)": one.spread,
            "steps per second": one.steps_per_second,
            "peak memory (GB)": one.peak_memory and one.peak_memory / 1e9,
        }
        for one in measurements
    ]
    labels = pandas.Index([one.label for one in measurements], name="measurement")
    return pandas.DataFrame(rows, index=labels).dropna(axis="columns", how="all")


def check_some(measurements: Sequence[Measurement]) -> None:
    """Refuse to set nothing side by side."""
    if not measurements:
        raise ValueError("There is nothing to compare: give at least one Measurement.")


def times_faster(one: Measurement, first: Measurement) -> float:
    """How many times as fast as the first, or as the call that took turns with it."""
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


def _device_of(call: Any) -> torch.device:
    """Where the pipeline draws that a call names, is, or was given; the CPU if it has none."""
    found: list[Any] = []
    while isinstance(call, partial):
        found += [*call.args, *call.keywords.values()]
        call = call.func
    found += [call, getattr(call, "__self__", None)]
    if inspect.isfunction(call):
        names = inspect.getclosurevars(call)
        found += [*names.nonlocals.values(), *names.globals.values()]
    devices = [getattr(one, "_execution_device", None) for one in found]
    return next((one for one in devices if isinstance(one, torch.device)), torch.device("cpu"))


def device_name(device: torch.device) -> str:
    """Name a device as the tables of results do."""
    if device.type == "mps":
        return f"{platform.machine()} GPU (MPS)"
    if device.type != "cpu":
        return getattr(torch, device.type).get_device_name(device)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    name = capabilities.get("cpu_name") or platform.processor() or platform.machine()
    return f"{name} (CPU, {torch.get_num_threads()} threads)"
