"""Forecast the seconds of a run by a roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import torch

from labs.forecast.dry_run import Range, check_count, dtype_name
from labs.forecast.gpus import Card, find_card
from labs.forecast.operations import KINDS, Operations, operations_of
from labs.forecast.rates import Constants, Rates, rates_of

# The likely forecast is multiplied by these: nine of ten published times for batches of 4 and more
# are within the range.
SPREAD: Range = np.array([0.85, 1.0, 1.4])
# Seconds outside the networks: of a call, and to convert an image.
CALL_SECONDS, IMAGE_SECONDS = 0.02, 0.01


@dataclass(frozen=True)
class SecondsForecast:
    """The forecast seconds of a run, as a range: published times disagree as much."""

    label: str
    batch_size: int
    parts: Mapping[str, Range]  # seconds of one call of each component
    times: Mapping[str, int]  # calls of each component in the run
    limits: Mapping[str, Mapping[str, float]]  # the shares of its time, by what limits it

    @property
    def seconds(self) -> Range:
        """The seconds of the whole batch: least, likely, most."""
        return sum(self.times[part] * seconds for part, seconds in self.parts.items())

    @property
    def seconds_per_image(self) -> Range:
        """The seconds of the batch divided by its number of images."""
        return self.seconds / self.batch_size

    def table(self) -> pandas.DataFrame:
        """Return a row for each component: its seconds in the run, and what limits them."""
        rows = {
            part: {"times": self.times[part], "seconds": self.times[part] * likely}
            | dict(self.limits.get(part, {}))
            for part, (_, likely, _) in self.parts.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("component")

    def __str__(self) -> str:
        least, likely, most = self.seconds_per_image
        return f"{self.label}: {likely:.2f} s per image, between {least:.2f} and {most:.2f}"


def forecast_seconds(
    model: str | Path,
    gpu: str | Card | Rates,
    *,
    batch_size: int = 1,
    num_inference_steps: int = 20,
    height: int | None = None,
    width: int | None = None,
    dtype: str | torch.dtype | None = None,
    attention: str = "sdpa",
    guidance: bool = True,
    compiled: bool = False,
    channels_last: bool = False,
    tf32: bool = False,
    constants: Constants | None = None,
) -> SecondsForecast:
    """Forecast the seconds of a run, without weights and without a GPU, in about a second.

    Each operation takes as long as its arithmetic or its memory traffic, whichever is slower (a
    roofline). A component takes at least as long as the processor needs to launch its operations,
    which decides at batch 1 on a fast card.

    Args:
        model, batch_size, height, width, attention: as for `forecast_memory`.
        gpu: a name of `CARDS`, such as "T4" or "RTX 4090"; or what `measure_machine` returns.
        num_inference_steps: calls of the UNet.
        dtype: "float32", "bfloat16" or "float16"; by default float16, or what was measured.
        guidance: whether the UNet denoises each image twice, for classifier-free guidance.
        compiled: whether the UNet is compiled; compiling itself is not counted.
        channels_last: whether the UNet's weights are in that memory format.
        tf32: whether matrix products in float32 may be rounded for tensor cores.
        constants: by default, those that were fitted to all published times.

    Raises:
        ValueError: the model, the card or an option is not supported, the card lacks the dtype, or
            the machine was not measured with that option.

    Source: Williams, Waterman and Patterson 2009, "Roofline".
    """
    check_count("batch_size", batch_size)
    check_count("num_inference_steps", num_inference_steps)
    machine = gpu if isinstance(gpu, Card | Rates) else find_card(gpu)
    if isinstance(machine, Rates):
        changed = dtype is not None and dtype_name(dtype) != machine.dtype
        if changed or compiled or channels_last or tf32:
            raise ValueError(
                f"{machine.label} was measured in {machine.dtype} with PyTorch's defaults: leave "
                "out compiled, channels_last and tf32, or use measure_machine(dtype=...)."
            )
        dtype = machine.dtype
    dtype = dtype_name(dtype or "float16")

    def rates_in(dtype: str, compiled: bool = False) -> Rates:
        if isinstance(machine, Rates):
            return machine
        return rates_of(machine, dtype, compiled=compiled, tf32=tf32, constants=constants)

    components = operations_of(model, height=height, width=width, attention=attention)
    rates = dict.fromkeys(components, rates_in(dtype))
    rates["UNet step"] = rates_in(dtype, compiled)
    upcast = "text encoder 2" in components and dtype == "float16"
    if upcast:
        rates["VAE decode"] = rates_in("float32")  # as Diffusers does: SDXL's overflows float16
    if not isinstance(guidance, bool | np.bool_):
        raise ValueError(f"guidance is {guidance!r}: use True or False.")
    samples = dict.fromkeys(components, batch_size)
    samples["UNet step"] *= 1 + guidance
    times = {part: 1 + (guidance and part.startswith("text")) for part in components}
    times["UNet step"] = num_inference_steps

    parts: dict[str, Range] = {}
    limits: dict[str, dict[str, float]] = {}
    for part, operations in components.items():
        converts = not (channels_last and part == "UNet step")
        parts[part], limits[part] = time_of(operations, samples[part], rates[part], converts)
    rest = CALL_SECONDS + batch_size * IMAGE_SECONDS
    parts["the rest"], times["the rest"] = rest * SPREAD, 1
    label = f"{model} on {rates['UNet step'].label}, batch of {batch_size}, "
    label += f"{num_inference_steps} steps, {dtype}, {attention} attention"
    label += ", compiled" * compiled
    if upcast and isinstance(machine, Rates):
        label += " (also for the VAE decode, which runs in float32)"
    return SecondsForecast(label, batch_size, parts, times, limits)


def time_of(
    operations: Operations, samples: int, rates: Rates, converts_layout: bool = True
) -> tuple[Range, dict[str, float]]:
    """Return the seconds of a component for a batch of samples, and the shares by what limits them.

    Unless it `converts_layout`, convolutions find what they read and write in their own layout.
    """
    is_convolution = operations.kind == KINDS.index("convolution")
    is_other = operations.kind == KINDS.index("other")
    flops_per_second = np.array([rates.convolution, rates.product, rates.attention, np.inf])
    occupancy = np.minimum(1, operations.results * samples / rates.saturating_results)
    moved = operations.moved * samples

    compute_time = operations.flops * samples / (flops_per_second[operations.kind] * occupancy)
    memory_time = np.where(is_other, rates.unfused_share, 1) * moved * rates.itemsize
    memory_time = memory_time / rates.bandwidth + operations.weights * rates.weight_seconds
    layout_time = rates.layout_seconds * moved + rates.weight_layout_seconds * operations.weights
    layout_time = np.where(is_convolution & converts_layout, layout_time, 0)
    operation_time = np.maximum(compute_time, memory_time) + layout_time

    device_time = float(operations.times @ operation_time)
    launches = operations.total("times")
    combine = np.maximum if rates.asynchronous else np.add
    seconds = combine(device_time * SPREAD, launches * rates.launch_seconds)
    computing = float(operations.times @ np.where(compute_time > memory_time, compute_time, 0))
    shares = {"arithmetic": computing, "memory": device_time - computing}
    shares["launches"] = seconds[1] - device_time
    return seconds, {name: share / seconds[1] for name, share in shares.items()}
