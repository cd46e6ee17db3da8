"""Forecast the seconds of a run that never happened, from a roofline."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from labs.forecast.dry_run import Range, check_batch
from labs.forecast.gpus import Card, find_card
from labs.forecast.operations import KINDS, Operations, operations_of
from labs.forecast.rates import Constants, Rates, rates_of

if TYPE_CHECKING:
    import pandas

# The middle forecast, times these, holds eight of ten published times at batch 4 and more.
SPREAD = (0.85, 1.0, 1.4)
# Seconds beside the networks: of a call, and of an image that is turned into a picture.
CALL, PICTURE = 0.02, 0.01


@dataclass(frozen=True)
class SecondsForecast:
    """The seconds of a run that never happened: a range, as wide as published times disagree.

    Example:
        >>> steps = {"UNet step": (1.5, 2.0, 3.0)}
        >>> forecast = SecondsForecast("mine", 4, steps, {"UNet step": 20}, {})
        >>> print(forecast)
        mine: 10.00 s an image, between 7.50 and 15.00
    """

    label: str
    batch_size: int
    parts: Mapping[str, Range]  # seconds of a component, each time
    times: Mapping[str, int]  # how often it comes in a call
    limits: Mapping[str, Mapping[str, float]]  # the shares of its time, by what takes it

    @property
    def seconds(self) -> Range:
        """The seconds of the call, for the whole batch: least, middle, most."""
        rows = [[self.times[part] * second for second in row] for part, row in self.parts.items()]
        least, middle, most = (sum(column) for column in zip(*rows, strict=True))
        return least, middle, most

    @property
    def seconds_per_image(self) -> Range:
        """The seconds of the call, shared among its images."""
        least, middle, most = (second / self.batch_size for second in self.seconds)
        return least, middle, most

    def table(self) -> pandas.DataFrame:
        """Set the components side by side: seconds in the call, and what their time goes into."""
        import pandas

        rows = {
            part: {"times": self.times[part], "seconds": self.times[part] * row[1]}
            | dict(self.limits.get(part, {}))
            for part, row in self.parts.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("component")

    def __str__(self) -> str:
        least, middle, most = self.seconds_per_image
        return f"{self.label}: {middle:.2f} s an image, between {least:.2f} and {most:.2f}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>{self.table().round(3).to_html()}"


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
    """Forecast the seconds of a run without weights, without a GPU, in a second or so.

    Every operation takes the longer of two times: its arithmetic over what the card computes, its
    bytes over what its memory delivers. A step takes no less than the processor takes to launch its
    operations, which decides at batch 1 on a fast card. A handful of constants was fitted to
    published times, none of them to a card (see `Constants`); how far to trust the forecast says
    `results/forecast.md`.

    Args:
        model: a name of `MODELS`, or a folder with the configs of a Stable Diffusion 1.x or XL.
        gpu: a name of `CARDS`, as "T4" or "RTX 4090"; or what `measure_machine` returns.
        batch_size: images at once.
        num_inference_steps: calls of the UNet.
        height, width: in pixels, the model's own if not given.
        dtype: "float32", "bfloat16" or "float16"; if not given, float16, or what was measured in.
        attention: "sdpa", "classic" or "sliced", as for `forecast_memory`.
        guidance: whether the UNet sees every image twice, with the prompt and without.
        compiled: whether the UNet is compiled; compiling itself is not counted.
        channels_last: whether the UNet's tensors lie as tensor cores read them.
        tf32: whether matrix products in float32 may be rounded for tensor cores.
        constants: others than those that were fitted to all published times.

    Raises:
        ValueError: the model, the card or an option is not known, the card lacks the dtype, or an
            option is none of what was measured.

    Source: Williams, Waterman and Patterson 2009, "Roofline".

    Example:
        >>> forecast = forecast_seconds("sd15-shape", "T4", batch_size=4)
        >>> 2 < forecast.seconds_per_image[1] < 4
        True
    """
    check_batch(batch_size)
    if num_inference_steps < 1:
        raise ValueError(f"{num_inference_steps} steps draw nothing: use at least 1.")
    card = find_card(gpu) if isinstance(gpu, str) else gpu
    if isinstance(card, Rates):
        dtype = _as_measured(card, dtype, compiled or channels_last or tf32)
    dtype = str(dtype or "float16").removeprefix("torch.")

    def rates_in(dtype: str, compiled: bool = False) -> Rates:
        if isinstance(card, Rates):
            return card
        return rates_of(card, dtype, compiled=compiled, tf32=tf32, constants=constants)

    components = operations_of(model, height=height, width=width, attention=attention)
    rates = dict.fromkeys(components, rates_in(dtype))
    rates["UNet step"] = rates_in(dtype, compiled)
    if "text encoder 2" in components and dtype == "float16":
        rates["VAE decode"] = rates_in("float32")  # diffusers: Stable Diffusion XL's overflows
    samples = {part: batch_size for part in components}
    samples["UNet step"] *= 1 + guidance
    times = {part: 1 + (guidance and part.startswith("text")) for part in components}
    times["UNet step"] = num_inference_steps

    parts: dict[str, Range] = {}
    limits: dict[str, dict[str, float]] = {}
    for part, operations in components.items():
        layout = channels_last and part == "UNet step"
        parts[part], limits[part] = time_of(operations, samples[part], rates[part], layout)
    rest = CALL + batch_size * PICTURE
    parts["the rest"] = (SPREAD[0] * rest, rest, SPREAD[2] * rest)
    times["the rest"] = 1
    label = f"{model} on {rates['UNet step'].label}, batch of {batch_size}, "
    label += f"{num_inference_steps} steps, {dtype}, {attention} attention"
    label += ", compiled" * compiled
    return SecondsForecast(label, batch_size, parts, times, limits)


def _as_measured(rates: Rates, dtype: str | torch.dtype | None, otherwise: bool) -> str:
    """Refuse to forecast by rates what they were not measured for; return their dtype."""
    if dtype is not None and str(dtype).removeprefix("torch.") != rates.dtype:
        raise ValueError(
            f"{rates.label} was measured in {rates.dtype}, not in {dtype}: measure it again, with "
            f"measure_machine(dtype={str(dtype)!r})."
        )
    if otherwise:
        raise ValueError(
            f"{rates.label} was measured as PyTorch runs by default: leave out compiled, "
            "channels_last and tf32."
        )
    return rates.dtype


def time_of(
    operations: Operations, samples: int, rates: Rates, channels_last: bool
) -> tuple[Range, dict[str, float]]:
    """The seconds of a component, and the shares of them that go into each kind of limit."""
    of = operations
    speed = np.array([rates.convolution, rates.product, rates.attention, np.inf])[of.kind]
    at_work = np.minimum(1, of.results * samples / rates.at_once)
    arithmetic = of.flops * samples / (speed * at_work)
    left = np.where(of.kind == KINDS.index("other"), rates.fused, 1)
    memory = of.moved * samples * left * rates.itemsize / rates.bandwidth
    memory += of.weights * rates.read_weight
    turned = (of.kind == KINDS.index("convolution")) * (not channels_last)
    turns = turned * (rates.turn * of.moved * samples + rates.turn_weight * of.weights)
    busy = of.times * (np.maximum(arithmetic, memory) + turns)
    total, launches = busy.sum(), of.times.sum()
    computes = (of.times * arithmetic)[arithmetic > memory].sum()

    if rates.asynchronous:
        ranges = (max(s * total, c * launches) for s, c in zip(SPREAD, rates.launch, strict=True))
    else:
        ranges = (s * (total + c * launches) for s, c in zip(SPREAD, rates.launch, strict=True))
    least, middle, most = map(float, ranges)
    shares = {"arithmetic": computes, "memory": total - computes, "launches": middle - total}
    return (least, middle, most), {name: float(one / middle) for name, one in shares.items()}
