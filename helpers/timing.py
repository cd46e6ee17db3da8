"""Time a call, alone or in turns with a baseline."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import median
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm


@dataclass(frozen=True)
class Measurement:
    """What one call took: the median of its timed runs."""

    label: str
    images: list[Any] = field(repr=False, compare=False)  # what the first run returned
    seconds: float  # per call, the median of the runs
    spread: float  # seconds per call between the fastest and the slowest run
    num_inference_steps: int | None = None
    baseline: str = ""  # the label of the call that took turns with this one
    speedups: tuple[float, ...] = ()  # images per second over the baseline's, turn by turn
    noise: float = 1.0  # the largest factor between two runs of the baseline in one turn
    device: str = ""

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

        There is a difference only if all turns, of which one is never enough, agree on its
        direction and the median speedup is larger than the noise. With three turns, identical calls
        differ by this rule in at most 5% of comparisons, on machines with drift and outliers too.
        """
        if len(self.speedups) < 2 or min(self.speedups) <= 1 <= max(self.speedups):
            return None
        speedup = median(self.speedups)
        return None if max(speedup, 1 / speedup) <= self.noise else speedup > 1

    def __str__(self) -> str:
        count = max(1, len(self.images))
        spread = f"runs differ by {self.spread / count:.3f} s"
        parts = [f"{self.seconds_per_image:.3f} s per image ({spread})"]
        if count > 1:
            parts.append(f"{count} images at once")
        if self.steps_per_second:
            parts.append(f"{self.steps_per_second:.1f} steps/s")
        if self.speedups:
            turns = f"{min(self.speedups):.2f} to {max(self.speedups):.2f}"
            turns += f", timing noise {self.noise:.2f}x"
            verdict = ": no measurable difference" if self.is_faster is None else ""
            parts.append(f"{self.speedup:.2f}x the speed of {self.baseline!r} ({turns}){verdict}")
        if self.device:
            parts.append(f"on {self.device}")
        return f"{self.label or 'Measured'}: {', '.join(parts)}"


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
    baseline: tuple[str, Callable[[], Any]] | None = None,
) -> Measurement:
    """Time a call, waiting for the device each time, and take the median of the runs.

    With a `baseline` the two take turns, so that a machine that slows down hurts both: baseline,
    call, baseline again. The two runs of the baseline show how large a difference chance alone
    makes (see `Measurement.is_faster`).

    Args:
        fn: called without arguments; it may return an object with `.images`, a list or a 4-D array
            of them, alone or first in a tuple, or anything. Create the generators inside it: one
            from outside moves on from run to run.
        device: where the call runs, such as `pipeline.device`.
        warmup: runs that are not timed, for caches and compilers to settle.
        num_inference_steps: the steps of one call, for steps per second.
        baseline: the label and the call to compare with.
    """
    if repeats < 1:
        raise ValueError(f"Timing needs at least one repeat, not {repeats}.")
    device = torch.device(device)
    name, other = baseline or ("", None)
    calls = [fn] if other is None else [other, fn, other]
    silent = bool(os.environ.get("CI"))
    turns = [
        [_time(call, device) for call in calls]
        for _ in tqdm(range(warmup + repeats), desc="runs", leave=False, disable=silent)
    ]
    return Measurement(
        label=label,
        num_inference_steps=num_inference_steps,
        baseline=name,
        device=device_name(device),
        **summarize(turns[-repeats:]),
    )


def summarize(turns: Sequence[Sequence[Run]]) -> dict[str, Any]:
    """Compute what follows from the turns: each is a run, or one between two of the baseline."""
    runs = [turn[len(turn) // 2] for turn in turns]
    paired = [turn for turn in turns if len(turn) == 3]
    seconds = [run.seconds for run in runs]
    factors = [before.seconds / after.seconds for before, _, after in paired]
    return {
        "images": runs[0].images,
        "seconds": median(seconds),
        "spread": max(seconds) - min(seconds),
        "speedups": tuple(_speedup(*turn) for turn in paired),
        "noise": max((max(factor, 1 / factor) for factor in factors), default=1.0),
    }


def _speedup(before: Run, run: Run, after: Run) -> float:
    """Images per second over the baseline's, whose two runs are averaged against drift."""
    images = max(1, len(run.images)) / max(1, len(before.images))
    return images * sqrt(before.seconds * after.seconds) / run.seconds


def _time(call: Callable[[], Any], device: torch.device) -> Run:
    """The seconds of a call on an idle device, and the images that it returned."""

    def wait() -> None:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    wait()
    start = time.perf_counter()
    result = call()
    wait()
    return Run(time.perf_counter() - start, _images_of(result))


def _images_of(result: Any) -> list[Any]:
    def is_batch(value: Any) -> bool:
        return isinstance(value, list) or getattr(value, "ndim", 0) == 4

    if isinstance(result, tuple) and result and is_batch(result[0]):
        result = result[0]  # of return_dict=False: the images, then flags
    if hasattr(result, "images"):
        return list(result.images)
    return list(result) if isinstance(result, tuple) or is_batch(result) else [result]


def device_name(device: torch.device) -> str:
    """The name of a device, as tables of results show it."""
    if device.type == "mps":
        return f"{platform.machine()} GPU (MPS)"
    if device.type != "cpu":
        return str(getattr(torch, device.type).get_device_name(device))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    name = capabilities.get("cpu_name") or platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{name} (CPU, {threads} thread{'s' if threads > 1 else ''})"
