"""Time a call, alone or in turns with a baseline, and compare measurements."""

from __future__ import annotations

import gc
import html
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tqdm.auto import tqdm

if TYPE_CHECKING:
    import pandas

PACKAGES = ("torch", "diffusers", "transformers")  # whose versions change the figures

# Called with every measurement that `measure` makes; `make benchmark` adds one that stores it.
observers: list[Callable[[Measurement], None]] = []


@dataclass(frozen=True)
class Measurement:
    """What one call took: the median of its timed runs.

    Example:
        >>> print(Measurement("20 steps", [], 0.5, 0.1, num_inference_steps=20, device="CPU"))
        20 steps: 0.500 s per image (runs differ by 0.100 s), 40.0 steps/s, on CPU
    """

    label: str
    images: list[Any] = field(repr=False, compare=False)  # what the first run returned
    seconds: float  # per call, the median of the runs
    spread: float  # seconds per call between the fastest and the slowest run
    peak_memory: int | None = None  # bytes of GPU memory, weights included; None if not on CUDA
    num_inference_steps: int | None = None
    baseline: str = ""  # the label of the call that took turns with this one
    speedups: tuple[float, ...] = ()  # images per second over the baseline's, turn by turn
    noise: float = 1.0  # the largest factor between two runs of the baseline in one turn
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def seconds_per_image(self) -> float:
        """Seconds of a call divided by its number of images."""
        return self.seconds / max(1, len(self.images))

    @property
    def steps_per_second(self) -> float | None:
        """Denoising steps per second of a call; None if their number was not given."""
        return self.num_inference_steps and self.num_inference_steps / self.seconds

    @property
    def speedup(self) -> float | None:
        """The median of the speedups; None without a baseline."""
        return median(self.speedups) if self.speedups else None

    @property
    def is_faster(self) -> bool | None:
        """Whether the call is faster (True) or slower (False) than its baseline; None if neither.

        There is a difference only if all turns agree on its direction and the median speedup is
        larger than the largest factor between two runs of the baseline (an A/A comparison). One
        turn is never enough. With three turns, identical calls differ by this rule in at most 5% of
        comparisons, on machines with drift and outliers too.
        """
        if len(self.speedups) < 2 or min(self.speedups) <= 1 <= max(self.speedups):
            return None
        speedup = median(self.speedups)
        return None if max(speedup, 1 / speedup) <= self.noise else speedup > 1

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, with the number of images in place of the images."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {"images": len(self.images), "speedup": self.speedup}

    def _line(self) -> str:
        count = max(1, len(self.images))
        parts = [
            f"{self.seconds_per_image:.3f} s per image (runs differ by {self.spread / count:.3f} s)"
        ]
        if count > 1:
            parts.append(f"{count} images at once")
        if self.steps_per_second:
            parts.append(f"{self.steps_per_second:.1f} steps/s")
        if self.speedups:
            turns = f"{min(self.speedups):.2f} to {max(self.speedups):.2f}"
            verdict = ": no measurable difference" if self.is_faster is None else ""
            name = f"the speed of {self.baseline!r}" if self.baseline else "the baseline's speed"
            parts.append(f"{self.speedup:.2f}x {name} ({turns}){verdict}")
        if self.peak_memory:
            parts.append(f"peak memory {self.peak_memory / 1e9:.2f} GB")
        if self.device:
            parts.append(f"on {self.device}")
        return ", ".join(parts)

    def __str__(self) -> str:
        return f"{self.label or 'Measured'}: {self._line()}"

    def _repr_html_(self) -> str:
        label = html.escape(self.label or "Measured")
        return f"<p><strong>{label}</strong>: {html.escape(self._line())}</p>"


class Run(NamedTuple):
    """One timed call."""

    seconds: float
    images: list[Any]


def measure(
    fn: Callable[[], Any],
    *,
    device: str | torch.device,
    label: str = "",
    warmup: int = 1,
    repeats: int = 3,
    num_inference_steps: int | None = None,
    baseline: tuple[str, Callable[[], Any]] | Callable[[], Any] | None = None,
) -> Measurement:
    """Time a call, waiting for the device each time, and take the median of the runs.

    Two calls that are measured one after the other may meet a machine that has slowed down in
    between. With a `baseline` the two take turns: baseline, call, baseline again. The two runs of
    the baseline show how large a difference chance alone makes (see `Measurement.is_faster`).

    Args:
        fn: called without arguments; it may return an object with `.images`, a list, or anything.
            Create the generators inside it: one from outside moves on from run to run.
        device: where the call runs, such as `pipeline.device`.
        label: the name of this measurement.
        warmup: runs that are not timed, for caches and compilers to settle.
        repeats: runs that are timed.
        num_inference_steps: the steps of one call, for steps per second.
        baseline: a call to compare with, or its label and the call. As both are in memory,
            `peak_memory` is then None.

    Raises:
        ValueError: there is no timed run, or a negative number of others.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"Timing needs repeats >= 1 and warmup >= 0, not {repeats} and {warmup}.")
    device = torch.device(device)
    name, other = baseline if isinstance(baseline, tuple) else ("", baseline)
    gc.collect()  # what earlier cells left behind is not this call's memory
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    calls = [fn] if other is None else [other, fn, other]
    silent = bool(os.environ.get("CI"))
    turns = [
        [_time(call, device) for call in calls]
        for _ in tqdm(range(warmup + repeats), desc="runs", leave=False, disable=silent)
    ]
    cuda = device.type == "cuda" and baseline is None
    peak = torch.cuda.max_memory_allocated(device) if cuda else None
    measurement = summarize(turns[-repeats:], label, name, num_inference_steps, device, peak)
    for observer in observers:
        observer(measurement)
    return measurement


def summarize(
    turns: Sequence[Sequence[Run]],
    label: str,
    baseline: str,
    num_inference_steps: int | None,
    device: torch.device,
    peak_memory: int | None,
) -> Measurement:
    """Make a measurement of its turns: a run, or one between two runs of the baseline."""
    runs = [turn[len(turn) // 2] for turn in turns]
    paired = [turn for turn in turns if len(turn) == 3]
    seconds = [run.seconds for run in runs]
    factors = [before.seconds / after.seconds for before, _, after in paired]
    return Measurement(
        label=label,
        images=runs[0].images,
        seconds=median(seconds),
        spread=max(seconds) - min(seconds),
        peak_memory=peak_memory,
        num_inference_steps=num_inference_steps,
        baseline=baseline,
        speedups=tuple(_speedup(*turn) for turn in paired),
        noise=max((max(factor, 1 / factor) for factor in factors), default=1.0),
        device=device_name(device),
        versions={package: metadata.version(package) for package in PACKAGES},
    )


def compare(measurements: Sequence[Measurement]) -> pandas.DataFrame:
    """Compare measurements in a table; every speedup is over the first of them.

    Returns:
        A row for each measurement, by label: images, seconds per image, the speedup over the first
        measurement, spread of the runs in seconds per image, steps per second, peak memory in GB;
        without columns that are empty throughout.

    Raises:
        ValueError: there is nothing to compare, or something else than a sequence of measurements.

    Example:
        >>> slow = Measurement("50 steps", [], seconds=2.0, spread=0.1)
        >>> fast = Measurement("20 steps", [], seconds=0.5, spread=0.1)
        >>> compare([slow, fast])["speedup over '50 steps'"].to_dict()
        {'50 steps': 1.0, '20 steps': 4.0}
    """
    import pandas

    measurements = require_measurements(measurements)
    rows = [
        {
            "images": max(1, len(item.images)),
            "seconds per image": item.seconds_per_image,
            f"speedup over {measurements[0].label!r}": speedup_over_first(item, measurements),
            "spread (s per image)": item.spread / max(1, len(item.images)),
            "steps per second": item.steps_per_second,
            "peak memory (GB)": item.peak_memory and item.peak_memory / 1e9,
        }
        for item in measurements
    ]
    labels = pandas.Index([item.label for item in measurements], name="measurement")
    return pandas.DataFrame(rows, index=labels).dropna(axis="columns", how="all")


def require_measurements(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements as a list, or raise a ValueError if there are none."""
    given = [] if isinstance(measurements, Measurement) else list(measurements)
    if not given or not all(isinstance(item, Measurement) for item in given):
        raise ValueError("There is nothing to compare: give a list with at least one Measurement.")
    return given


def speedup_over_first(measurement: Measurement, measurements: Sequence[Measurement]) -> float:
    """How many times the first measurement's images per second a measurement reaches.

    What was measured in turns counts: a call that is 2x its baseline, which is itself 2x the first,
    is 4x the first. Otherwise the seconds per image are divided.
    """
    first = measurements[0]
    factor, item, passed = 1.0, measurement, {measurement.label}
    by_label = {other.label: other for other in measurements if other.label}
    while item is not first and item.speedup and item.baseline in by_label:
        factor, item = factor * item.speedup, by_label[item.baseline]
        if item.label in passed:
            break
        passed.add(item.label)
    return factor * first.seconds_per_image / item.seconds_per_image


def _speedup(before: Run, run: Run, after: Run) -> float:
    """Images per second over the baseline's, whose two runs are averaged against drift."""
    images = max(1, len(run.images)) / max(1, len(before.images))
    return images * sqrt(before.seconds * after.seconds) / run.seconds


def _time(call: Callable[[], Any], device: torch.device) -> Run:
    """The seconds of a call on an idle device, and the images that it returned."""
    _synchronize(device)
    start = time.perf_counter()
    result = call()
    _synchronize(device)
    return Run(time.perf_counter() - start, _images_of(result))


def _synchronize(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _images_of(result: object) -> list[Any]:
    if hasattr(result, "images"):
        return list(result.images)
    if isinstance(result, tuple) and result and isinstance(result[0], list):
        return result[0]  # of a pipeline called with return_dict=False
    return list(result) if isinstance(result, list | tuple) else [result]


def device_name(device: torch.device) -> str:
    """The name of a device, as tables of results show it."""
    if device.type == "mps":
        return f"{platform.machine()} GPU (MPS)"
    if device.type != "cpu":
        return str(getattr(torch, device.type).get_device_name(device))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    name = capabilities.get("cpu_name") or platform.processor() or platform.machine()
    return f"{name} (CPU, {torch.get_num_threads()} threads)"
